"""Attacks are judged outside the attack: re-clipped, run again, counted per image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rewire.attacks.checks import check_count
from rewire.attacks.mode import attack_mode, full_float32
from rewire.errors import InputError

BATCH = 256  # images per forward pass, where nobody says
SURVIVED = -1
CLEAN_WRONG = -2
# `AttackResult.fooled_by` and the ledgers hold positions in this tuple: only ever append.
OTHER = "other"  # an attack of one's own
FOOLED_BY = ("pgd", "first-pass", "apgd-ce", "apgd-t", "fab-t", "square", OTHER)


@dataclass(frozen=True)
class AttackResult:
    """What an evaluation attack found; all tensors have N entries and lie where the images lay.

    Attributes:
        adversarial: float32 (N, C, H, W): an image that fooled the model, the last one tried for a
            survivor, the clean image where that is misclassified already.
        clean_correct: bool, on the clean images.
        correct: bool, the verdict of a separate forward pass over `adversarial`.
        fooled_by: int8, position in `FOOLED_BY` of the attack that fooled the model first,
            `SURVIVED` (-1) or `CLEAN_WRONG` (-2). `correct` holds exactly where it is -1.
        fooled_at_restart: the restart (from 0) of that attack, or the same two codes; int16, or
            int32 where there are more restarts than that holds.
        steps_run: image-steps: images that passed through the model, summed over iterates.
        fragile: number of images on which the attack and the final pass differed by rounding.
    """

    adversarial: Tensor
    clean_correct: Tensor
    correct: Tensor
    fooled_by: Tensor
    fooled_at_restart: Tensor
    steps_run: int
    fragile: int


def restart_type(restarts: int) -> torch.dtype:
    """The smaller type that holds the number of every restart: int16 as in all usual ledgers."""
    return torch.int16 if restarts - 1 <= torch.iinfo(torch.int16).max else torch.int32


def linf_project(x_adv: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """`x_adv` clipped to the L-infinity ball of radius `epsilon` around `x`, then to [0, 1]."""
    return x_adv.clamp(x - epsilon, x + epsilon).clamp(0, 1)


def is_correct(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) bool: the largest logit is the label's and all logits are finite."""
    return (logits.argmax(dim=1) == y) & logits.isfinite().all(dim=1)


@torch.no_grad()
def predict_logits(model: nn.Module, x: Tensor, *, batch_size: int) -> Tensor:
    """Logits (N, classes) of `x` (N, C, H, W), in evaluation mode and full float32."""
    check_count("batch_size", batch_size)
    with full_float32(x.device), attack_mode(model):
        # An empty set is one empty batch, which gives logits of the right width.
        return torch.cat([model(part) for part in x.split(batch_size)])


def judge(
    model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, *, epsilon: float, batch_size: int
) -> Tensor:
    """Which adversarial images the model still classifies correctly.

    Args:
        x_adv: what an attack returned, (N, C, H, W); clipped here to the ball and to [0, 1], so
            that no attack gains from leaving them.
        x: clean images in [0, 1], same shape.
        y: labels, int64 (N,).
        epsilon: L-infinity radius.
        batch_size: images per forward pass.

    Returns:
        bool (N,).
    """
    logits = predict_logits(model, linf_project(x_adv, x, epsilon), batch_size=batch_size)
    return is_correct(logits, y)


def result_of(
    model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, *, epsilon: float, steps_run: int
) -> AttackResult:
    """What an attack found that tries one image for each, `x_adv` (N, C, H, W) as in `judge`.

    Images that are misclassified without it keep that verdict.
    """
    clean = is_correct(predict_logits(model, x, batch_size=BATCH), y)
    stands = judge(model, x_adv, x, y, epsilon=epsilon, batch_size=BATCH)
    code = torch.where(stands, SURVIVED, FOOLED_BY.index(OTHER)).masked_fill(~clean, CLEAN_WRONG)
    return conclude(
        model,
        x,
        y,
        adversarial=torch.where(clean.view(-1, 1, 1, 1), x_adv, x),
        fooled_by=code.to(torch.int8),
        fooled_at=code.clamp(max=0).to(torch.int16),
        last=(FOOLED_BY.index(OTHER), 0),
        epsilon=epsilon,
        batch_size=BATCH,
        steps_run=steps_run,
    )


def check_aligned(x: Tensor, y: Tensor, indices: Tensor) -> None:
    """Refuse images, labels and indices that are not one entry each per image.

    Raises:
        InputError: if the three do not have the same length.
    """
    if not len(x) == len(y) == len(indices):
        raise InputError(
            f"{len(x)} images, {len(y)} labels and {len(indices)} indices were given to the "
            "attack. Allowed: the same number of each."
        )


def conclude(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    adversarial: Tensor,
    fooled_by: Tensor,
    fooled_at: Tensor,
    last: tuple[int, int],
    epsilon: float,
    batch_size: int,
    steps_run: int,
) -> AttackResult:
    """The result of an attack after one more pass over all its images, which has the last word.

    Args:
        fooled_by: what the attack believes, as in `AttackResult`; on any device.
        fooled_at: its restart, likewise.
        last: (attack, restart) tried last, put down for a survivor that the final pass calls
            fooled.
    """
    adversarial = linf_project(adversarial, x, epsilon)
    fooled_by, fooled_at = fooled_by.to(x.device), fooled_at.to(x.device)
    clean = fooled_by != CLEAN_WRONG
    logits = predict_logits(model, adversarial, batch_size=batch_size)
    correct = is_correct(logits, y) & clean
    unclear = correct != (fooled_by == SURVIVED)
    _assert_fragile(logits[unclear], y[unclear])
    for codes, final in zip((fooled_by, fooled_at), last, strict=True):
        codes[unclear] = torch.where(correct[unclear], SURVIVED, final).to(codes.dtype)
    return AttackResult(
        adversarial, clean, correct, fooled_by, fooled_at, steps_run, int(unclear.sum())
    )


def _assert_fragile(logits: Tensor, y: Tensor) -> None:
    """Verdicts may differ between two passes only where the two best logits are a rounding apart.

    A larger gap means that the model is not a function of its input, so no verdict can be trusted.
    """
    if not len(y):
        return
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], float("-inf")).amax(dim=1, keepdim=True)
    gap = ((own - others).abs() / (1 + logits.abs().amax(dim=1, keepdim=True))).amax()
    assert gap < 1e-3, f"the model contradicts itself on one input: relative logit gap {gap:.2g}"
