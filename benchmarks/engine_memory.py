"""Memory of a training, in a process of its own.

    python -m benchmarks.engine_memory FORM SPARSITY WIDTH BATCH_SIZE STEPS STRATEGY

prints the bytes that it holds at most, beyond those after the imports. FORM is `sparse float32`,
`sparse bf16`, or one of `dense_forms`.
"""

from __future__ import annotations

import sys

from benchmarks.cells import run_python
from benchmarks.engine_forms import CPU, STORAGES, dense_loop, fast_storage, on_engine
from benchmarks.harness import Row
from benchmarks.scale import extra_memory
from benchmarks.workload import BareLoop, training_images


def memory_rows(
    *, sparsity: float, width: float, batch_size: int, steps: int, strategy: str
) -> list[Row]:
    """Peak memory of the natural training by form."""
    forms = [f"sparse {storage}" for storage in STORAGES]
    forms += sorted({f"dense {fast_storage()}", "dense float32"})
    rows: list[Row] = []
    for form in forms:
        row: Row = {"part": "memory", "sparsity": sparsity, "by": form}
        numbers = (str(n) for n in (sparsity, width, batch_size, steps))
        said = run_python("-m", "benchmarks.engine_memory", form, *numbers, strategy).split()[-1]
        told = {"note": "the system does not tell"} if said == "None" else {"MB": int(said) / 1e6}
        rows.append(row | told)
    return rows


def peak(
    form: str, *, sparsity: float, width: float, batch_size: int, steps: int, strategy: str
) -> int | None:
    """Bytes beyond those at the call that `steps` steps of a training make this process hold."""
    training_images()

    def train() -> None:
        loop = training(form, sparsity, width, batch_size, strategy)
        for _ in range(steps):
            loop.step()

    return extra_memory(train, CPU)


def training(form: str, sparsity: float, width: float, batch_size: int, strategy: str) -> BareLoop:
    if form.startswith("sparse"):
        return BareLoop(
            on_engine(width=width, sparsity=sparsity),
            objective="natural",
            precision=STORAGES[form.removeprefix("sparse ")],
            device=CPU,
            batch_size=batch_size,
            total_steps=1000,
            strategy=strategy,
            sparsity=sparsity,
        )
    size = {"width": width, "batch_size": batch_size, "steps": 1000}
    return dense_loop(form, objective="natural", **size)


def main() -> None:
    form, sparsity, width, batch_size, steps, strategy = sys.argv[1:]
    sizes = {"width": float(width), "batch_size": int(batch_size), "steps": int(steps)}
    print(peak(form, sparsity=float(sparsity), strategy=strategy, **sizes))


if __name__ == "__main__":
    main()
