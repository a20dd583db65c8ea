"""Other attacks on an examined network: none may find more than the reported white-box attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.image_noise import image_noise
from rewire.attacks.judge import linf_project
from rewire.attacks.mode import attack_mode, full_float32
from rewire.attacks.straight_through import straight_through
from rewire.attacks.training import pgd_linf, summed_cross_entropy
from rewire.errors import InputError
from rewire.evaluation.audit import Case
from rewire.evaluation.findings import (
    AutoAttackGap,
    Finding,
    InputGradients,
    RandomNoise,
    StraightThrough,
    Transfer,
    finding,
)
from rewire.evaluation.robust import evaluate

EXPECTED_GAP = (2.0, 4.0)  # points by which AutoAttack is usually below PGD-50 with 10 restarts
ALARMING_GAP = 6.0


def random_noise(case: Case, *, draws: int, seed: int = 0) -> Finding[RandomNoise]:
    """Uniform noise in the ball must leave more images correct than the attack.

    Noise that does as well as the gradient means that the gradient leads nowhere. Nothing can be
    said where the attack fools every image.
    """
    correct = case.clean.clone()
    for draw in range(draws):
        correct &= case.judged(_noisy(case, "audit noise", draw, seed))
    left, reported = int(correct.sum()), int(case.robust.sum())
    return finding(
        RandomNoise(draws=draws, correct=left, reported=reported, images=len(case.data)),
        random_noise=reported > 0
        and left <= reported
        and f"{draws} draws of random noise leave {case.share(left)} correct, "
        f"the reported attack {case.share(reported)}",
    )


def transfer(
    case: Case, source: nn.Module, *, name: str, steps: int, seed: int = 0
) -> Finding[Transfer]:
    """Adversarial images made on another network must not fool more images than the attack.

    Made for every image by PGD of a fixed length, also where the source is wrong from the start:
    images as far as possible from the source's decision transfer best.

    Args:
        source: the other network, on the device of the case.
        name: what it is called in the result.
    """
    parts = []
    with full_float32(case.device), attack_mode(source):
        starts = _noisy(case, "audit transfer", 0, seed)
        for x, start, y in zip(
            *(t.split(case.batch_size) for t in (case.x, starts, case.data.labels)), strict=True
        ):
            epsilon = case.attack.epsilon
            loss = summed_cross_entropy(source, y)
            size = 2.5 * epsilon / steps
            parts.append(pgd_linf(loss, x, start, epsilon=epsilon, step_size=size, steps=steps))
    correct = case.judged(torch.cat(parts)) & case.clean
    left, reported = int(correct.sum()), int(case.robust.sum())
    beyond = int((case.robust & ~correct).sum())
    reason = None
    if left < reported or beyond > case.slack:
        reason = (
            f"images made on {name} leave {case.share(left)} correct, the reported attack "
            f"{case.share(reported)}; {beyond} survive it and fall to them"
        )
    numbers = Transfer(
        source=name,
        steps=steps,
        correct=left,
        reported=reported,
        beyond=beyond,
        images=len(case.data),
    )
    return finding(numbers, transfer=reason)


def input_gradients(case: Case, *, limit: float) -> Finding[InputGradients]:
    """Where the gradient of the loss is exactly zero, an attack that follows it cannot begin.

    Args:
        limit: % of the correctly classified images that may have a gradient of zeros only.
    """
    right = case.take(case.clean.nonzero().flatten()) if case.clean.any() else None
    blind = zeros = entries = 0
    if right is not None:
        with full_float32(case.device), attack_mode(case.model):
            for x, y in zip(
                right.x.split(case.batch_size),
                right.data.labels.split(case.batch_size),
                strict=True,
            ):
                with torch.enable_grad():
                    x = x.clone().requires_grad_()
                    loss = summed_cross_entropy(case.model, y)(x)
                    (gradient,) = torch.autograd.grad(loss, x)
                zero = (gradient == 0).flatten(1)
                blind += int(zero.all(dim=1).sum())
                zeros, entries = zeros + int(zero.sum()), entries + zero.numel()
    images = int(case.clean.sum())
    numbers = InputGradients(
        images=images,
        all_zero=blind,
        all_zero_percent=100 * blind / images if images else 0.0,
        zero_pixels_percent=100 * zeros / entries if entries else 0.0,
    )
    return finding(
        numbers,
        zero_gradient=numbers.all_zero_percent > limit
        and f"the input gradient is exactly zero for {blind} of {images:,} correctly classified "
        f"images ({numbers.all_zero_percent:.1f} %)",
    )


def straight_through_attack(
    case: Case, *, leaks: Sequence[float], dormant: float, steps: int, seed: int = 0
) -> Finding[StraightThrough]:
    """PGD through dead ReLUs and unconnected weights, on the images that the attack left correct.

    Args:
        leaks, dormant: as in `straight_through`; one run for each leak.
    """
    rows = case.robust.nonzero().flatten()
    attack = replace(case.attack, steps=steps, step_size=None, restarts=1)
    fooled = torch.zeros(len(rows), dtype=torch.bool)
    each = []
    for leak in leaks if len(rows) else ():
        alive = case.take(rows)
        with straight_through(alive.model, leak=leak, dormant=dormant, seed=seed):
            found = attack.attack(
                alive.model, alive.x, alive.data.labels, indices=alive.data.indices
            )
        # The last word has the network itself, with its own forward pass.
        wrong = ~alive.judged(found.adversarial)
        each.append(int(wrong.sum()))
        fooled |= wrong
    beyond = int(fooled.sum())
    numbers = StraightThrough(
        leaks=leaks,
        dormant=dormant,
        steps=steps,
        fooled_by_leak=each,
        beyond=beyond,
        images=len(case.data),
    )
    return finding(
        numbers,
        straight_through=beyond > case.slack
        and f"gradients through dead units and unconnected weights fool {case.share(beyond)} that "
        "the reported attack left correct",
    )


def autoattack_gap(case: Case, attack: AutoAttack) -> Finding[AutoAttackGap]:
    """AutoAttack on the same images: usually 2 to 4 points below PGD, more than 6 is an alarm."""
    if attack.epsilon != case.attack.epsilon:
        raise InputError(
            f"AutoAttack has an epsilon of {attack.epsilon:g}. "
            f"Allowed: that of the reported attack, {case.attack.epsilon:g}."
        )
    result = evaluate(case.model, case.data, attack=attack, device=case.device)
    left, reported = result.robust.correct, int(case.robust.sum())
    gap = 100 * (reported - left) / len(case.data)
    numbers = AutoAttackGap(
        correct=left,
        reported=reported,
        images=len(case.data),
        gap=gap,
        expected=EXPECTED_GAP,
        alarm=ALARMING_GAP,
    )
    return finding(
        numbers,
        AutoAttack=gap > ALARMING_GAP
        and reported - left > 1
        and f"AutoAttack leaves {case.share(left)} correct, {gap:.1f} points less than the "
        "reported attack",
    )


def _noisy(case: Case, purpose: str, draw: int, seed: int) -> Tensor:
    """The images with uniform noise in the ball; each one's is a function of its index and draw."""
    x, epsilon = case.x, case.attack.epsilon
    keys = [(index, draw) for index in case.data.indices.tolist()]
    noise = image_noise(x.shape[1:], seed=seed, purpose=purpose, keys=keys).to(x)
    return linf_project(x + epsilon * (noise * 2 - 1), x, epsilon)
