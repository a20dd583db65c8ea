from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from helpers.toys_attacked import conv_net, images
from torch import nn

from rewire.attacks.judge import is_correct, linf_project
from rewire.attacks.mode import attack_mode, fixed_weights, full_float32


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


class Recorder(nn.Module):
    """Notes how its weights were requested."""

    def __init__(self):
        super().__init__()
        self.calls = []

    @contextmanager
    def materialised(self, *, detach=False):
        self.calls.append(("enter", detach))
        yield
        self.calls.append(("leave", detach))


def test_attack_mode_restores_the_mode_of_every_module():
    model = conv_net()
    model[1].eval()  # a frozen BatchNorm
    before = modes(model)
    with attack_mode(model):
        assert not any(modes(model))
    assert modes(model) == before
    assert True in before
    assert False in before


def test_attack_mode_restores_modes_after_an_error():
    model = conv_net()
    with pytest.raises(KeyError), attack_mode(model):
        raise KeyError
    assert all(modes(model))


def test_attack_mode_asks_for_detached_weights_and_nests():
    model = Recorder()
    with fixed_weights(model), attack_mode(model):
        pass
    assert model.calls == [("enter", False), ("enter", True), ("leave", True), ("leave", False)]


def test_full_float32_turns_off_autocast_and_comes_back():
    model = nn.Linear(4, 4)
    x = torch.rand(2, 4)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(x).dtype == torch.bfloat16
            with full_float32(x.device):
                assert model(x).dtype == torch.float32
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.backends.cudnn.allow_tf32
            assert model(x).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32 == before[1]
    finally:
        torch.set_float32_matmul_precision(before[0])


def test_projection_equals_the_elementwise_definition():
    x, _ = images(4, seed=0)
    moved = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    expected = [
        min(max(min(max(a, c - 0.1), c + 0.1), 0.0), 1.0)
        for a, c in zip(
            moved.double().flatten().tolist(), x.double().flatten().tolist(), strict=True
        )
    ]
    projected = linf_project(moved, x, 0.1)
    torch.testing.assert_close(
        projected.double().flatten(), torch.tensor(expected).double(), atol=1e-7, rtol=0
    )
    torch.testing.assert_close(linf_project(projected, x, 0.1), projected, atol=0, rtol=0)


def test_non_finite_logits_are_never_correct():
    logits = torch.tensor([[2.0, 1.0], [float("nan"), 0.0], [float("inf"), 0.0]])
    assert is_correct(logits, torch.zeros(3, dtype=torch.int64)).tolist() == [True, False, False]
