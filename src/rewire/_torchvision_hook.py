"""Let torchvision import beside a CPU-only torch.

torchvision's PyPI wheels bring an extension built for CUDA. Beside a CPU build of torch it does not
load, and `import torchvision` then fails while it registers two operators that the extension would
have declared (`nms`, `qnms`; pytorch/vision issues 9077 and 9085). A one-shot import hook waits for
torchvision: it first tries to load the extension exactly as torchvision will, and declares the two
operators only where that failed and only those that are missing, because declaring an operator
twice aborts the process.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec

_OPERATORS = ("nms", "qnms")
_library = None  # torch.library.Library removes its schemas when it is collected: keep it


def _declare_missing_operators(package_folder: str) -> None:
    global _library
    import torch

    finder = FileFinder(package_folder, (ExtensionFileLoader, EXTENSION_SUFFIXES))
    extension = finder.find_spec("_C")
    if extension is not None and extension.origin is not None:
        try:
            torch.ops.load_library(extension.origin)
            return
        except (OSError, ImportError):
            pass
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class _TorchvisionFinder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torchvision")
        if spec is not None and spec.submodule_search_locations:
            _declare_missing_operators(spec.submodule_search_locations[0])
        return spec


def install() -> None:
    """Register the hook; does nothing where torchvision is already imported."""
    hooked = any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not hooked:
        sys.meta_path.insert(0, _TorchvisionFinder())
