"""Measured accuracies and the intervals around them: over seeds, and over the images of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

from rewire.errors import InputError
from rewire.record import Record

# Two-sided 95 % quantile of the standard normal distribution.
Z95 = 1.959963984540054


class Accuracy(Record):
    """Correct images of all, and their share in percent."""

    correct: int
    total: int
    accuracy: float

    @classmethod
    def counted(cls, correct: int, total: int) -> Self:
        """From the counts; `total` is at least 1."""
        return cls(correct=correct, total=total, accuracy=100 * correct / total)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval over the images, in percent."""
        low, high = wilson_interval(self.correct, self.total)
        return 100 * low, 100 * high


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds and the half width of its two-sided 95 % Student-t interval.

    Returns:
        (mean, half width), in the unit of `values`; the half width is `None` for one value.

    Raises:
        InputError: for no value, or one that is not finite.
    """
    values = [float(value) for value in values]
    if not values or not all(map(math.isfinite, values)):
        raise InputError(f"no interval for {values}. Allowed: at least one value, all finite.")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    # SciPy takes long to import, and most users of this module never need it.
    from scipy.special import stdtrit

    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """Two-sided 95 % Wilson score interval of a share: `k` of `n` images, both ends in [0, 1].

    Raises:
        InputError: unless 0 <= k <= n and n >= 1.
    """
    if n < 1 or not 0 <= k <= n:
        raise InputError(f"no interval for {k} of {n}. Allowed: 0 <= k <= n with n >= 1.")
    share, z2 = k / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At k = 0 and k = n one end is 0 or 1 exactly, which rounding would miss.
    low = 0.0 if k == 0 else centre - half
    high = 1.0 if k == n else centre + half
    return low, high
