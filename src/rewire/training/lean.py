"""`pl`: PyTorch Lightning, imported in half the time.

Lightning imports torchmetrics, and that imports torchvision, SciPy's signal processing and
Matplotlib for image, audio and plotting metrics, none of which is used here: 1.5 of 2.5 seconds.
While Lightning is imported, torchmetrics is told that these packages are not installed. Should its
way of asking change, the import is merely slow again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

UNUSED = ("matplotlib", "scipy", "torchvision")


@contextmanager
def told_missing(packages: tuple[str, ...]) -> Iterator[None]:
    """Inside, lightning_utilities answers that `packages` are not installed."""
    from lightning_utilities.core import imports

    ask = getattr(imports.RequirementCache, "_check_requirement", None)
    available = getattr(imports, "package_available", None)
    if ask is None or available is None:  # another version
        yield
        return

    def check(self: imports.RequirementCache) -> None:
        if self.requirement in packages:
            self.available, self.message = False, f"{self.requirement!r} is not looked for"
        else:
            ask(self)

    with (
        mock.patch.object(imports.RequirementCache, "_check_requirement", check),
        mock.patch.object(
            imports, "package_available", lambda name: name not in packages and available(name)
        ),
    ):
        yield


with told_missing(UNUSED):
    import pytorch_lightning as pl
    import pytorch_lightning.plugins.environments  # noqa: F401 (part of what `pl` offers)

__all__ = ["pl"]
