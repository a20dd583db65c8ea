"""Trained cells side by side: `python -m rewire.stages.compare FOLDER... --to DEST`.

For cells outside the standard matrix, such as those of a sweep: one table of results, one of layer
densities beside those that the thesis implies, matrix plots, and the cells' small files.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError
from rewire.files import read_json, writable_folder, write_text
from rewire.models.artifact import load_network
from rewire.reporting.summary import markdown_table
from rewire.stages.cells import WEIGHTS
from rewire.structure.figures import density_plot, matrix_plot

# Densities in % that the published numbers imply for `random` at 99 % after 100 epochs.
IMPLIED = {"conv3": 1.28, "conv4": 1.28, "dense1": 1.08} | {f"conv{n}": 0.85 for n in range(5, 9)}
SMALL_FILES = ("metrics.json", "history.csv", "config.yaml", "provenance.json")


def read_cell(folder: Path) -> dict[str, Any]:
    """Metrics, configuration, provenance and weights of one trained cell."""
    config = folder / "config.yaml"
    if not config.is_file():
        raise InputError(f"'{folder}' is no finished training: it has no config.yaml")
    model, spec = load_network(folder / WEIGHTS)
    return {
        "metrics": read_json(folder / "metrics.json"),
        "config": yaml.safe_load(config.read_text(encoding="utf-8")),
        "provenance": read_json(folder / "provenance.json"),
        "weights": {name: weight.numpy() for name, weight in model.weights().items()},
        "spec": spec,
    }


def compare(folders: list[Path], destination: Path, *, title: str) -> str:
    """Write the comparison into `destination`; returns its Markdown text.

    Cells are labelled by their rewiring strategy, so each strategy may occur once.
    """
    cells: dict[str, dict[str, Any]] = {}
    for folder in folders:
        cell = read_cell(folder)
        label = cell["config"]["rewire"]["name"]
        if label in cells:
            raise InputError(f"two cells of strategy '{label}'. Allowed: one cell per strategy.")
        cells[label] = cell | {"folder": folder}
    writable_folder(destination)
    text = "\n".join([f"# {title}", "", described(cells), "", results(cells), "", densities(cells)])
    write_text(destination / "README.md", text + "\n")
    first = next(iter(cells.values()))
    matrices = [name for name, weight in first["weights"].items() if weight.ndim == 2][:2]
    for layer in matrices:
        panels = [(label, cell["weights"][layer]) for label, cell in cells.items()]
        matrix_plot(panels, path=destination / f"{layer}.png", suptitle=f"{layer}: {title}")
    density_plot(
        {label: density(cell) for label, cell in cells.items()},
        path=destination / "density.png",
        title=f"density per layer: {title}",
        reference=IMPLIED if is_thesis(first) else None,
    )
    for label, cell in cells.items():
        target = writable_folder(destination / label)
        for name in SMALL_FILES:
            shutil.copyfile(cell["folder"] / name, target / name)
    return text


def described(cells: dict[str, dict[str, Any]]) -> str:
    """What was run, on what, in words."""
    first = next(iter(cells.values()))
    config, machine = first["config"], first["provenance"]
    seconds = sum(cell["provenance"]["seconds"] for cell in cells.values())
    return (
        f"{first['spec']['name']} of width {first['spec']['width']}, sparsity "
        f"{config['sparsity']}, {config['objective']['name']} training, seed {config['seed']}, "
        f"{config['trainer']['epochs']} epochs, data {config['data']['source']}, "
        f"{first['metrics']['precision']}; the last epoch counts. "
        f"{machine['gpu'] or machine['cpu']} ({machine['threads']} threads), "
        f"torch {machine['versions']['torch']}, commit {machine['commit']}, "
        f"{seconds / 60:.0f} minutes in all."
    )


def results(cells: dict[str, dict[str, Any]]) -> str:
    rows = []
    for label, cell in cells.items():
        metrics, structure = cell["metrics"], cell["metrics"]["structure"]
        row = {
            "rewiring": label,
            "test accuracy %": round(metrics["clean"]["accuracy"], 2),
            "zero vectors %": round(structure["zero_vectors"]["percent"], 2),
            "at |w| > 1e-6 %": round(structure["zero_vectors_above_1e-6"]["percent"], 2),
        }
        if is_thesis(cell):
            row["layer 8 zero vectors %"] = round(
                structure["layers"][8]["zero_vectors"]["percent"], 2
            )
        row |= {
            "connected": structure["connected"],
            "re-connections / K": round(structure["turnover"], 1),
            "seconds": round(cell["provenance"]["seconds"]),
        }
        rows.append(row)
    return markdown_table(rows)


def densities(cells: dict[str, dict[str, Any]]) -> str:
    """Density of every layer in %, per strategy."""
    first = next(iter(cells.values()))
    rows = []
    for layer in first["weights"]:
        row: dict[str, Any] = {"density % of": layer}
        row |= {label: round(density(cell)[layer], 2) for label, cell in cells.items()}
        if is_thesis(first):
            row["implied by the thesis (random, 100 epochs)"] = IMPLIED.get(layer)
        rows.append(row)
    return markdown_table(rows)


def density(cell: dict[str, Any]) -> dict[str, float]:
    return {
        layer["name"]: layer["density_percent"] for layer in cell["metrics"]["structure"]["layers"]
    }


def is_thesis(cell: dict[str, Any]) -> bool:
    """Whether a cell is of the network and sparsity for which the thesis implies densities."""
    return cell["spec"] == {"name": "vgg11", "width": 1.0, "classes": 10, "image_size": 32} and (
        cell["config"]["sparsity"] == 0.99 and cell["config"]["objective"]["name"] == "natural"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rewire.stages.compare", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--to", type=Path, required=True, help="folder for the comparison")
    parser.add_argument("--title", default="Rewiring strategies compared")
    arguments = parser.parse_args()
    try:
        print(compare(arguments.folders, arguments.to, title=arguments.title))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
