"""What a training is asked for, of either document; read without importing torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.data.settings import ImageData
from rewire.models.settings import Network
from rewire.options import (
    Allowed,
    Chosen,
    Count,
    Device,
    FromZero,
    Positive,
    Precision,
    Section,
    Seed,
    Threads,
)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Sparsity = Annotated[
    Fraction, Allowed("a number above 0 and below 1, e.g. 0.99, or 0 with rewire=dense")
]
Best = Literal["best_validation", "best_test"]
Phase = Annotated[tuple[Positive, Count], Field(strict=False)]
Phases = Annotated[
    list[Phase],
    Field(min_length=1),
    Allowed("a list of [learning rate above 0, whole number of steps from 1], at least one"),
]
Schedule = dict[str, Phases]


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
    engine: Literal["auto", "sparse", "dense", "compiled"] = Field(
        description="auto: sparse on a CPU where it pays, compiled for long trainings on a GPU"
    )
    log_every: Count = Field(description="steps between logged steps")
    check: bool = Field(description="check after every step that Algorithm 1's promises hold")
    selections: Annotated[list[Best], Allowed("a list of best_validation and best_test")] = Field(
        description="epochs whose networks are kept beside the last one's"
    )


class DenseTrainer(Section):
    """Adam and what is around it."""

    schedule: Schedule = Field(description="phases by network")
    phases: Phases = Field(description="[learning rate, steps] one after the other")
    batch_size: Count = Field(description="images per step")
    precision: Precision = Field(description="auto: bf16 where the hardware computes it")
    device: Device = Field(description="auto: a GPU if there is one")
    threads: Threads = Field(description="CPU threads")
    checkpoint_every: FromZero = Field(description="steps between resumable states; 0 = none")
    log_every: Count = Field(description="steps between rows of the history")


class Training(Section):
    """One sparse network: how it is made."""

    sparsity: Sparsity = Field(description="share of unconnected weights")
    seed: Seed = Field(description="of everything that is drawn")
    data: ImageData
    model: Chosen
    objective: Chosen
    rewire: Chosen
    trainer: Trainer


class DenseTraining(Section):
    """One dense network: how it is made."""

    seed: Seed = Field(description="of everything that is drawn")
    data: ImageData
    network: Network
    head: Chosen
    trainer: DenseTrainer
