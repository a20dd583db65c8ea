"""The compiled kernels: which builds there are, which one this machine runs, and how to call it.

`setup.py` compiles `native/engine.cpp` once per instruction set when the package is installed.
Without a compiler there is no build, and dense PyTorch is used (`unavailable` says so).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import sys
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from rewire.errors import InputError, unknown_name

ISAS = ("avx512", "avx2", "plain")
"""Instruction sets with a build of their own, the fastest first."""
AGAIN = "install the package again (`make setup`)"
CHOICE = "REWIRE_ENGINE_ISA"
"""Environment variable that names the build to take, or `none`."""
FILE = "REWIRE_ENGINE_FILE"
"""Environment variable with the file of another build to take, for example one with sanitizers."""
FLOAT32, BFLOAT16 = 0, 1
STORAGES = {torch.float32: FLOAT32, torch.bfloat16: BFLOAT16}


class Geometry(ctypes.Structure):
    """Shape of one layer; `native/index.h` has the same struct."""

    _fields_ = [
        (name, c_int32)
        for name in (
            "inputs", "outputs", "height", "width", "kernel", "stride", "padding",
            "out_height", "out_width", "lanes",
        )
    ]  # fmt: skip


_SHAPE = [c_int] * 5  # storage, images, channels, height, width
_SIGNATURES = {
    "rewire_isa": (c_char_p, []),
    "rewire_supports": (c_int, [c_char_p]),
    "rewire_lanes": (c_int, [c_int]),
    "rewire_allocate": (c_void_p, [c_size_t]),
    "rewire_free": (None, [c_void_p]),
    "rewire_build_index": (
        None,
        [POINTER(Geometry), c_int, *[c_void_p] * 11, c_int],
    ),
    "rewire_set_weights": (None, [c_int, *[c_void_p] * 6, c_int]),
    "rewire_convolve": (
        None,
        [c_int, POINTER(Geometry), c_int, *[c_void_p] * 7, c_int, c_int, c_int],
    ),
    "rewire_convolve_back": (
        None,
        [c_int, POINTER(Geometry), c_int, *[c_void_p] * 4, c_int],
    ),
    "rewire_weight_gradient": (
        None,
        [c_int, POINTER(Geometry), c_int, *[c_void_p] * 6, c_int],
    ),
    "rewire_moments": (None, [*_SHAPE, *[c_void_p] * 3, c_int]),
    "rewire_tail": (None, [*_SHAPE, c_int, c_int, *[c_void_p] * 5, c_int]),
    "rewire_tail_back": (
        None,
        [*_SHAPE, c_int, c_int, *[c_void_p] * 7, c_int, *[c_void_p] * 3, c_int],
    ),
    "rewire_run": (None, [c_void_p, *[c_int] * 3, c_void_p, c_void_p, c_int, c_void_p, c_int]),
    "rewire_pack": (None, [c_int, c_void_p, c_void_p, *[c_int] * 4, c_void_p, c_int]),
    "rewire_unpack": (None, [c_int, c_void_p, *[c_int] * 4, c_void_p, c_int]),
    "rewire_step": (None, [*[c_void_p] * 5, c_int64, c_int32, *[c_float] * 3, c_int]),
    "rewire_moving": (c_int64, [*[c_void_p] * 3, c_int64, c_float, c_void_p, c_int]),
    "rewire_nearest": (
        None,
        [c_void_p, c_void_p, c_int, c_void_p, c_int64, c_int, c_int, c_uint64, c_void_p, c_int],
    ),
    "rewire_settle": (None, [*[c_void_p] * 3, c_int64, c_void_p, c_int32, c_float, c_int]),
}


def built() -> dict[str, Path]:
    """Instruction set → file of its build, those that were compiled.

    A copy of the checkout, as DVC makes for an experiment, has none: it takes those of the package
    that is installed, which are refused if their sources are others (`_is_stale`).
    """
    here = Path(__file__).parent
    for folder in (here, *(Path(path) / "rewire" / "engine" for path in sys.path)):
        found = {isa: sorted(folder.glob(f"_kernels_{isa}.*")) for isa in ISAS}
        if any(found.values()):
            return {isa: files[0] for isa, files in found.items() if files}
    return {}


@functools.cache
def open_build(isa: str) -> ctypes.CDLL:
    """The build for one instruction set, ready to call.

    Raises:
        InputError: if it was not compiled, or this machine cannot run it.
    """
    builds = built()
    if isa not in ISAS:
        raise unknown_name(CHOICE, isa, (*ISAS, "none"))
    if isa not in builds:
        raise InputError(f"the engine's build '{isa}' is missing. There are: {', '.join(builds)}.")
    if isa != "plain" and not _supported(isa):
        raise InputError(f"the engine's build '{isa}' cannot run on this processor.")
    return _loaded(str(builds[isa]))


@functools.cache
def _loaded(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    if _is_stale(library):
        raise InputError(f"the sparse engine's build is older than its source: {AGAIN}.")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _is_stale(library: ctypes.CDLL) -> bool:
    """Whether a build was made of other sources than those beside it."""
    sources = sorted((Path(__file__).parent / "native").glob("*"))
    if not sources:  # an installed package can come without them
        return False
    library.rewire_source.restype = c_char_p
    made_of = library.rewire_source().decode()
    here = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return made_of not in ("", here)


def _supported(isa: str) -> bool:
    # The plain build runs everywhere, so it may be asked about the others.
    return bool("plain" in built() and open_build("plain").rewire_supports(isa.encode()))


@functools.cache
def _chosen(wanted: str | None, file: str | None) -> tuple[str | None, str | None]:
    """(instruction set, None), or (None, why there is none)."""
    if file:
        return _loaded(file).rewire_isa().decode(), None
    if wanted == "none":
        return None, f"the sparse engine is switched off by {CHOICE}=none"
    if wanted:
        open_build(wanted)
        return wanted, None
    if not built():
        return None, (
            "the sparse engine was not built: install a C++20 compiler (g++ 12 or later, clang 15 "
            f"or later) and {AGAIN}"
        )
    try:
        return next(isa for isa in built() if isa == "plain" or _supported(isa)), None
    except InputError as error:
        return None, str(error).rstrip(".")


def instruction_set() -> str | None:
    """The instruction set of the build that is used; None where there is no engine."""
    return _chosen(os.environ.get(CHOICE), os.environ.get(FILE))[0]


def unavailable() -> str | None:
    """Why the engine cannot be used, and what to do; None where it can."""
    return _chosen(os.environ.get(CHOICE), os.environ.get(FILE))[1]


def kernels() -> ctypes.CDLL:
    """The build that is used.

    Raises:
        InputError: where there is none.
    """
    isa, file = instruction_set(), os.environ.get(FILE)
    if isa is None:
        raise InputError(f"{unavailable()}.")
    return _loaded(file) if file else open_build(isa)


def lanes(dtype: torch.dtype) -> int:
    """Images of one block of activations stored as `dtype`."""
    return kernels().rewire_lanes(STORAGES[dtype])


def pointer(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor on the CPU lies."""
    if tensor is None:
        return None
    assert tensor.is_cpu, "the engine computes on the CPU"
    assert tensor.is_contiguous(), "the engine reads contiguous tensors"
    return tensor.data_ptr()
