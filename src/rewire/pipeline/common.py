"""What the configurations of all documents have; see `rewire.options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.options import (
    Count,
    Name,
    Null,
    PathText,
    Scale,
    Section,
    Some,
    Text,
)

Epochs = dict[str, Count]
Thin = dict[str, Some]


class Profile(Section):
    """The scale at which everything runs."""

    name: Scale = Field(description="folder of the results below output")
    note: str = Field(description="what tables say about the scale")
    epochs: Epochs = Field({}, description="epochs by objective")
    thin: Thin = Field({}, description="widths of dense networks with as many weights as sparse")

    def noting(self, said: str) -> Profile:
        """The same with more to be said."""
        return self.model_copy(update={"note": self.note + said})


class Tracking(Section):
    """W&B."""

    mode: Literal["off", "offline", "online"] = Field(description="whether and where runs go")
    project: Text = Field(description="of W&B")
    folder: PathText = Field(description="of the runs")
    system_metrics: bool = Field(description="use of processors and memory in the runs, too")


class Common(Section):
    """What every configuration has."""

    arm: Annotated[Name | None, Null("no variant")] = Field(
        description="name of a variant; part of the cell's name"
    )
    output: PathText = Field(description="results go to output/PROFILE/STAGE/CELL/")
    force: bool = Field(description="run a finished cell again")
    profile: Profile
    tracking: Tracking
