"""Universal noise as safetensors files, with its pairs and the variant that made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from rewire.attacks.universal import PIXELS, VARIANTS, Pair, check_pairs, pair_label
from rewire.errors import InputError
from rewire.files import atomic_path


def save_noise(path: str | Path, noise: Tensor, *, pairs: Sequence[Pair], variant: str) -> None:
    """Write noise (V, 784) with its pairs and the variant that made it, atomically.

    Raises:
        InputError: for noise that `load_noise` would refuse.
    """
    noise = noise.detach().cpu().contiguous()
    _check_noise(noise, pairs, variant, f"the noise for '{path}'")
    pairs = [(int(target), float(limit)) for target, limit in pairs]
    # One entry: the library writes several in an order that changes from call to call.
    metadata = {"made": json.dumps({"pairs": pairs, "variant": variant})}
    with atomic_path(path) as temporary:
        save_file({"noise": noise}, temporary, metadata=metadata)


def load_noise(
    path: str | Path, *, expected: Sequence[Pair] | None = None
) -> tuple[Tensor, list[Pair], str]:
    """Read what `save_noise` wrote.

    Args:
        path: the file.
        expected: if given, the pairs that the file must have, in this order.

    Returns:
        (noise float32 (V, 784), V pairs (target class, limit), name of the variant).

    Raises:
        InputError: if the file is missing or damaged, holds anything else than finite noise of
            this shape within the limits of its pairs, or is of other pairs than expected.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"missing noise '{path}': run the stage that writes it first")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            made = json.loads(file.metadata()["made"])
            pairs = [(target, limit) for target, limit in made["pairs"]]
            noise, variant = file.get_tensor("noise"), made["variant"]
    except (safetensors.SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"noise '{path}' is damaged or of another kind: {error}") from error
    _check_noise(noise, pairs, variant, f"noise '{path}'")
    if expected is not None and pairs != [tuple(pair) for pair in expected]:
        raise InputError(
            f"noise '{path}' is of other pairs: {_labels(pairs)}, not {_labels(expected)}"
        )
    return noise, pairs, variant


def _labels(pairs: Sequence[Pair]) -> str:
    return " ".join(pair_label(pair) for pair in pairs)


def _check_noise(noise: Tensor, pairs: Sequence[Pair], variant: str, what: str) -> None:
    check_pairs(pairs)
    VARIANTS[variant]  # refuses an unknown name
    if noise.shape != (len(pairs), PIXELS) or noise.dtype != torch.float32:
        raise InputError(
            f"{what} is {noise.dtype} of shape {tuple(noise.shape)} for {len(pairs)} pairs. "
            f"Allowed: torch.float32 of shape ({len(pairs)}, {PIXELS})."
        )
    limits = torch.tensor([limit for _, limit in pairs])[:, None]
    if not (noise.abs() <= limits).all():
        raise InputError(f"{what} exceeds the limits of its pairs. Allowed: at most the limit.")
