"""Stage 5: does the trained network's robust accuracy deserve its name? Flags for the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet
from rewire.data.load import load_images
from rewire.data.split import first_balanced
from rewire.engine.choice import set_engine
from rewire.errors import InputError
from rewire.evaluation import audit, audit_attacks
from rewire.evaluation.audit import Case
from rewire.evaluation.findings import Checks, Finding, Flag, Transfer
from rewire.evaluation.ledger import load_ledger
from rewire.files import write_json
from rewire.models.artifact import check_listed, description, load_network
from rewire.pipeline.cell import Cell
from rewire.pipeline.commands import command_of
from rewire.pipeline.document import LEDGER, METRICS
from rewire.pipeline.partial_results import parts
from rewire.pipeline.run_cell import run_cell
from rewire.progress import bar, tell
from rewire.record import Record
from rewire.thesis.configuration import Attacked, Configuration
from rewire.thesis.evaluate import built, subset
from rewire.thesis.metrics import Evaluation, Examination
from rewire.thesis.report.audit_figure import Sweep, audit_plot
from rewire.thesis.surrogates import listed_surrogates
from rewire.training.device import choose_device

CURVES = "curves.png"
SPEED = ("batch_size", "check_every")  # options of an attack that change no result
LABELS = {
    "epsilon_sweep": "radius, 1/255",
    "step_sweep": "steps, one start",
    "restart_sweep": "restarts of the reported attack",
}
Check = Callable[[], Finding]


class Piece(Record):
    """What is kept of a check."""

    numbers: dict[str, Any]
    flags: list[Flag]


def run(config: DictConfig, overrides: list[str]) -> None:
    """Examine the cell that `config` names; reads what stages `train` and `evaluate` left.

    Raises:
        InputError: if something that is read is missing or does not fit the configuration.
    """
    cell: Cell[Configuration] = Cell.of("audit", config, overrides)
    source = transfer_source(cell)
    more = {"transfer": source[1]} if source else {}
    run_cell(cell, partial(examine, source=source), more_inputs=more)


def transfer_source(cell: Cell[Configuration]) -> tuple[str, Path] | None:
    """(name, file) of the network whose adversarial images are tried on this one.

    That of another seed where `audit.transfer_seed` names one, else that of the first strategy in
    `audit.transfer_from` that is not the cell's own; None if there is none. In a pipeline these
    are only those that it trains.

    Raises:
        InputError: if it is not there; names the command that trains it.
    """
    options, own = cell.config.audit, cell.config.rewire.name
    seed = options.transfer_seed
    axis = "rewire"
    value: str | int | None = None
    if seed is not None and seed != cell.config.seed:
        axis, value = "seed", seed
    else:
        listed = listed_surrogates(cell)
        others = [str(name) for name in options.transfer_from if name != own]
        value = next((name for name in others if listed is None or name in listed), None)
        if value is None:
            if others:
                print(
                    f"no other network to transfer from: params.yaml lists none of "
                    f"{', '.join(others)}; the check is left out"
                )
            return None
    path = cell.at("train", **{axis: value}).trained()
    if not path.is_file():
        kept = [o for o in cell.overrides if not o.startswith((f"{axis}=", "audit.", "force="))]
        command = command_of("train", [*kept, f"{axis}={value}"])
        raise InputError(
            f"no network to transfer from: '{path}' is missing. Train it first: {command}. "
            "Or leave the check out: 'audit.transfer_from=[]'"
        )
    return path.parent.name, path


def examine(cell: Cell[Configuration], source: tuple[str, Path] | None) -> list[str]:
    folder, tracker = cell.folder, cell.tracker
    device = choose_device(cell.config.trainer.device)
    case, ledger = load_case(cell, device)
    decided = cell.pieces(device=device.type)
    found: dict[str, Piece] = {}
    chosen = checks(cell.config, case, ledger, source)
    shown = bar("audit", total=len(chosen), unit="check")
    with parts(folder, decided=decided) as part, shown:
        for name, check in chosen.items():
            found[name] = Piece.of(part(name, partial(plain, check)), file=name)
            shown.update()
            for flag in found[name].flags:
                tell(shown, f"flag: {flag.name}: {flag.reason}")
    metrics = Examination(
        images=len(case.data),
        attack=cell.plain["attack"],
        clean=int(case.clean.sum()),
        robust=int(case.robust.sum()),
        checks=Checks(**{name: piece.numbers for name, piece in found.items()}),
        flags=[flag for piece in found.values() for flag in piece.flags],
    )
    write_json(folder / METRICS, metrics.as_json())
    pixels, flags = draw(metrics, folder), metrics.flags
    print(f"{len(found)} checks on {len(case.data):,} images: {len(flags)} flags")
    tracker.summary({"flags": len(flags), "checks": metrics.checks.as_json()})
    tracker.table("flags", ["name", "reason"], [[f.name, f.reason] for f in flags])
    tracker.image("audit/curves", pixels)
    return [METRICS, CURVES]


def plain(check: Check) -> dict[str, Any]:
    """What a check finds, as it is kept."""
    return check().as_json()


def load_case(
    cell: Cell[Configuration], device: torch.device
) -> tuple[Case, dict[str, np.ndarray]]:
    """The case, and the rows of its images in the ledger.

    Raises:
        InputError: if the ledger is missing, or of another attack or other images.
    """
    config = cell.config
    attack = reported_attack(config.attack)
    path = cell.earlier("evaluate") / LEDGER
    ledger = load_ledger(path)
    check_listed(path)
    attacked_with = Evaluation.read(path.with_name(METRICS)).attack
    if decisive(attacked_with) != decisive(cell.plain["attack"]):
        raise InputError(
            f"'{path}' is of another attack than the configured one. "
            "Run stage evaluate with the same arguments first."
        )
    model, _ = load_network(cell.trained(), expected=description(config.model))
    set_engine(config.trainer.engine, model, device)
    _, _, test = load_images(config.data)
    attacked = subset(test, config.attack.images)
    limit = config.audit.images
    images = attacked if limit is None else first_balanced(attacked, min(limit, len(attacked)))
    rows = rows_of(images, ledger, path)
    case = Case(
        model=model.to(device),
        data=images.to(device),
        clean=torch.from_numpy(rows["clean_correct"]),
        robust=torch.from_numpy(rows["robust_correct"]),
        attack=attack,
        tolerance=config.audit.tolerance,
    )
    return case, rows


def decisive(attack: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an attack that change its result, not its speed alone."""
    return {key: value for key, value in attack.items() if key not in SPEED}


