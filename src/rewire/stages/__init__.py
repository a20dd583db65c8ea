"""One entry point per pipeline stage; the only code that knows Hydra."""
