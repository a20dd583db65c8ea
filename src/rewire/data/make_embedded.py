"""Make an embedded subset again: python -m rewire.data.make_embedded ROOT [--dataset mnist]

ROOT holds the official files: ROOT/cifar-10-batches-bin/*.bin (binary version) for CIFAR-10,
ROOT/MNIST/raw/*-ubyte or *-ubyte.gz for MNIST. Takes about 20 seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rewire.data.cifar10 import load_cifar10
from rewire.data.embedded import FOLDER, SUBSETS, load_embedded, save_embedded
from rewire.data.mnist import load_mnist
from rewire.data.split import first_balanced
from rewire.errors import InputError

LOADERS = {"cifar10": load_cifar10, "mnist": load_mnist}


def make_embedded(
    root: str | Path, *, dataset: str = "cifar10", folder: str | Path = FOLDER
) -> None:
    """Write the first images of every class, in equal numbers, and verify them.

    CIFAR-10: 500 per class for training and 100 for testing; MNIST: 1,000 and 200.

    Args:
        root: folder with the official files.
        dataset: "cifar10" or "mnist".
        folder: where to write.

    Raises:
        InputError: if an official file is missing or damaged.
    """
    sizes, load = SUBSETS[dataset].sizes, LOADERS[dataset]
    save_embedded(
        {
            split: first_balanced(load(source="folder", root=root, split=split), size)
            for split, size in sizes.items()
        },
        dataset=dataset,
        folder=folder,
    )
    for split in sizes:
        load_embedded(split, dataset=dataset, folder=folder)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rewire.data.make_embedded", description=__doc__)
    parser.add_argument("root", help="folder that holds the official files")
    parser.add_argument("--dataset", default="cifar10", choices=sorted(LOADERS))
    parser.add_argument("--output", default=FOLDER, type=Path, help="default: inside the package")
    options = parser.parse_args(arguments)
    try:
        make_embedded(options.root, dataset=options.dataset, folder=options.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
