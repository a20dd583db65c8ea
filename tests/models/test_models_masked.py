"""Networks of fixed connectivity: exact budgets, gradients only inside the mask, saved and read."""

from __future__ import annotations

import pytest
import torch
from helpers.plain_networks import images, plain_small, small_body, with_weights_of
from torch import nn

from rewire.errors import InputError
from rewire.models.artifact import load_network, network_tensors, save_network
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.masked import MaskedNetwork
from rewire.rng import generator


def masked(p=0.5, seed=0):
    return MaskedNetwork(small_body(), p_init=[p] * 3, generator=generator(seed, "model")).double()


def test_it_computes_what_a_plain_network_of_the_same_weights_does():
    model = masked()
    plain = with_weights_of(model, plain_small().double())
    x, y = images(8), torch.arange(8) % 5
    logits, expected = model(x), plain(x)
    torch.testing.assert_close(logits, expected)
    nn.functional.cross_entropy(logits, y).backward()
    nn.functional.cross_entropy(expected, y).backward()
    dense = [m.weight.grad for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    dw = torch.cat([(g.permute(0, 2, 3, 1) if g.ndim == 4 else g).reshape(-1) for g in dense])
    torch.testing.assert_close(model.theta.grad, dw * model.mask)
    assert (dw[~model.mask] != 0).any()  # so the mask does something


def test_weights_may_change_their_sign_and_none_is_born():
    model = masked()
    before, mask = model.flat_weights(), model.mask.clone()
    assert (before > 0).any()
    assert (before < 0).any()
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    for step in range(5):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images(8, seed=step)), torch.arange(8) % 5).backward()
        optimiser.step()
    after = model.flat_weights()
    assert (after * before < 0).any()
    assert torch.equal(after != 0, mask)


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.99])
def test_a_static_network_has_exactly_its_budget(sparsity):
    model = build_model("vgg11", sparsity=sparsity, seed=0, width=0.5, connectivity="static")
    assert int(model.mask.sum()) == connection_budget(total_size(model.layers), sparsity)
    density = {layer.name: float(layer.of(model.mask).float().mean()) for layer in model.layers}
    between = [value for name, value in density.items() if name not in ("conv1", "conv2", "dense3")]
    assert density["conv1"] == pytest.approx(0.6, abs=0.01)
    assert density["conv2"] == pytest.approx(0.2, abs=0.01)
    assert max(between) - min(between) < 1e-4  # one weight of a small layer


def test_a_dense_network_has_all_weights_and_no_other_sparsity():
    model = build_model("vgg11", sparsity=0, seed=0, width=0.1, connectivity="dense")
    assert model.mask.all()
    with pytest.raises(InputError, match=r"sparsity is 0.5\. Allowed for a dense network: 0"):
        build_model("vgg11", sparsity=0.5, seed=0, width=0.1, connectivity="dense")
    with pytest.raises(InputError, match="sparsity is 0"):
        build_model("vgg11", sparsity=0, seed=0, width=0.1, connectivity="static")
    with pytest.raises(InputError, match=r"connectivity 'statik'.*static"):
        build_model("vgg11", sparsity=0.9, seed=0, width=0.1, connectivity="statik")


def test_a_budget_below_the_fixed_fractions_is_refused():
    with pytest.raises(InputError, match="more than the budget"):
        build_model("vgg11", sparsity=0.999, seed=0, width=0.1, connectivity="static")


def test_saved_and_read_it_is_the_same_function(tmp_path):
    spec = {"name": "vgg11", "width": 0.1, "classes": 10, "image_size": 32}
    model = build_model(**spec, sparsity=0.9, seed=0, connectivity="static").eval()
    save_network(tmp_path / "a.safetensors", model, spec=spec)
    save_network(tmp_path / "b.safetensors", network_tensors(model), spec=spec)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again, _ = load_network(tmp_path / "a.safetensors", expected=spec)
    x = torch.rand(3, 3, 32, 32, generator=generator(0, "test"))
    with torch.no_grad():
        assert torch.equal(model(x), again(x))
