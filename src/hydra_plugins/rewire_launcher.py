"""Hydra's door to the launcher of sweeps, `rewire.sweep.launcher`.

Hydra finds launchers only in the namespace package `hydra_plugins`, and executes every file there
in every Hydra program of the environment. So this one imports nothing of this project before a
sweep of it starts, and registers nothing.
"""

from hydra.plugins.launcher import Launcher


class RewireLauncher(Launcher):
    """Hands everything on."""

    def __init__(self, **options):
        from rewire.sweep.launcher import IsolatedLauncher

        self._launcher = IsolatedLauncher(**options)

    def setup(self, **context):
        self._launcher.setup(**context)

    def launch(self, job_overrides, initial_job_idx):
        return self._launcher.launch(job_overrides, initial_job_idx)
