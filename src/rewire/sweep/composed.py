"""A sweep's configurations, each composed once and not in silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

EVERY = 5.0  # seconds between lines


class ComposedOnce:
    """Stands before Hydra's loader: its sweeper composes every job to check it, then its launcher.

    A composition takes a tenth of a second or two. All else is the loader's own.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._known: dict[tuple[str, ...], DictConfig] = {}
        self._told = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: Sequence[str]
    ) -> DictConfig:
        """The configuration of the job with these overrides, which nobody may change."""
        key = tuple(sweep_overrides)
        if key not in self._known:
            self._known[key] = self._loader.load_sweep_config(master_config, list(key))
            if time.monotonic() > self._told + EVERY:
                self._told = time.monotonic()
                said = f"composing the jobs of the sweep: {len(self._known):,} so far"
                print(said, file=sys.stderr, flush=True)  # stdout may be commands to be run
        return self._known[key]
