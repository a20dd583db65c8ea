"""What the configurations of all documents have; see `rewire.options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.options import (
    All,
    Count,
    FromZero,
    Name,
    Null,
    PathText,
    Scale,
    Section,
    Seed,
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


class Tracking(Section):
    """W&B."""

    mode: Literal["off", "offline", "online"] = Field(description="whether and where runs go")
    project: Text = Field(description="of W&B")
    folder: PathText = Field(description="of the runs")
    system_metrics: bool = Field(description="use of processors and memory in the runs, too")


class ImageData(Section):
    """Images: which, where they lie, how many."""

    source: Literal["embedded", "folder", "download"] = Field(description="where images come from")
    root: PathText = Field(description="folder of the official files")
    validation_size: FromZero = Field(description="training images held out; 0 = none")
    train_size: All = Field(description="the first n after the split, class-balanced")
    test_size: All = Field(description="the first n, class-balanced as far as possible")
    augmentation: Literal["shift", "crop", "none"] = Field(
        description="shift as the reference's, crop: pad 4 and crop; both mirror"
    )
    dataset: str = Field("cifar10", description="which images")
    split: Literal["balanced", "first"] = Field("balanced", description="which are held out")


class Common(Section):
    """What every configuration has."""

    seed: Seed = Field(description="of everything that is drawn")
    arm: Annotated[Name | None, Null("no variant")] = Field(
        description="name of a variant; part of the cell's name"
    )
    output: PathText = Field(description="results go to output/PROFILE/STAGE/CELL/")
    force: bool = Field(description="run a finished cell again")
    profile: Profile
    tracking: Tracking
