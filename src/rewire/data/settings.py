"""Which images a run takes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewire.options import All, FromZero, PathText, Section


class ImageData(Section):
    """Images: which, where they lie, how many."""

    source: Literal["embedded", "folder", "download"] = Field(description="where images come from")
    root: PathText = Field(description="folder of the official files")
    validation_size: FromZero = Field(description="training images held out; 0 = none")
    train_size: All = Field(description="the first n after the split, class-balanced")
    test_size: All = Field(description="the first n, class-balanced as far as possible")
    augmentation: Literal["shift", "whole_shift", "crop", "none"] = Field(
        description="shift as the reference's, whole_shift by whole pixels, crop: pad 4, crop; "
        "all mirror"
    )
    dataset: str = Field("cifar10", description="which images")
    split: Literal["balanced", "first"] = Field("balanced", description="which are held out")
