"""The hot paths against their peers: python -m benchmarks [NAME ...] [--quick]"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.suite import BENCHES, check_names, run_bench
from rewire.errors import InputError
from rewire.files import writable_folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it all run?")
    parser.add_argument("--device", choices=("all", "cpu", "cuda"), default="all")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench"))
    arguments = parser.parse_args()
    # As the stages do: large tensors come and go every step.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        names, output = check_names(arguments.names), writable_folder(arguments.output)
        for name in names:
            mode = "quick" if arguments.quick else "full"
            run_bench(name, mode=mode, device=arguments.device, output=output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
