"""DVC's experiments on one screen: `rewire experiments`, a row each.

`dvc exp show` has a column for every number of every cell and for every file that anything depends
on, 340 here, and DVC has no option in a file that leaves any away. This is the mean of each number
over the cells, and the options in which experiments differ.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewire.errors import InputError
from rewire.pipeline.dvc_views import METRIC_ROWS
from rewire.reporting.text_tables import summary_table

OF_DVC = ("Experiment", "rev", "typ", "Created", "parent", "State", "Executor")
# What `dvc metrics show` has columns of; DVC leaves the file out where only one cell has a number.
NUMBER = re.compile(
    rf"(outputs/{METRIC_ROWS}/(?P<document>[^/]+)/[^:]+:)?"
    "(?P<name>clean|robust|zero vectors|under noise)"
)
TOLD = 2  # options, in full


def overview(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per experiment from what `dvc.api.exp_show` says of all of them."""
    keys = dict.fromkeys(key for row in found for key in row)
    numbers = {key: match for key in keys if (match := NUMBER.fullmatch(key))}
    options = [key for key in keys if key not in numbers and is_option(key) and varies(key, found)]
    rows = []
    for row in found:
        values: dict[str, list[float]] = {}
        for key, match in numbers.items():
            column = ": ".join(filter(None, (match["document"], match["name"])))
            value = row.get(key)
            values.setdefault(column, []).extend([] if value is None else [value])
        rows.append(
            {
                "experiment": row["Experiment"] or row["rev"],
                "created": row["Created"],
                "profile": row.get("profile"),
                **{name: sum(v) / len(v) if v else None for name, v in sorted(values.items())},
                "differs in": ", ".join(differences(row, options)),
            }
        )
    return rows


def varies(key: str, found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all experiments have it and not all the same."""
    values = [row.get(key) for row in found]
    return None not in values and any(value != values[0] for value in values)


def is_option(key: str) -> bool:
    """Whether a column is of a parameter, not of a file or of DVC's own."""
    return key not in (*OF_DVC, "profile") and ("/" not in key or ":" in key)


def differences(row: Mapping[str, Any], options: Sequence[str]) -> Iterator[str]:
    """What an experiment has of the options that vary, the first ones in full."""
    for key in options[:TOLD]:
        yield f"{key.rpartition(':')[2]}={row[key]}"
    if len(options) > TOLD:
        yield f"{len(options) - TOLD} more"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="rewire experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", "--commits", type=int, default=1, help="back from the one here")
    commits = parser.parse_args(arguments).commits
    rows = overview(experiments(commits))
    narrow = [{name.replace(": ", ":\n"): row[name] for name in row} for row in rows]
    print(summary_table(narrow), end="")


def experiments(commits: int) -> list[dict[str, Any]]:
    """What DVC knows of the experiments of the last commits.

    Raises:
        InputError: without DVC, or where it has none.
    """
    try:
        from dvc.api import exp_show
        from dvc.exceptions import DvcException
    except ImportError as error:
        raise InputError("DVC is missing. Allowed: pip install 'rewire[pipeline]'.") from error
    try:
        return exp_show(num=commits)
    except DvcException as error:
        raise InputError(f"DVC has no experiments here: {error}") from error
