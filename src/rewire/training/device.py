"""Where to compute, and in which precision."""

from __future__ import annotations

import torch

from rewire.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one; else the device of that name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("trainer.device is 'cuda', but no GPU is usable. Allowed here: auto, cpu.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device, *, engine: str = "dense") -> str:
    """`auto` takes bf16 where that is faster, else float32.

    That is where the hardware computes it; and on the sparse engine of any processor, which stores
    activations in bf16 and computes in float32.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    if engine == "sparse":
        return "bf16-mixed"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16-mixed" if fast else "32-true"


def use_threads(count: int | None) -> None:
    """Compute with `count` CPU threads from here on; None for all cores."""
    if count is not None:
        torch.set_num_threads(count)
