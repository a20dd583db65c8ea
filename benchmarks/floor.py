"""How far the training step is from what the hardware could do at best.

The floor of a step is its arithmetic at the speed of the best matrix product of that precision,
plus the memory traffic that no arrangement avoids at the speed of a plain copy: per weight, θ and
momentum are read and written, the gradient is written and read, sign and materialised weight are
read and written once. Activations are left out, and so is whatever hides behind the arithmetic: a
real step cannot reach the floor. Operations are counted by PyTorch, ceilings measured in the same
run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.harness import Row, measure
from benchmarks.workload import BareLoop, sparse_network
from rewire.models.layout import total_size
from rewire.training.device import choose_precision

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "width": 1.0,
        "batch_size": 128,
        "sparsity": 0.99,
        "strategy": "l2",
        "matrix": {"cpu": 2048, "cuda": 8192},
        "buffer": {"cpu": 10**8, "cuda": 10**9},
        "rounds": {"natural": 15, "trades": 4},
        "warm_up": 3,
    },
    "quick": {
        "width": 0.1,
        "batch_size": 32,
        "sparsity": 0.95,
        "strategy": "l2",
        "matrix": {"cpu": 128, "cuda": 128},
        "buffer": {"cpu": 10**5, "cuda": 10**5},
        "rounds": {"natural": 2, "trades": 1},
        "warm_up": 1,
    },
}


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    batch_size: int,
    sparsity: float,
    strategy: str,
    matrix: dict[str, int],
    buffer: dict[str, int],
    rounds: dict[str, int],
    warm_up: int,
) -> list[Row]:
    precision = choose_precision("auto", device)
    kind = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    size = matrix[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    out = torch.empty_like(a)
    memory = torch.zeros(buffer[device.type] // 4, device=device)
    copy = torch.empty_like(memory)
    rows: list[Row] = []
    for objective, count in rounds.items():
        loop = BareLoop(
            sparse_network(width=width, sparsity=sparsity, device=device),
            objective=objective,
            precision=precision,
            device=device,
            batch_size=batch_size,
            total_steps=10 * (count + warm_up + 1),
            strategy=strategy,
            sparsity=sparsity,
        )
        with Operations() as counter:
            loop.step()
        timings = measure(
            {
                "product": lambda: torch.mm(a, b, out=out),
                "copy": lambda: copy.copy_(memory),
                "step": loop.step,
            },
            rounds=count,
            warm_up=warm_up,
            device=device,
        )
        # The best runs are the ceilings: what the hardware can do.
        flops_per_s = 2 * size**3 / timings["product"].low
        bytes_per_s = 2 * 4 * len(memory) / timings["copy"].low
        flops = counter.flops
        traffic = bytes_per_weight(kind) * total_size(loop.model.layers)
        arithmetic, moving = flops / flops_per_s, traffic / bytes_per_s
        step = timings["step"].median
        rows.append(
            {
                "objective": objective,
                "precision": precision,
                "GFLOP": flops / 1e9,
                "GFLOP/s at best": flops_per_s / 1e9,
                "MB": traffic / 1e6,
                "GB/s at best": bytes_per_s / 1e9,
                "arithmetic ms": 1e3 * arithmetic,
                "memory ms": 1e3 * moving,
                "step ms": 1e3 * step,
                "times the floor": step / (arithmetic + moving),
                "GFLOP/s": flops / step / 1e9,
            }
        )
    return rows


class Operations(TorchDispatchMode):
    """Counts the operations of products and convolutions inside, forwards and backwards.

    With PyTorch's formulas; its own counter follows modules, too, and cannot do that inside a
    gradient with respect to the input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        count = flop_registry.get(function.overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def bytes_per_weight(kind: torch.dtype) -> int:
    """θ and momentum read and written, gradient written and read; sign read, weight written."""
    return 4 * (2 + 2 + 2) + 2 * kind.itemsize
