"""The article's networks, as they are chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewire.options import Section


class Network(Section):
    """A dense network."""

    name: Literal["ann", "ann_article", "cnn"] = Field(description="its layers")
    width: Annotated[float, Field(gt=0, le=64)] = Field(
        description="factor on all hidden units and filters"
    )
    dropout: Literal["none", "unit", "dropconnect"] = Field(
        description="none as the author's code ran, unit keeps 0.7, dropconnect drops 0.7"
    )
