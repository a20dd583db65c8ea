"""Make the embedded CIFAR-10 subset again: python -m rewire.data.make_embedded ROOT

ROOT holds the official binary files, ROOT/cifar-10-batches-bin/*.bin. Takes about 20 seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rewire.data.cifar10 import load_cifar10
from rewire.data.embedded import FOLDER, SIZES, load_embedded, save_embedded
from rewire.data.split import first_balanced
from rewire.errors import InputError


def make_embedded(root: str | Path, *, folder: str | Path = FOLDER) -> None:
    """Write the first images of every class, 500 for training and 100 for testing, and verify them.

    Args:
        root: folder with cifar-10-batches-bin.
        folder: where to write.

    Raises:
        InputError: if an official file is missing or damaged.
    """
    save_embedded(
        {
            split: first_balanced(load_cifar10(source="folder", root=root, split=split), size)
            for split, size in SIZES.items()
        },
        folder=folder,
    )
    for split in SIZES:
        load_embedded(split, folder=folder)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rewire.data.make_embedded", description=__doc__)
    parser.add_argument("root", help="folder that holds cifar-10-batches-bin")
    parser.add_argument("--output", default=FOLDER, type=Path, help="default: inside the package")
    options = parser.parse_args(arguments)
    try:
        make_embedded(options.root, folder=options.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
