"""Randomness as an argument: generators derived from what they are for, never from global state."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed that is a fixed function of (seed, purpose, indices).

    Distinct purposes and indices give unrelated streams, so a step's noise does not depend on how
    many numbers earlier steps drew: a resumed run needs no saved generator state. PyTorch's CPU
    generator uses the low 32 bits: among 100,000 streams about one pair is the same.
    """
    text = ":".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(
    seed: int, purpose: str, *indices: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh `torch.Generator` on `device` for (seed, purpose, indices)."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, *indices))
