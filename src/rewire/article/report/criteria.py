"""What decides each claim of the article, per trained network; `claims` has the criteria.

Accuracies are of test images, E1, averaged over the draws of the activated metric; a gain is the
accuracy minus that of ratio 0 of the same curve. A ratio keeps clean accuracy if the held-out clean
accuracy loses at most 0.65 points. Every function returns None where its data were not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rewire.article.counts import accuracies
from rewire.article.report.best_performance import clean_accuracy, unpruned_validation
from rewire.article.report.runs import (
    CLEAN,
    CLEAN_LOSS,
    VALIDATION,
    Measured,
    Run,
    at_ratio,
    kept_ratios,
    mean,
)
from rewire.article.results import Decoupled, Noised

GAIN = 0.01  # an accuracy that rose
# Two accuracies that differ: three standard errors, if 1 % of 10,000 images change their verdict.
MARGIN = 0.003
MOST = 5  # of the eight vectors
SOME = 2  # of the eight vectors
LOW_RATIO = 0.25  # the article's steps end at 22 to 23 %
HIGH_RATIO = 0.96  # the article's x = 97
LOST = 0.015  # clean accuracy that one layer alone may cost
FC1_RATIO, FC1_LOST = 0.98, 0.003
CLASS1, CLASS1_RATIOS = "1/.35", {"activated_dense1": 0.99, "activated_dense2": 0.96}
CLASS1_SHARE = 0.1135  # of MNIST's test images, which stay correct when all others are lost
DECOUPLED_COLUMN = "5/.3"
OWN_LOSS, COMPARED_LOSS = "quadratic_linear", "ce"
LATER_LAYERS = ("dense2", "dense3")
METRICS = ("absolute", "activated")
LAYER_CURVES = [f"{metric}_{layer}" for metric in METRICS for layer in ("dense1", *LATER_LAYERS)]


@dataclass(frozen=True)
class Finding:
    """What one network says: True, False, or None where it is too close, and the numbers."""

    holds: bool | None
    numbers: str


def absolute_gains(run: Run) -> Finding | None:
    """(a)"""
    gains = best_gains(run, "absolute", kept(run, "absolute"))
    if gains is None:
        return None
    return Finding(_risen(gains.values()) >= MOST, _risen_text(gains))


def activated_gains(run: Run) -> Finding | None:
    """(b)"""
    ratios = {metric: kept(run, metric) for metric in METRICS}
    gains = best_gains(run, "activated", list(run.mean("activated", CLEAN)))
    if gains is None or not all(ratios.values()):
        return None
    last = {metric: max(found) for metric, found in ratios.items()}
    sooner = last["activated"] < last["absolute"]
    text = f"clean kept up to {_percent(last['activated'])} activated"
    text += f", {_percent(last['absolute'])} absolute; {_risen_text(gains)}"
    return Finding(sooner and _risen(gains.values()) == len(run.vectors), text)


def steps_in_first_layer(run: Run) -> Finding | None:
    """(c)"""
    changes = {}
    for name in LAYER_CURVES:
        found: list[float] = []
        for vector in run.vectors:
            line = run.mean(name, vector)
            low = [value for ratio, value in line.items() if ratio <= LOW_RATIO]
            if 0.0 not in line or len(low) < 2:
                return None
            found += [abs(value - line[0.0]) for value in low]
        changes[name] = max(found)
    first = changes["activated_dense1"]
    others = [change for name, change in changes.items() if name != "activated_dense1"]
    text = ", ".join(f"{name} {_points(change)}" for name, change in changes.items())
    return Finding(first >= GAIN > max(others), f"largest change: {text}")


def combined_better(run: Run) -> Finding | None:
    """(d)"""

    def at_last(method: str) -> dict[str, float]:
        last = max(kept(run, method), default=-1.0)
        return _known({vector: run.mean(method, vector).get(last) for vector in run.vectors})

    combined, activated = at_last("combined"), at_last("activated")
    if not combined or not activated:
        return None
    gains = {vector: combined[vector] - activated[vector] for vector in run.vectors}
    lost = [vector for vector, gain in gains.items() if gain <= -GAIN]
    text = f"{_risen_text(gains)}; worse: {', '.join(lost) or 'none'}"
    return Finding(_risen(gains.values()) >= SOME, text)


def first_layer_dominates(run: Run) -> Finding | None:
    """(e)"""
    return _layers(
        run, lambda m, gain: (gain[f"{m}_dense1"], sum(gain[f"{m}_{x}"] for x in LATER_LAYERS))
    )


def later_layers_differ(run: Run) -> Finding | None:
    """(f)"""
    order = {"absolute": LATER_LAYERS, "activated": LATER_LAYERS[::-1]}
    return _layers(run, lambda m, gain: (gain[f"{m}_{order[m][0]}"], gain[f"{m}_{order[m][1]}"]))


def later_layers_prunable(run: Run) -> Finding | None:
    """(g)"""
    curves = [f"{metric}_{layer}" for metric in METRICS for layer in LATER_LAYERS]
    return _clean_losses(run, curves, HIGH_RATIO, LOST)


def layers_depend(run: Run) -> Finding | None:
    """(h)"""
    unpruned, joint = clean_accuracy(run.at(CLEAN)), clean_accuracy(run.at("layers"))
    if unpruned is None or joint is None:
        return None
    losses = {
        f"{metric}_{layer}": clean_loss(run, f"{metric}_{layer}", ratio)
        for metric, layers in run.at("layers")[0].ratios.items()
        if isinstance(layers, Mapping)
        for layer, ratio in layers.items()
    }
    if not (alone := _known(losses)):
        return None
    together, total = unpruned - joint, sum(alone.values())
    text = f"together {_points(together)}; sum of the parts {_points(total)} ("
    text += ", ".join(f"{name} {_points(loss)}" for name, loss in alone.items()) + ")"
    return Finding(_above(together, total), f"clean loss {text}")


def first_dense_prunable(run: Run) -> Finding | None:
    """(i)"""
    return _clean_losses(run, [f"{metric}_dense1" for metric in METRICS], FC1_RATIO, FC1_LOST)


def class_one_moves(run: Run) -> Finding | None:
    """(j)"""
    verdicts, texts = [], []
    for (name, ratio), sign in zip(CLASS1_RATIOS.items(), (-1, 1), strict=True):
        changes, possible = [], False
        for line in run.draws(name, CLASS1).values():
            value = at_ratio(line, ratio)
            if value is None or 0.0 not in line:
                return None
            changes.append(sign * (value - line[0.0]))
            possible |= sign > 0 or line[0.0] >= CLASS1_SHARE + GAIN
        if not changes:
            return None
        differ = min(changes) <= 0 < max(changes)
        verdicts.append(None if differ or not possible else mean(changes) >= GAIN)
        spread = f"{_points(sign * min(changes))} to {_points(sign * max(changes))}"
        texts.append(f"{name} at {_percent(ratio)}: {_points(sign * mean(changes))} ({spread})")
    return Finding(_all(verdicts), f"{CLASS1}: {'; '.join(texts)} over draws")


def second_dense_no_gain(run: Run) -> Finding | None:
    """(k)"""
    gain = best_mean_gain(run, "absolute_dense2")
    if gain is None:
        return None
    return Finding(gain < GAIN, f"best mean gain of the eight vectors {_points(gain)}")


def decoupled_gains(result: Measured[Decoupled]) -> Finding | None:
    """(l)"""
    columns, (unpruned, *points) = result.metrics.columns, result.metrics.points
    if DECOUPLED_COLUMN not in columns:
        return None
    before = accuracies(unpruned, columns)
    gains = []
    for point in points:
        after = accuracies(point, columns)
        convolutions = all(layer.startswith("conv") for layer in point.layers)
        if point.metric != "activated" or not convolutions:
            continue
        if before[CLEAN] - after[CLEAN] <= CLEAN_LOSS + 1e-9:
            gains.append(after[DECOUPLED_COLUMN] - before[DECOUPLED_COLUMN])
    if not gains:
        return None
    risen = _risen(gains)
    text = f"{risen} of {len(gains)} prunings gain; mean {_points(mean(gains))}"
    text += f", {_points(min(gains))} to {_points(max(gains))}"
    return Finding(True if 2 * risen >= len(gains) else None if risen else False, text)


def own_loss_fails(result: Measured[Noised]) -> Finding | None:
    """(m)"""
    metrics = result.metrics
    clean = accuracies(metrics.accuracy["G1"]["E1"]["all"], metrics.columns)[CLEAN]
    drops: dict[tuple[str, str], list[float]] = {}
    for trial in metrics.trainability:
        drop = clean - trial.correct / trial.images
        drops.setdefault((trial.loss, trial.optimiser), []).append(drop)
    means = {key: mean(found) for key, found in drops.items()}
    own = [value for (loss, _), value in means.items() if loss == OWN_LOSS]
    compared = [value for (loss, _), value in means.items() if loss == COMPARED_LOSS]
    if not own or not compared or max(compared) < GAIN:
        return None
    text = ", ".join(f"{loss}/{optimiser} {_points(-v)}" for (loss, optimiser), v in means.items())
    return Finding(max(own) < max(compared) / 2, f"mean change of accuracy: {text}")


def kept(run: Run, curve: str) -> list[float]:
    """Ratios of a curve that keep the held-out clean accuracy; empty if it was not measured."""
    clean = run.mean(curve, VALIDATION)
    unpruned = unpruned_validation(run, clean)
    return [] if unpruned is None else kept_ratios(clean, unpruned=unpruned)


def best_gains(run: Run, curve: str, ratios: Sequence[float]) -> dict[str, float] | None:
    """Vector → largest gain over these ratios."""
    gains = {}
    for vector in run.vectors:
        line = run.mean(curve, vector)
        values = [line[ratio] for ratio in ratios if ratio in line]
        if not values or 0.0 not in line:
            return None
        gains[vector] = max(values) - line[0.0]
    return gains


def best_mean_gain(run: Run, curve: str) -> float | None:
    """Largest gain of the mean over the eight vectors at a ratio that keeps clean accuracy."""
    line = run.mean_of_vectors(curve)
    values = [line[ratio] for ratio in kept(run, curve) if ratio in line]
    return max(values) - line[0.0] if values and 0.0 in line else None


def clean_loss(run: Run, curve: str, ratio: float) -> float | None:
    """Clean test accuracy that a curve loses at a ratio."""
    clean = run.mean(curve, CLEAN)
    value = at_ratio(clean, ratio)
    return None if value is None or 0.0 not in clean else clean[0.0] - value


def _layers(
    run: Run, compare: Callable[[str, Mapping[str, float]], tuple[float, float]]
) -> Finding | None:
    """Whether one of two numbers made of the layers' best mean gains is larger, for each metric."""
    gain = _known({name: best_mean_gain(run, name) for name in LAYER_CURVES})
    if not gain:
        return None
    text = ", ".join(f"{name} {_points(value)}" for name, value in gain.items())
    larger = [_above(*compare(metric, gain)) for metric in METRICS]
    return Finding(_all(larger), f"best mean gain of the eight vectors: {text}")


def _clean_losses(run: Run, curves: Iterable[str], ratio: float, most: float) -> Finding | None:
    losses = _known({curve: clean_loss(run, curve, ratio) for curve in curves})
    if not losses:
        return None
    text = ", ".join(f"{curve} {_points(-loss)}" for curve, loss in losses.items())
    within = max(losses.values()) <= most + 1e-9
    return Finding(within, f"clean change at {_percent(ratio)}: {text}")


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    """All of these; none if one was not measured."""
    there = {name: value for name, value in values.items() if value is not None}
    return there if len(there) == len(values) else {}


def _above(larger: float, smaller: float) -> bool | None:
    return None if abs(larger - smaller) < MARGIN else larger > smaller


def _all(verdicts: Sequence[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _risen(gains: Iterable[float]) -> int:
    return sum(gain >= GAIN - 1e-9 for gain in gains)


def _risen_text(gains: Mapping[str, float]) -> str:
    each = ", ".join(f"{vector} {_points(gain)}" for vector, gain in gains.items())
    return f"{_risen(gains.values())} of {len(gains)} vectors gain ({each})"


def _points(share: float) -> str:
    return f"{100 * share:+z.1f}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g} %"
