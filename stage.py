"""`rewire` with the code and configuration of this folder: python stage.py thesis prune rewire=l2

What is installed may be those of another folder: of the first checkout where this is a second one,
of the workspace where DVC runs an experiment in a copy.
"""

import os
import sys
from pathlib import Path

SOURCE = str(Path(__file__).resolve().parent / "src")


def run(*arguments: str) -> None:
    """Run what the arguments name; what it starts imports from here, too."""
    sys.path.insert(0, SOURCE)
    paths = [SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    sys.argv[1:] = arguments
    from rewire.__main__ import main

    main()


if __name__ == "__main__":
    run(*sys.argv[1:])
