"""The command `rewire`, also as `python -m rewire`."""

import gc
import os
import sys


def main() -> None:
    # torch and Lightning make a million objects while they are imported, and all of them stay:
    # looking for garbage among them costs a fifth of the start. Stages turn it on again.
    gc.disable()
    from rewire.cli import main

    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has gone: rewire --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
