"""The article's claims (a) to (m), scored on our results by criteria fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.article.report import criteria as rule
from rewire.article.report.criteria import Finding
from rewire.article.report.runs import CLEAN_LOSS, Finished, Measured, Run, chosen
from rewire.article.results import Decoupled, Noised
from rewire.record import Record
from rewire.reporting.table import COMPARABLE_PROFILE, NOT_RUN
from rewire.reporting.text_tables import markdown_table

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
NOT_JUDGED = "not judged"  # measured, but not at the article's scale
VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDECIDED, NOT_JUDGED, NOT_RUN)


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        letter: "a" to "m".
        text: what the article says.
        criterion: when one network supports it.
        published: what the article's own numbers say.
        source: stage whose results decide.
        network: on which network.
        check: results of one cell → finding, None without the data.
    """

    letter: str
    text: str
    criterion: str
    published: str
    source: str
    network: str
    check: Callable[[Any], Finding | None]


class ScoredClaim(Record):
    """What our networks say about a claim.

    Attributes:
        claim, text, criterion, published: its own.
        verdict: one of `VERDICTS`.
        seeds: how many networks spoke.
        numbers: of each, one line per network.
        profile: of these networks, None without any.
    """

    claim: str
    text: str
    verdict: str
    seeds: int
    numbers: str
    criterion: str
    published: str
    profile: str | None


def _points(share: float) -> str:
    return f"{100 * share:g} {'point' if share == 0.01 else 'points'}"


_GAIN, _MARGIN, _CLEAN = _points(rule.GAIN), _points(rule.MARGIN), _points(CLEAN_LOSS)
_KEPT = f"held-out clean accuracy loses at most {_CLEAN}"
_LOW, _HIGH, _FC1 = (f"{100 * r:g} %" for r in (rule.LOW_RATIO, rule.HIGH_RATIO, rule.FC1_RATIO))
_L1, _L2 = (f"{100 * ratio:g} %" for ratio in rule.CLASS1_RATIOS.values())

CLAIMS = (
    Claim(
        "a",
        "Absolute-value pruning: most vectors gain before clean accuracy drops.",
        f"At least {rule.MOST} of the 8 vectors gain {_GAIN} at some ratio where {_KEPT}.",
        "yes, 1/.15 falls",
        "runs",
        "ann",
        rule.absolute_gains,
    ),
    Claim(
        "b",
        "Activated-value pruning: clean accuracy drops sooner, and all vectors rise.",
        f"The largest ratio where {_KEPT} is smaller than for absolute values, and each of the 8 "
        f"vectors gains {_GAIN} at some ratio.",
        "yes",
        "runs",
        "ann",
        rule.activated_gains,
    ),
    Claim(
        "c",
        "Step-like gains at low ratios, in the first layer only.",
        f"Up to {_LOW}, activated values of dense1 change some vector by {_GAIN}, and no other "
        "single layer by either metric does.",
        "yes, activated only",
        "runs",
        "ann",
        rule.steps_in_first_layer,
    ),
    Claim(
        "d",
        "Combined pruning is better for some vectors.",
        f"Each method at its largest ratio where {_KEPT}: combined is {_GAIN} above activated for "
        f"at least {rule.SOME} of the 8 vectors.",
        "yes, 4 of 8 vectors",
        "runs",
        "ann",
        rule.combined_better,
    ),
    Claim(
        "e",
        "The first layer dominates.",
        f"Largest mean gain of the 8 vectors at a ratio where {_KEPT}: that of dense1 alone is "
        f"larger than the sum of dense2 alone and dense3 alone, for both metrics, by {_MARGIN}.",
        "yes",
        "runs",
        "ann",
        rule.first_layer_dominates,
    ),
    Claim(
        "f",
        "Absolute values help more in the second layer, activated ones in the third.",
        f"Largest mean gain of the 8 vectors at a ratio where {_KEPT}: absolute dense2 above "
        f"dense3, activated dense3 above dense2, each by {_MARGIN}.",
        "yes for 8/.2, and 5/.35 activated",
        "runs",
        "ann",
        rule.later_layers_differ,
    ),
    Claim(
        "g",
        "The second and the third layer alone can lose more than 95 % of their weights.",
        f"At {_HIGH} of dense2 alone and of dense3 alone, by either metric, clean test accuracy "
        f"loses at most {_points(rule.LOST)}.",
        "yes",
        "runs",
        "ann",
        rule.later_layers_prunable,
    ),
    Claim(
        "h",
        "Layers are not independent.",
        "All layer prunings of point 'layers' together lose more clean test accuracy than the sum "
        f"of what each loses alone, by {_MARGIN}; independent layers would lose the sum.",
        "one measurement",
        "runs",
        "ann",
        rule.layers_depend,
    ),
    Claim(
        "i",
        f"The CNN's first dense layer loses {_FC1} of its weights without loss.",
        f"At {_FC1} of dense1, by either metric, clean test accuracy loses at most "
        f"{_points(rule.FC1_LOST)}.",
        "yes",
        "runs",
        "cnn",
        rule.first_dense_prunable,
    ),
    Claim(
        "j",
        "CNN: class 1 falls under activated pruning of dense1 and rises under that of dense2.",
        f"{rule.CLASS1} falls by {_GAIN} at {_L1} of dense1 and rises by {_GAIN} at {_L2} of "
        "dense2, the mean over draws; undecided if draws differ in sign, or if nothing but the "
        "images of class 1 is correct before.",
        "yes, also in the author's repeat",
        "runs",
        "cnn",
        rule.class_one_moves,
    ),
    Claim(
        "k",
        "CNN: absolute-value pruning of dense2 gains nothing.",
        f"The mean gain of the 8 vectors stays below {_GAIN} at every ratio where {_KEPT}.",
        "largely",
        "runs",
        "cnn",
        rule.second_dense_no_gain,
    ),
    Claim(
        "l",
        "Pruning decoupled convolutions gives small gains in robustness.",
        f"{rule.DECOUPLED_COLUMN} gains {_GAIN} in at least half of the activated-value prunings "
        f"of convolutions that lose at most {_CLEAN} of clean accuracy; not supported if in none.",
        "no saved output",
        "decoupled",
        "cnn",
        rule.decoupled_gains,
    ),
    Claim(
        "m",
        "Effective noise cannot be trained through the quadratic loss of a linear head.",
        "In equally many steps, the network's own loss with its best optimiser lowers accuracy by "
        "less than half as much as cross-entropy with its best one, averaged over vectors.",
        "no saved output",
        "noise",
        "ann",
        rule.own_loss_fails,
    ),
)


