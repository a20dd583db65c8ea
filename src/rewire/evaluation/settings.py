"""What a robust accuracy is examined with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.options import (
    All,
    Allowed,
    AsWritten,
    Count,
    FromZero,
    Name,
    Null,
    Percent,
    Section,
    Seed,
    Share,
    Some,
    Steps,
)

Radius = Annotated[float, Field(ge=0, le=255)]


class StraightThrough(Section):
    """Gradients that go where the network has none."""

    leaks: Annotated[
        list[Some],
        Field(min_length=1),
        Allowed("a list of numbers above 0 and at most 1, at least one"),
    ] = Field(description="share of the gradient that a dead ReLU passes; a run for each")
    dormant: Share = Field(description="energy of the unconnected weights, of the connected ones'")


class AuditedByAutoAttack(Section):
    """AutoAttack beside PGD."""

    images: FromZero = Field(description="0 = not run")
    steps: Steps = Field(description="of APGD and FAB")
    queries: Count = Field(description="of Square")


class Audit(Section):
    """What a robust accuracy is examined with."""

    name: Literal["standard"] = Field(description="of the examination")
    images: All = Field(description="of the attacked test images, class-balanced")
    tolerance: Percent = Field(description="points by which two runs may differ without a flag")
    zero_gradients: Percent = Field(description="largest % of images whose gradient is all zero")
    steps: Steps = Field(description="of the attacks below that name no number")
    epsilons: Annotated[
        list[Radius],
        Field(min_length=1),
        AsWritten(),
        Allowed("a list of numbers from 0 to 255, at least one"),
    ] = Field(description="radii in 1/255")
    step_sweep: Annotated[
        list[Count], Field(min_length=1), Allowed("a list of whole numbers from 1, at least one")
    ] = Field(description="steps at the reported radius, one start")
    noise_draws: Count = Field(description="uniform draws in the ball per image")
    transfer_from: Annotated[list[Name], Allowed("a list of rewiring strategies")] = Field(
        description="the first that is not the cell's own is the source"
    )
    transfer_seed: Annotated[Seed | None, Null("another strategy of the same seed")] = Field(
        description="the cell's own strategy, trained with that seed, is the source instead"
    )
    straight_through: StraightThrough
    autoattack: AuditedByAutoAttack
