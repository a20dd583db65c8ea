"""The report as the text of one HTML file that loads nothing."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rewire.reporting.html.findings import tone
from rewire.reporting.html.model import Report
from rewire.reporting.render import (
    difference_text,
    doubts,
    explanation,
    interval_text,
    value_text,
)
from rewire.reporting.text_tables import format_value

SCRIPTS = ("report.js", "charts.js", "matrices.js")
STYLES = ("report.css",)
DIGITS = 6  # significant ones of a number that is only drawn


def render_report(report: Report) -> str:
    """HTML of the whole page: styles, scripts, data and pictures are in it."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            style=Markup("\n".join(_static(name) for name in STYLES)),
            script=Markup("\n".join(_static(name) for name in SCRIPTS)),
        )
    )


def as_data(value: Any) -> Markup:
    """A dataclass or plain value as JSON that may stand inside of a script element."""
    text = json.dumps(_short(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("rewire.reporting.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "data": as_data,
        "tone": tone,
        "value": lambda value: f"{value:,}" if type(value) is int else format_value(value),
        "ours": value_text,
        "interval": lambda cell: interval_text(cell) or "",
        "difference": lambda cell: difference_text(cell) or "",
        "notes": lambda table: [*explanation(table), *doubts(table)],
        "png": lambda data: "data:image/png;base64," + base64.b64encode(data).decode("ascii"),
        "slug": lambda text: "".join(c if c.isalnum() else "-" for c in text).strip("-").lower(),
    }
    return found


@cache
def _static(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8")


def _short(value: Any) -> Any:
    """Plain JSON values with floats as long as they can be seen."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _short(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_short(part) for part in value]
    return value
