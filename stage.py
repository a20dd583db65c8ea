"""Run one stage with the code and configuration of this folder: python stage.py prune rewire=l2

What is installed may be those of another folder: of the first checkout where this is a second one,
of the workspace where DVC runs an experiment in a copy.
"""

import gc
import os
import sys
from pathlib import Path

SOURCE = str(Path(__file__).resolve().parent / "src")


def run(stage: str) -> None:
    """Run `stage` on the command line's arguments; what it starts imports from here, too."""
    sys.path.insert(0, SOURCE)
    paths = [SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # A million objects are made by imports, and stay: see rewire/stages/__init__.py.
    gc.disable()
    from rewire.stages.entry import launch

    launch(stage)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python stage.py STAGE [option=value ...]")
    run(sys.argv.pop(1))
