"""Stage 3: clean and robust accuracy of the trained and the pruned network (Tables 2 and 3)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from rewire.attacks import build_attack
from rewire.data.batches import EvalBatches
from rewire.data.images import ImageSet
from rewire.data.split import first_balanced
from rewire.errors import InputError
from rewire.evaluation.accuracy import counted, predict_correct
from rewire.evaluation.ledger import save_ledger
from rewire.evaluation.robust import evaluate
from rewire.files import write_json
from rewire.models.artifact import load_network
from rewire.models.sparse import SparseNetwork
from rewire.stages.cells import WEIGHTS
from rewire.stages.common import MODEL_SPEC, VARIANTS, load_images, run_cell, sibling
from rewire.tracking import Tracker
from rewire.training.device import choose_device


def run(config: DictConfig, overrides: list[str]) -> None:
    """Evaluate the cell that `config` names; reads what stages `train` and `prune` left."""

    def work(config: dict[str, Any], folder: Path, tracker: Tracker) -> list[str]:
        sources = {v: sibling(config, overrides, stage) for v, stage in VARIANTS.items()}
        return measure(config, sources, folder, tracker)

    run_cell("evaluate", config, overrides, work)


def measure(
    config: dict[str, Any], sources: dict[str, Path], folder: Path, tracker: Tracker
) -> list[str]:
    options = dict(config["attack"])
    images = options.pop("images")
    # The same starts for every cell: their robust accuracies can be compared image by image.
    attack = build_attack(options.pop("name"), **options, seed=0)
    device = choose_device(config["trainer"]["device"])
    _, _, test = load_images(config)
    attacked = subset(test, images)
    spec = {key: config["model"][key] for key in MODEL_SPEC}
    metrics: dict[str, Any] = {}
    names = ["metrics.json"]
    for variant, source in sources.items():
        model, _ = load_network(source / WEIGHTS, expected=spec)
        model.to(device)
        metrics[variant], ledger = judge(model, test, attacked, attack, device, variant)
        save_ledger(folder / f"{variant}.npz", ledger)
        names.append(f"{variant}.npz")
        clean, robust = metrics[variant]["clean"], metrics[variant]["robust"]
        print(
            f"{variant}: clean {clean['accuracy']:.2f} % of {clean['total']:,}, "
            f"robust {robust['accuracy']:.2f} % of {robust['total']:,}",
            flush=True,
        )
    metrics["attack"] = config["attack"]
    write_json(folder / "metrics.json", metrics)
    tracker.summary(metrics)
    tracker.artifact(
        f"ledger-{folder.name}",
        type="evaluation",
        files=[folder / name for name in names],
        metadata={},
        inputs=[f"weights-{sources['trained'].name}", f"pruned-{sources['pruned'].name}"],
    )
    return names


def judge(
    model: SparseNetwork, test: ImageSet, attacked: ImageSet, attack, device, variant: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Clean accuracy on all test images, robust accuracy on the attacked ones; the ledger."""
    correct = predict_correct(model, EvalBatches(test, batch_size=500, device=device))
    with tqdm(total=len(attacked), desc=variant, unit="image", disable=not watched()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = evaluate(model, attacked, attack=attack, device=device, progress=progress)
    counts = {
        "clean": counted(int(correct.sum()), len(test)),
        "robust": counted(result["robust_count"], result["images"]),
    }
    work = {"steps_run": result["steps_run"], "fooled_by": result["fooled_by"]}
    return counts | work, result["arrays"]


def subset(test: ImageSet, images: int | None) -> ImageSet:
    """The first `images` test images, class-balanced; None for all."""
    if images is None:
        return test
    if not 1 <= images <= len(test):
        raise InputError(f"attack.images is {images}. Allowed: 1 to {len(test)}, or null for all.")
    return first_balanced(test, images)


def watched() -> bool:
    """Whether somebody looks at the terminal: progress bars stay out of logs."""
    return sys.stderr.isatty()


if __name__ == "__main__":
    from rewire.stages.entry import launch

    launch("evaluate")