def score_claims(
    *,
    runs: Sequence[Run] = (),
    noise: Sequence[Measured[Noised]] = (),
    decoupled: Sequence[Measured[Decoupled]] = (),
    head: str = "lq",
) -> list[ScoredClaim]:
    """Score every claim on the networks of one head.

    Each network says whether it meets the criterion; a claim is supported if all seeds say yes,
    not supported if all say no, and undecided if they disagree, if one is too close, or if what was
    measured says nothing. Networks of a profile that is not comparable with the article are not
    judged: their numbers are printed alone. A claim on which nothing was measured is not run. The
    criteria are texts of `CLAIMS`, their constants those of `criteria`.

    Raises:
        InputError: for two results of one cell, or results of several profiles.
    """
    sources: dict[str, Sequence[Finished]] = {"runs": runs, "noise": noise, "decoupled": decoupled}
    scored = []
    for claim in CLAIMS:
        measured = chosen(sources[claim.source], network=claim.network, head=head)
        findings = {result.seed: claim.check(result) for result in measured}
        found = {seed: finding for seed, finding in findings.items() if finding is not None}
        profile = measured[0].profile if found else None
        scored.append(
            ScoredClaim(
                claim=claim.letter,
                text=claim.text,
                verdict=_verdict(list(findings.values()), profile=profile),
                seeds=len(found),
                numbers=_numbers(found, claim, head),
                criterion=claim.criterion,
                published=claim.published,
                profile=profile,
            )
        )
    return scored


def claims_markdown(claims: Sequence[ScoredClaim], *, note: str) -> str:
    """The scored claims as a Markdown table, then their criteria and numbers."""
    rows = [
        {
            "claim": claim.claim,
            "article": claim.text,
            "article's numbers": claim.published,
            "verdict": claim.verdict,
            "seeds": claim.seeds,
        }
        for claim in claims
    ]
    lines = ["# Claims of the article", "", f"**{note.strip()}**", "", markdown_table(rows)]
    lines += [
        "Supported: all networks meet the criterion; not supported: none does; undecided: they "
        "disagree, one is too close, or what was measured says nothing; not run: nothing was. "
        "Gains and changes are points of test accuracy.",
        "",
    ]
    if any(claim.verdict == NOT_JUDGED for claim in claims):
        lines += ["Claims are printed, not judged, at this profile.", ""]
    for claim in claims:
        lines += [f"- ({claim.claim}) {claim.verdict}. Criterion: {claim.criterion}"]
        lines += [f"  - {line}" for line in claim.numbers.split("\n")]
    return "\n".join(lines) + "\n"


def _verdict(findings: Sequence[Finding | None], *, profile: str | None) -> str:
    """One word for what the measured networks say; None of a network is without the data."""
    if not findings:
        return NOT_RUN
    holds = [finding.holds for finding in findings if finding is not None]
    if holds and profile != COMPARABLE_PROFILE:
        return NOT_JUDGED
    if holds and all(holds):
        return SUPPORTED
    if holds and all(found is False for found in holds):
        return NOT_SUPPORTED
    return UNDECIDED


def _numbers(found: Mapping[int, Finding], claim: Claim, head: str) -> str:
    if not found:
        return f"not measured on {claim.network} with head {head}, or not at the ratios it takes"
    return "\n".join(f"seed {seed}: {finding.numbers}" for seed, finding in found.items())
