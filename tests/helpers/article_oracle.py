"""A small cell of the article, and its network as plain NumPy arrays."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from helpers.small import composed

from rewire.article.document import ARTICLE
from rewire.attacks.universal_files import load_noise
from rewire.data.images import as_float
from rewire.data.load import load_data
from rewire.models.artifact import load_dense
from rewire.pruning.inputs import metric_images
from rewire.rng import derive_seed, generator

PAIRS = [(3, 0.25), (8, 0.2)]
COUNT = 60  # images behind the activated metric
SIZES = {"source": "embedded", "root": "data", "train_size": 300, "test_size": 90}
SMALL = (
    "seed=0",
    "tracking=off",
    "network.width=0.05",
    "trainer.schedule.ann=[[1.0e-3,150]]",
    "trainer.schedule.cnn=[[3.0e-3,40]]",
    "trainer.batch_size=50",
    "data.train_size=300",
    "data.test_size=90",
    "data.validation_size=40",
    "noise.pairs=[[3,0.25],[8,0.2]]",
    "noise.steps=8",
    "noise.batch_size=50",
    "noise.lr=3.0",
    "noise.trainability.runs=[]",
    "curves.images=null",
    "curves.most_draws=2",
    "curves.step_factor=40",
    f"curves.common.count={COUNT}",
)
ANN = ("network=ann", "curves.list.activated_2000.count=250")
CELL = "ann-lq-seed0"


def small(output: Path, *overrides: str):
    """Arguments of a stage's `run`; the overrides do not change the cell's name."""
    return composed(*SMALL, f"output={output}", *overrides, document=ARTICLE), []


class Oracle:
    """The network of a finished cell as arrays, pruned by sorting and judged by counting."""

    def __init__(self, output: Path, cell: str = CELL) -> None:
        folder = output / "quick"
        self.model = load_dense(folder / "article_train" / cell / "weights.safetensors")
        train, held_out, test = load_data(
            dataset="mnist", split="first", validation_size=40, **SIZES
        )
        self.training = as_float(train.images)
        self.test, self.held_out = (
            (as_float(data.images), data.labels.numpy()) for data in (test, held_out)
        )
        noise, pairs, _ = load_noise(folder / "article_noise" / cell / "noise_G1.safetensors")
        assert pairs == PAIRS
        self.noise = noise.numpy()
        layers = [*self.model.hidden.items(), ("output", self.model.output)]
        self.weights = {name: layer.weight.detach().numpy() for name, layer in layers}
        self.biases = {name: layer.bias.detach().numpy() for name, layer in layers}

    def means(self, name: str, draw: int, count: int) -> np.ndarray:
        place = list(self.weights).index(name)
        seed = derive_seed(0, "pruning draw", draw)
        drawn = metric_images(self.training, count=count, seed=seed, index=place)
        with torch.no_grad():
            return self.model.inputs_of(drawn)[name].numpy().astype(np.float64).mean(0)

    def metric(self, kind: str, name: str, draw: int, count: int) -> np.ndarray:
        size = np.abs(self.weights[name])
        if kind == "absolute":
            return size
        if kind == "random":
            seed = derive_seed(0, "pruning draw", draw)
            place = list(self.weights).index(name)
            return torch.rand(
                size.shape, generator=generator(seed, "random pruning", place)
            ).numpy()
        mean = self.means(name, draw, count).astype(np.float32)
        return size * mean if kind == "activated" else np.broadcast_to(mean, size.shape)

    def pruned(self, ratios, *, draw: int = 0, count: int = COUNT) -> dict[str, np.ndarray]:
        """ratios: (metric, matrix, ratio) of everything that goes."""
        weights = {name: weight.copy() for name, weight in self.weights.items()}
        for kind, name, ratio in ratios:
            values = self.metric(kind, name, draw, count).T.flatten()  # stored (in, out)
            gone = sorted(range(len(values)), key=values.__getitem__)[: int(ratio * len(values))]
            flat = weights[name].T.flatten()
            flat[gone] = 0
            weights[name] = flat.reshape(weights[name].T.shape).T
        return weights

    def correct(self, weights, x: np.ndarray, y: np.ndarray) -> int:
        for place, (name, weight) in enumerate(weights.items()):
            x = np.maximum(x, 0) if place else x
            x = x.astype(np.float64) @ weight.T + self.biases[name]
        return int((x.argmax(1) == y).sum())

    def columns(self, weights, evaluation: str) -> list[int]:
        x, y = self.test[0].flatten(1).numpy(), self.test[1]
        found = []
        for vector in [None, *self.noise]:
            fed = x if vector is None else x + vector
            found.append(self.correct(weights, fed.clip(0, 1) if evaluation == "E2" else fed, y))
        return found

    def sparsity(self, weights, names) -> float:
        lost = sum((weights[n] != self.weights[n]).sum() for n in names)
        return lost / sum(self.weights[n].size for n in names)


def rows_of(output: Path, cell: str = CELL) -> list[dict[str, str]]:
    with open(output / "quick" / "article_curves" / cell / "curves.csv") as file:
        return list(csv.DictReader(file))


def metrics_of(output: Path, stage: str, cell: str = CELL):
    return json.loads((output / "quick" / stage / cell / "metrics.json").read_text())


def copied(finished: Path, folder: Path) -> Path:
    """Another output folder with the trained network and its noise alone."""
    for stage in ("article_train", "article_noise"):
        shutil.copytree(finished / "quick" / stage, folder / "quick" / stage)
    return folder
