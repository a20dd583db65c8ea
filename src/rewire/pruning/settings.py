"""What goes after training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewire.options import Chosen, FromZero, Positive, Section


class Finetune(Section):
    """Training steps without rewiring."""

    epochs: FromZero = Field(description="passes over the training images without rewiring")
    lr: Positive = Field(description="learning rate; drops after 50 % and 75 % as in training")


class Prune(Chosen):
    """What goes after training, and what is done about it."""

    layers: Literal["all", "inner"] = Field(description="inner: first and last layer stay whole")
    reestimate_batchnorm: bool = Field(description="estimate BatchNorm's statistics again")
    finetune: Finetune
