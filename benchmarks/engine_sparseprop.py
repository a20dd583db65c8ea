"""SparseProp 0.1.14, the public peer for sparse training on CPUs, on the same VGG11.

It does not install by itself: its setup asks for pybind11 of the interpreter that it finds in PATH.

    pip install pybind11 setuptools wheel
    PATH="$PWD/.venv/bin:$PATH" pip install --no-build-isolation --no-deps sparseprop==0.1.14

Layers of more than 80 % sparsity take whatever of its two algorithms and the dense layer is
fastest, as its own function chooses; the others stay dense. It computes in a process of its own:

    python -m benchmarks.engine_sparseprop {compare|infer} SPARSITY WIDTH BATCH_SIZE ROUNDS THREADS
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import sys
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cells import run_python
from benchmarks.engine_forms import (
    CPU,
    IMAGE,
    LAYERS,
    SEED,
    calibrate,
    folded,
    on_engine,
    ordinary,
)
from benchmarks.engine_inference import TOLERANCE as OF_LOGITS
from benchmarks.engine_inference import repeated, times_per_reading
from benchmarks.harness import Row, measure
from benchmarks.workload import training_batches
from rewire.engine import Inference
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.rng import generator

TOLERANCE = 1e-2  # of gradients: pools and ReLU flip by rounding


def sparseprop_missing() -> str | None:
    """Why SparseProp is not measured; None if it is."""
    if all(importlib.util.find_spec(name) for name in ("sparseprop", "backend")):
        return None
    return "sparseprop not measured: benchmarks.engine_sparseprop says how to install it"


def sparseprop_rows(*, sparsity: float, width: float, batch_size: int, rounds: int) -> list[Row]:
    """Forward and backward pass in training mode, without an update; or why there are none."""
    return _apart("compare", sparsity, width, batch_size, rounds)


def sparseprop_inference(
    *, sparsity: float, width: float, batch_size: int, rounds: int
) -> list[Row]:
    """Logits without a gradient, BatchNorm folded in; or why there are none."""
    return _apart("infer", sparsity, width, batch_size, rounds)


def _apart(what: str, sparsity: float, width: float, batch_size: int, rounds: int) -> list[Row]:
    """The rows of `compare` or `infer` from a process of its own."""
    reason = sparseprop_missing()
    if reason is None:
        numbers = (sparsity, width, batch_size, rounds, torch.get_num_threads())
        try:
            said = run_python("-m", "benchmarks.engine_sparseprop", what, *map(str, numbers))
            return json.loads(said.splitlines()[-1])
        except InputError as error:
            reason = f"sparseprop not measured: {error}"
    return [{"part": "sparseprop", "sparsity": sparsity, "note": reason}]


def compare(*, sparsity: float, width: float, batch_size: int, rounds: int) -> list[Row]:
    """The rows of a process that computes with SparseProp."""
    x, y = next(iter(training_batches(batch_size, CPU)))
    model = on_engine(width=width, sparsity=sparsity)
    dense = ordinary(model, width=width)
    peer, kept = sparsified(dense, x)
    plain = x.contiguous()
    losses: dict[str, Tensor] = {}

    def ours(name: str, *, bf16: bool) -> None:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses[name] = F.cross_entropy(model(x).float(), y)
        losses[name].backward()

    def theirs(name: str, network: nn.Module, images: Tensor) -> None:
        network.zero_grad()
        losses[name] = F.cross_entropy(network(images), y)
        losses[name].backward()

    tasks = {
        "sparseprop": lambda: theirs("sparseprop", peer, plain),
        "dense float32": lambda: theirs("dense float32", dense, x),
        "sparse bf16": lambda: ours("sparse bf16", bf16=True),
        "sparse float32": lambda: ours("sparse float32", bf16=False),
    }
    timings = measure(tasks, rounds=rounds, warm_up=1)
    rows = []
    for name, timing in timings.items():
        row: Row = {"part": "sparseprop", "sparsity": sparsity, "by": name, **timing.columns()}
        if name.startswith("sparse "):
            row |= {
                "against": "sparseprop",
                "times faster": timings["sparseprop"].median / timing.median,
            }
        if name == "sparseprop":
            row["kept dense"] = kept
            row["equal gradients"] = same_gradients(model, peer)
        rows.append(row)
    return rows


@torch.no_grad()
def infer(*, sparsity: float, width: float, batch_size: int, rounds: int) -> list[Row]:
    """Inference by both in turns, in a process that computes with SparseProp."""
    model = on_engine(width=width, sparsity=sparsity)
    calibrate(model, next(iter(training_batches(128, CPU)))[0])
    x = torch.rand(batch_size, *IMAGE, generator=generator(SEED, "bench", batch_size))
    dense = folded(ordinary(model, width=width))
    peer, kept = sparsified(dense, x)
    forms = {"sparseprop": peer.eval(), "engine": Inference(model)}
    per = times_per_reading(batch_size)
    tasks = {name: partial(repeated, predict, x, per) for name, predict in forms.items()}
    timings = measure(tasks, rounds=rounds, warm_up=2)
    milliseconds = {name: 1e3 * timing.median / per for name, timing in timings.items()}
    expected = dense(x)  # SparseProp's own are wrong in some processes (2 of 10)
    return [
        {"part": "sparseprop", "batch": batch_size, "form": name, "ms": milliseconds[name]}
        | {"times sparseprop": milliseconds["sparseprop"] / milliseconds[name]}
        | ({"kept dense": kept} if name == "sparseprop" else {})
        | {"equal logits": bool((got - expected).abs().max() <= OF_LOGITS * expected.abs().max())}
        for name, got in ((name, predict(x)) for name, predict in forms.items())
    ]


def sparsified(dense: nn.Module, x: Tensor) -> tuple[nn.Module, str]:
    """The network with SparseProp's layers, and which layers it left dense."""
    from sparseprop.utils import swap_modules_with_sparse

    contiguous = copy.deepcopy(dense).to(memory_format=torch.contiguous_format)
    for module in contiguous:
        if isinstance(module, nn.ReLU):  # a layer's result may be a view
            module.inplace = False
    with contextlib.redirect_stdout(io.StringIO()):
        # The first time is to warm up: its choice is by one run of each form.
        for _ in range(2):
            network = swap_modules_with_sparse(contiguous, tuple(x.shape))
    layers = [module for module in network.children() if hasattr(module, "weight")]
    layers = [module for module in layers if not isinstance(module, nn.BatchNorm2d)]
    kept = [
        name
        for name, module in zip(LAYERS, layers, strict=True)
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    return network, ", ".join(kept)


def same_gradients(model: SparseNetwork, peer: nn.Module) -> bool:
    """Whether the last backward passes left the same gradients of the connected weights."""
    flat = torch.zeros_like(model.sign)
    connected = model.connected()
    flat[connected] = model.theta.grad.coalesce().values() * model.sign[connected]
    weights, layers = model.flat_weights(), iter(model.layers)
    for ours, theirs in zip(model.body.children(), peer.children(), strict=True):
        if not isinstance(ours, SparseConv2d | SparseLinear):
            continue
        layer = next(layers)
        # In the order of PyTorch's weight, as theirs is.
        there = layer.as_weight(layer.of(weights)) != 0
        mine, other = layer.as_weight(layer.of(flat))[there], theirs.weight.grad
        other = other if other.shape == mine.shape else other[there]
        if (mine - other).norm() > TOLERANCE * mine.norm():
            return False
    return True


def main() -> None:
    what, sparsity, width, batch_size, rounds, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    size = {"width": float(width), "batch_size": int(batch_size), "rounds": int(rounds)}
    print(json.dumps({"compare": compare, "infer": infer}[what](sparsity=float(sparsity), **size)))


if __name__ == "__main__":
    main()
