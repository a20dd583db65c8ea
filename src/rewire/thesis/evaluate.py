"""Stage 3: clean and robust accuracy of the trained and the pruned network (Tables 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from rewire.attacks.judge import FOOLED_BY
from rewire.data.batches import EvalBatches
from rewire.data.images import ImageSet
from rewire.data.load import load_images
from rewire.data.split import first_balanced
from rewire.engine.choice import set_engine
from rewire.errors import InputError
from rewire.evaluation.accuracy import predict_correct
from rewire.evaluation.ledger import save_ledger
from rewire.evaluation.robust import Evaluated, evaluate
from rewire.evaluation.statistics import Accuracy
from rewire.files import write_json
from rewire.models.artifact import description
from rewire.models.plain import open_network
from rewire.models.sparse import SparseNetwork
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS, clean_ledger
from rewire.pipeline.partial_results import Part, parts
from rewire.pipeline.run_cell import run_cell
from rewire.progress import bar
from rewire.registry import ATTACKS
from rewire.thesis.configuration import Attacked, Configuration
from rewire.thesis.metrics import Evaluation, Withstood
from rewire.training.device import choose_device

CHUNK = 1000  # attacked images that are decided, and kept, at a time


def run(config: DictConfig, overrides: list[str]) -> None:
    """Evaluate the cell that `config` names; reads what stages `train` and `prune` left."""
    run_cell(Cell.of("evaluate", config, overrides), measure)


def measure(cell: Cell[Configuration]) -> list[str]:
    config, sources, folder, tracker = cell.config, cell.networks(), cell.folder, cell.tracker
    attack = built(config.attack)
    device = choose_device(config.trainer.device)
    _, _, test = load_images(config.data)
    attacked = subset(test, config.attack.images)
    spec = description(config.model)
    networks: dict[str, Withstood] = {}
    names = [METRICS]
    decided = cell.pieces(device=device.type, chunk=CHUNK)
    with parts(folder, decided=decided) as part:
        for variant, source in sources.items():
            model = open_network(source, spec=spec)
            model.to(device)
            set_engine(config.trainer.engine, model, device)
            correct = predict_correct(model, EvalBatches(test, batch_size=500, device=device))
            left = withstood(model, attacked, attack, device, variant, part)
            save_ledger(folder / f"{variant}.npz", left.arrays)
            save_ledger(folder / clean_ledger(variant), clean_verdicts(test, correct))
            names += [f"{variant}.npz", clean_ledger(variant)]
            clean, robust = Accuracy.counted(int(correct.sum()), len(test)), left.robust
            networks[variant] = Withstood(
                clean=clean, robust=robust, steps_run=left.steps_run, fooled_by=left.fooled_by
            )
            print(
                f"{variant}: clean {clean.accuracy:.2f} % of {clean.total:,}, "
                f"robust {robust.accuracy:.2f} % of {robust.total:,}",
                flush=True,
            )
        metrics = Evaluation(**networks, attack=cell.plain["attack"]).as_json()
        write_json(folder / METRICS, metrics)
    tracker.summary(metrics)
    tracker.artifact(
        f"ledger-{folder.name}",
        type="evaluation",
        files=[folder / name for name in names],
        metadata={},
        inputs=cell.lineage(sources),
    )
    return names


def built(attack: Attacked) -> Any:
    """The attack of the evaluation.

    Its starts are the same for every cell: robust accuracies can be compared image by image.
    """
    return ATTACKS.build(attack.name, **attack.options)(seed=0)


def clean_verdicts(test: ImageSet, correct: torch.Tensor) -> dict[str, np.ndarray]:
    """The ledger of all test images, attacked or not.

    Args:
        test: N images.
        correct: bool (N,).
    """
    return {
        "indices": test.indices.numpy(),
        "labels": test.labels.numpy(),
        "clean_correct": correct.cpu().numpy(),
    }


def withstood(
    model: SparseNetwork, attacked: ImageSet, attack, device, variant: str, part: Part
) -> Evaluated:
    """What the attack leaves of the attacked images, decided chunk by chunk."""
    chunks = []
    with bar(variant, total=len(attacked), unit="image") as shown:
        for start, images in chunked(attacked):

            def progress(done: int, total: int, start=start, images=images) -> None:
                # Images that are wrong without an attack are decided from the start.
                shown.update(start + len(images) - total + done - shown.n)

            def compute(images=images, progress=progress) -> dict[str, Any]:
                found = evaluate(model, images, attack=attack, device=device, progress=progress)
                return as_plain(found)

            chunks.append(kept(part(f"{variant}-{start:06d}", compute)))
            shown.update(start + len(images) - shown.n)
    return merged(chunks)


def chunked(images: ImageSet) -> Iterator[tuple[int, ImageSet]]:
    """(position of the first one, images) in chunks of at most `CHUNK`, in their order.

    What is drawn for an image depends on nothing but its index, so chunks change no result.
    """
    for start in range(0, len(images), CHUNK):
        yield start, images.take(torch.arange(start, min(start + CHUNK, len(images))))


def as_plain(found: Evaluated) -> dict[str, Any]:
    """What is kept of a decided chunk, as JSON values."""
    arrays = {
        name: {"dtype": str(array.dtype), "values": array.tolist()}
        for name, array in found.arrays.items()
    }
    return {"arrays": arrays, "steps_run": found.steps_run, "fooled_by": found.fooled_by}


def kept(plain: Mapping[str, Any]) -> Evaluated:
    """The chunk that `as_plain` gave."""
    arrays = {name: np.array(a["values"], a["dtype"]) for name, a in plain["arrays"].items()}
    return Evaluated(arrays, plain["steps_run"], plain["fooled_by"])


def merged(chunks: Sequence[Evaluated]) -> Evaluated:
    """All chunks together."""
    fooled = {name: sum(chunk.fooled_by.get(name, 0) for chunk in chunks) for name in FOOLED_BY}
    return Evaluated(
        arrays={
            name: np.concatenate([chunk.arrays[name] for chunk in chunks])
            for name in chunks[0].arrays
        },
        steps_run=sum(chunk.steps_run for chunk in chunks),
        fooled_by={name: count for name, count in fooled.items() if count},
    )


def subset(test: ImageSet, images: int | None) -> ImageSet:
    """The first `images` test images, class-balanced; None for all."""
    if images is None:
        return test
    if not 1 <= images <= len(test):
        raise InputError(f"attack.images is {images}. Allowed: 1 to {len(test)}, or null for all.")
    return first_balanced(test, images)
