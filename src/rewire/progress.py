"""How far something is: bars where somebody watches, none in logs, and the time that is left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

# Seconds from which a length of time is told in units of so many seconds.
UNITS = ((172_800, 86_400, "days"), (7200, 3600, "hours"), (90, 60, "minutes"))

WORTH_TELLING = 10.0  # seconds


def watched() -> bool:
    """Whether somebody looks at the terminal: progress bars stay out of logs."""
    return sys.stderr.isatty()


def bar(what: str, *, total: int, unit: str) -> tqdm:
    """A bar with rate and time left, of `total` things of a kind; nothing where nobody watches."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=unit, disable=not watched())


def tell(shown: tqdm, line: str) -> None:
    """Print a line above a bar."""
    shown.write(line)
    sys.stdout.flush()


def about(seconds: float) -> str:
    """A length of time as people say it: `about 6 minutes`."""
    for least, unit, name in UNITS:
        if seconds >= least:
            return f"about {round(seconds / unit)} {name}"
    return "about a minute" if seconds >= 45 else "less than a minute"


def time_left(seconds: float) -> str:
    """`, about 6 minutes left`; nothing where it is not worth telling."""
    return f", {about(seconds)} left" if seconds >= WORTH_TELLING else ""


class Pace:
    """The time that equal pieces of work still take, by those that are over.

    Args:
        total: pieces; what is side by side counts as it ends.
    """

    def __init__(self, total: int) -> None:
        self.total, self.over, self.started = total, 0, time.monotonic()

    def another(self) -> str:
        """Count one more piece that is over; the words of `time_left`."""
        self.over += 1
        each = (time.monotonic() - self.started) / self.over
        return time_left((self.total - self.over) * each)
