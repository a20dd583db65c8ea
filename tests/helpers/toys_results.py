"""Results of chosen numbers, with the fields that the thesis's tables select by."""

from __future__ import annotations

from dataclasses import dataclass

from rewire.reporting.build_table import Result


@dataclass(frozen=True, kw_only=True)
class Toy(Result):
    seed: int = 0
    profile: str = "paper"
    sparsity: float = 0.99
    objective: str = "natural"
    variant: str = "trained"
    rewire: str = "random"
    cell: str = ""
    folder: str = ""
