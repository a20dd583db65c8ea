"""One entry point per pipeline stage; the only code that knows Hydra."""

import gc
import sys

if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2].startswith("rewire.stages."):
    # This process is a stage. torch and Lightning make a million objects while they are imported,
    # and all of them stay: looking for garbage among them costs a fifth of the start. `launch`
    # turns the collector on again.
    gc.disable()
