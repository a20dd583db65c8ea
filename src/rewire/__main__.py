"""The command `rewire`, also as `python -m rewire`."""

import gc
import sys


def main() -> None:
    # torch and Lightning make a million objects while they are imported, and all of them stay:
    # looking for garbage among them costs a fifth of the start. Stages turn it on again.
    gc.disable()
    from rewire.cli import main

    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    main()
