"""Compiled passes are the passes: traced as for a GPU, computed without its code generator."""

from __future__ import annotations

import pytest
import torch
from helpers.toys_training import SEED, batches, network, steps

from rewire.models.factory import build_model
from rewire.models.sparse import SparseNetwork, through
from rewire.registry import MODELS, OBJECTIVES
from rewire.rng import generator
from rewire.training.compiled import with_compiled_passes
from rewire.training.replayed import Objective


def assert_the_same(objective: Objective, make, data) -> None:
    plain = steps(objective, make(), data)
    compiled = steps(with_compiled_passes(objective, backend="aot_eager"), make(), data)
    for one, other in zip(plain, compiled, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(other[key], value), key


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_can_be_compiled(name):
    options = {} if name == "natural" else {"steps": 2}
    assert_the_same(OBJECTIVES.build(name, **options), lambda: network().train(), batches(2))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_can_be_compiled(name):
    def make() -> SparseNetwork:
        return build_model(name, width=0.05, sparsity=0.5, seed=SEED, image_size=16).train()

    random = generator(SEED, "images")
    x = torch.rand(6, 3, 16, 16, generator=random)
    y = torch.randint(10, (6,), generator=random)
    assert_the_same(OBJECTIVES["natural"], make, [(x, y)] * 2)


def test_passes_outside_of_the_objective_are_those_of_the_modules():
    seen = []

    def objective(model, x, y, *, generator):
        seen.append(model.through)
        if y is None:
            raise ValueError("stopped")
        return model(x).sum(), {}

    model, (x, y) = network(), batches(1)[0]
    compiled = with_compiled_passes(objective, backend="aot_eager")
    compiled(model, x, y, generator=None)
    assert model.through is through
    with pytest.raises(ValueError, match="stopped"):
        compiled(model, x, None, generator=None)
    assert model.through is through
    assert through not in seen
