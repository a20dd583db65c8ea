"""What goes after training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewire.options import Section


class Prune(Section):
    """What goes after training."""

    name: Literal["lonely"] = Field(description="every weight that is alone in its vector")
    layers: Literal["all", "inner"] = Field(description="inner: first and last layer stay whole")
    reestimate_batchnorm: bool = Field(description="estimate BatchNorm's statistics again")
