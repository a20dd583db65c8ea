"""The configuration of the thesis (`rewire.pipeline.schema` adds what is chosen)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.evaluation.settings import Audit
from rewire.options import All, Chosen, Null, PathText
from rewire.pipeline.common import Common
from rewire.pruning.settings import Prune
from rewire.training.settings import Training


class Attacked(Chosen):
    """What every attack of a stage has beside its own options."""

    images: All = Field(description="attack the first n test images, class-balanced")


class Configuration(Common, Training):
    """One cell of the thesis's matrix, at one stage."""

    selection: Literal["last", "best_validation", "best_test"] = Field(
        description="epoch whose network is pruned, evaluated and reported"
    )
    network: Annotated[PathText | None, Null("the trained one")] = Field(
        description="file of a network from elsewhere that prune, evaluate and structure take"
    )
    prune: Prune
    attack: Attacked
    audit: Audit