def reported_attack(chosen: Attacked) -> PGD:
    """The attack of stage `evaluate`; raises `InputError` unless it is PGD."""
    attack = built(chosen)
    if not isinstance(attack, PGD):
        raise InputError(f"attack.name is '{chosen.name}'. Allowed for audit: pgd.")
    return attack


def rows_of(
    images: ImageSet, ledger: Mapping[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """The ledger's entries of these images; raises `InputError` if it lacks some."""
    place = {index: row for row, index in enumerate(ledger["indices"].tolist())}
    try:
        rows = [place[index] for index in images.indices.tolist()]
        chosen = {name: array[rows] for name, array in ledger.items()}
        fits = bool((chosen["labels"] == images.labels.numpy()).all())
    except KeyError as error:
        raise InputError(f"the ledger '{path}' lacks {error}: run stage evaluate again") from error
    if not fits:
        raise InputError(f"the ledger '{path}' has other labels: run stage evaluate again")
    return chosen


def checks(
    config: Configuration,
    case: Case,
    ledger: Mapping[str, np.ndarray],
    source: tuple[str, Path] | None,
) -> dict[str, Check]:
    """Name → check, in the order in which they are run."""
    o = config.audit
    through, auto = o.straight_through, o.autoattack
    chosen: dict[str, Check] = {
        "epsilon_sweep": partial(audit.epsilon_sweep, case, epsilons=o.epsilons, steps=o.steps),
        "step_sweep": partial(audit.step_sweep, case, steps=o.step_sweep),
        "restart_sweep": partial(audit.restart_sweep, case, ledger["fooled_at_restart"]),
        "random_noise": partial(audit_attacks.random_noise, case, draws=o.noise_draws),
        "input_gradients": partial(audit_attacks.input_gradients, case, limit=o.zero_gradients),
        "straight_through": partial(
            audit_attacks.straight_through_attack,
            case,
            leaks=through.leaks,
            dormant=through.dormant,
            steps=o.steps,
        ),
    }
    if source:
        name, path = source
        spec = description(config.model)

        def transfer() -> Finding[Transfer]:
            model = load_network(path, expected=spec)[0].to(case.device)
            set_engine(config.trainer.engine, model, case.device)
            return audit_attacks.transfer(case, model, name=name, steps=o.steps)

        chosen["transfer"] = transfer
    if auto.images:
        attack = AutoAttack(
            epsilon=case.attack.epsilon,
            steps=auto.steps,
            queries=auto.queries,
            batch_size=case.attack.batch_size,
        )
        chosen["autoattack"] = partial(
            audit_attacks.autoattack_gap, case.first(auto.images), attack
        )
    return chosen


def draw(metrics: Examination, folder: Path) -> np.ndarray:
    """Write the sweeps as a figure; returns its pixels."""
    sweeps = [
        Sweep(LABELS[name], values, accuracy) for name, values, accuracy in metrics.checks.sweeps()
    ]
    reported = 100 * metrics.robust / metrics.images
    return audit_plot(
        sweeps, path=folder / CURVES, title=folder.name, levels={"reported": reported}
    )
