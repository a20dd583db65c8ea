"""The configuration of the thesis (`rewire.config.schema` adds what is chosen)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.config.common import Common, ImageData
from rewire.options import (
    All,
    Allowed,
    AsWritten,
    Count,
    Device,
    FromZero,
    Name,
    Null,
    PathText,
    Percent,
    Positive,
    Precision,
    Section,
    Seed,
    Share,
    Some,
    Steps,
    Threads,
)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Radius = Annotated[float, Field(ge=0, le=255)]
Sparsity = Annotated[
    Fraction, Allowed("a number above 0 and below 1, e.g. 0.99, or 0 with rewire=dense")
]
Best = Literal["best_validation", "best_test"]


class Trainer(Section):
    """SGD and what is around it."""

    epochs: Count = Field(description="passes over the training images")
    batch_size: Count = Field(description="images per step")
    lr: Positive = Field(description="learning rate; a tenth after 50 %, a hundredth after 75 %")
    momentum: Fraction = Field(description="of SGD, with the learning rate inside the velocity")
    weight_decay: Fraction = Field(description="per step, decoupled, not times lr")
    precision: Precision = Field(description="auto: bf16 where the hardware computes it")
    device: Device = Field(description="auto: a GPU if there is one")
    threads: Threads = Field(description="CPU threads")
    checkpoint_every: FromZero = Field(description="epochs between resumable states; 0 = none")
    engine: Literal["auto", "sparse", "dense"] = Field(
        description="auto: sparse on a CPU where it pays"
    )
    log_every: Count = Field(description="steps between logged steps")
    check: bool = Field(description="check after every step that Algorithm 1's promises hold")
    selections: Annotated[list[Best], Allowed("a list of best_validation and best_test")] = Field(
        description="epochs whose networks are kept beside the last one's"
    )


class Prune(Section):
    """What goes after training."""

    name: Literal["lonely"] = Field(description="every weight that is alone in its vector")
    layers: Literal["all", "inner"] = Field(description="inner: first and last layer stay whole")
    reestimate_batchnorm: bool = Field(description="estimate BatchNorm's statistics again")


class Attacked(Section):
    """What every attack of a stage has beside its own options."""

    images: All = Field(description="attack the first n test images, class-balanced")


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


class Configuration(Common):
    """One cell of the thesis's matrix, at one stage."""

    sparsity: Sparsity = Field(description="share of unconnected weights")
    selection: Literal["last", "best_validation", "best_test"] = Field(
        description="epoch whose network is pruned, evaluated and reported"
    )
    network: Annotated[PathText | None, Null("the trained one")] = Field(
        description="file of a network from elsewhere that prune, evaluate and structure take"
    )
    data: ImageData
    model: Section
    objective: Section
    rewire: Section
    trainer: Trainer
    prune: Prune
    attack: Attacked
    audit: Audit
