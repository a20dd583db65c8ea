"""The same numbers on a GPU as on a CPU, and of replayed steps as of launched ones."""

from __future__ import annotations

import json
from typing import get_args

import pytest
import torch
from helpers.small import SMALL, run
from helpers.toys_attacked import images, trained
from helpers.toys_training import SEED, batches, network, steps

from rewire.attacks.pgd import PGD
from rewire.connectivity.check import check_connectivity
from rewire.connectivity.index_sets import largest_of_each
from rewire.connectivity.nearest import Search, nearest_unconnected
from rewire.connectivity.random_subset import choose_from_each
from rewire.connectivity.sampling import connected_entries, sample_connectivity
from rewire.connectivity.strategies.base import Demand
from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, lay_out, total_size
from rewire.options import Metric
from rewire.registry import OBJECTIVES, STRATEGIES
from rewire.rng import generator
from rewire.training.compiled import with_compiled_passes
from rewire.training.replayed import Objective, Replayed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_replayed_step_is_the_step(name, precision):
    objective = OBJECTIVES.build(name)
    launched = steps(objective, network().cuda(), batches(3), precision=precision)
    replayed = steps(Replayed(objective), network().cuda(), batches(3), precision=precision)
    for one, other in zip(launched, replayed, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(other[key], value), key


def vanishing(name: str) -> Objective:
    """The objective with an attack that stays where it starts: at the image, on any device."""
    options = {} if name == "natural" else {"steps": 1, "step_size": 1e-9, "epsilon": 1e-9}
    return OBJECTIVES.build(name, **options)


@pytest.mark.parametrize("name", ["natural", "trades"])
def test_a_compiled_step_is_the_step_but_for_rounding(name):
    objective = vanishing(name)
    launched = steps(objective, network().cuda(), batches(3), precision="float32")
    recorded = Replayed(with_compiled_passes(objective))
    compiled = steps(recorded, network().cuda(), batches(3), precision="float32")
    for one, other in zip(launched, compiled, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_gradients_are_those_of_a_cpu_in_float64(name):
    objective = vanishing(name)
    x, y = batches(1)[0]
    gradients = {}
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        model = network().to(device, dtype)
        random = generator(SEED, "objective", device=device)
        loss, _ = objective(model, x.to(device, dtype), y.to(device), generator=random)
        loss.backward()
        gradients[device] = model.theta.grad.cpu().double()
    away = (gradients["cuda"] - gradients["cpu"]).norm() / gradients["cpu"].norm()
    assert away < 1e-4


@pytest.mark.parametrize("metric", get_args(Metric))
def test_the_nearest_entries_are_those_that_a_cpu_finds(metric):
    model = build_model("vgg11", sparsity=0.97, seed=1, width=0.25)
    theta, connected = model.theta.data, connected_entries(model.theta.data)
    sources = connected[torch.randperm(len(connected), generator=generator(SEED, "sources"))[:4000]]
    search = Search(metric, "first")
    found = [
        nearest_unconnected(
            sources.to(device),
            theta.to(device),
            model.layers,
            search=search,
            generator=generator(SEED, "test", device=device),
        ).cpu()
        for device in ("cpu", "cuda")
    ]
    assert found[0].tolist() == found[1].tolist()


@pytest.mark.parametrize("metric", ["euclidean", "matrix"])
def test_in_full_layers_the_nearest_entries_are_those_that_a_cpu_finds(metric):
    """As many sources as there are entries left, most of them far away, some of them twice."""
    layers = lay_out([("conv", (24, 3, 3, 16)), ("dense", (40, 50)), ("out", (10,))])
    random = generator(SEED, "places")
    theta = torch.rand(total_size(layers), generator=random) - 0.3
    sources = []
    for layer in layers:
        inside = layer.of(theta)
        connected = (inside > 0).nonzero()[:, 0] + layer.offset
        drawn = torch.randint(len(connected), (int((inside <= 0).sum()),), generator=random)
        sources.append(connected[drawn])
    asked, search = torch.cat(sources), Search(metric, "first")
    found = [
        nearest_unconnected(
            asked.to(device),
            theta.to(device),
            layers,
            search=search,
            generator=generator(SEED, "test", device=device),
        ).tolist()
        for device in ("cpu", "cuda")
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("ties", ["random", "same_vector"])
def test_of_equally_near_entries_each_is_drawn_alike(ties):
    """In the middle of an empty kernel a source has eight direct neighbours, two in its vector."""
    layers = lay_out([("conv", (5, 3, 3, 5))])
    theta = torch.zeros(225, device="cuda")
    source = torch.tensor([((2 * 3 + 1) * 3 + 1) * 5 + 2], device="cuda")
    theta[source] = 1.0
    counts, draws = torch.zeros(225), 4000
    for number in range(draws):
        random = generator(SEED, "ties", number, device="cuda")
        search = Search("euclidean", ties)
        found = nearest_unconnected(source, theta, layers, search=search, generator=random)
        counts[found.cpu()] += 1
    strides = (45,) if ties == "same_vector" else (45, 15, 5, 1)
    wanted = [int(source) + sign * stride for stride in strides for sign in (-1, 1)]
    share = 1 / len(wanted)
    away = counts[wanted] / draws - share
    assert counts.sum() == counts[wanted].sum() == draws
    assert float(away.abs().max()) < 5 * (share * (1 - share) / draws) ** 0.5


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_sampling_keeps_its_promises(name):
    model = build_model("vgg11", sparsity=0.97, seed=1, width=0.25).cuda()
    theta, budget = model.theta.data, connection_budget(total_size(model.layers), 0.97)
    strategy = STRATEGIES.build(name)
    for step in range(20):
        random = generator(SEED, "test", step, device="cuda")
        dying = torch.rand(theta.shape, generator=random, device="cuda") < 0.1
        theta[dying] = -theta[dying].abs()
        before = theta > 0
        result = sample_connectivity(
            theta, model.layers, budget=budget, strategy=strategy, generator=random
        )
        assert int(result.growth.sum()) == budget - int(before.sum()) > 0
        check_connectivity(
            theta,
            model.layers,
            before=before,
            result=result,
            budget=budget,
            step=step,
        )


def test_random_places_are_uniform_in_every_layer():
    layers = lay_out([("one", (10, 8)), ("two", (6, 50)), ("three", (40,))])
    theta = torch.zeros(total_size(layers), device="cuda")
    theta[::3] = 1.0
    connected = connected_entries(theta)
    demands = [
        Demand(
            layer, connected[(layer.offset <= connected) & (connected < layer.span.stop)], 5, 0.3
        )
        for layer in layers
    ]
    counts, draws = torch.zeros_like(theta), 3000
    for number in range(draws):
        random = generator(SEED, "test", number, device="cuda")
        found = STRATEGIES.build("random")(theta, layers, demands, generator=random)
        assert len(found.unique()) == len(found) == 15
        counts[found] += 1
    assert not counts[theta > 0].any()
    for demand in demands:
        free = demand.layer.size - len(demand.connected)
        share = 5 / free
        away = demand.layer.of(counts)[demand.layer.of(theta) <= 0] / draws - share
        assert float(away.abs().max()) < 5 * (share * (1 - share) / draws) ** 0.5


def test_sources_of_l2_are_uniform_and_those_of_weighted_the_largest():
    parts = [torch.arange(0, 30, device="cuda"), torch.arange(50, 57, device="cuda")]
    counts = torch.zeros(57, device="cuda")
    for number in range(3000):
        random = generator(SEED, "test", number, device="cuda")
        chosen = choose_from_each(parts, [3, 7], generator=random)
        assert [len(part) for part in chosen] == [3, 7]
        assert sorted(chosen[1].tolist()) == list(range(50, 57))
        counts[chosen[0]] += 1
    assert float((counts[:30] / 3000 - 0.1).abs().max()) < 5 * (0.09 / 3000) ** 0.5
    values = torch.rand(57, generator=generator(SEED, "test"))
    for device in ("cpu", "cuda"):
        here = [part.to(device) for part in parts]
        found = largest_of_each(here, [4, 2], values.to(device))
        for part, n, mine in zip(parts, (4, 2), found, strict=True):
            wanted = sorted(part.tolist(), key=lambda place: -values[place])[:n]
            assert mine.tolist() == wanted


def test_an_attack_fools_the_same_images_as_on_a_cpu():
    x, y = images(64, seed=3)
    model, attack = trained(), PGD(epsilon=4 / 255, steps=10, restarts=2)
    indices = torch.arange(len(x))
    found = [
        attack.attack(model.to(d), x.to(d), y.to(d), indices=indices.to(d)).correct.cpu()
        for d in ("cpu", "cuda")
    ]
    assert 0 < int(found[0].sum()) < len(x)
    assert int((found[0] != found[1]).sum()) <= 1  # rounding


@pytest.mark.parametrize("objective", ["natural", "trades"])
def test_a_training_and_its_stages_run_on_a_gpu(tmp_path, objective):
    chosen = [f"objective={objective}", "rewire=l2", "trainer.device=cuda", "trainer.check=true"]
    for stage in ("train", "prune", "structure", "evaluate"):
        ended = run("-m", "rewire", "thesis", stage, *SMALL, f"output={tmp_path}", *chosen)
        assert ended.returncode == 0, ended.stderr
    (metrics,) = tmp_path.rglob("train/*/metrics.json")
    found = json.loads(metrics.read_text())
    assert found["connected"] == found["budget"]
    assert found["engine"] == "dense"


def test_an_objective_that_waits_is_refused():
    def waits(model, x, y, *, generator):
        loss = model(x).sum()
        return loss * float(loss), {}

    x, y = batches(1)[0]
    random = generator(SEED, "objective", device="cuda")
    with pytest.raises(InputError, match=r"cannot be recorded.*Allowed on a GPU: operations that"):
        Replayed(waits)(network().cuda(), x.cuda(), y.cuda(), generator=random)
