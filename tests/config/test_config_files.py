"""Every configuration file composes, and names are what they say."""

from __future__ import annotations

import pytest
import yaml
from helpers.small import composed

from rewire.data import cifar10
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.pipeline.names import cell_of
from rewire.pipeline.paths import CONF
from rewire.registry import FIXED, MODELS, OBJECTIVES, STRATEGIES

THESIS = CONF / "thesis"


@pytest.mark.parametrize(
    ("group", "registry"),
    [
        ("model", MODELS),
        ("objective", OBJECTIVES),
        ("rewire", [*FIXED, *STRATEGIES]),
        ("data", cifar10.SOURCES),
    ],
)
def test_every_registered_name_has_a_file_and_back(group, registry):
    assert sorted(path.stem for path in (THESIS / group).glob("*.yaml")) == sorted(registry)


@pytest.mark.parametrize("experiment", [p.stem for p in (THESIS / "experiment").glob("*.yaml")])
def test_experiments_are_named_like_their_cells(experiment):
    text = (THESIS / "experiment" / f"{experiment}.yaml").read_text()
    assert f"# python train.py experiment={experiment}" in text
    config = composed(f"experiment={experiment}", "seed=3")
    cell = cell_of(config, stage="train", overrides=[])
    if config.sparsity == 0:  # dense baselines: the arm says as many weights as which network's
        objective, arm = experiment.split("-", 1)
        assert cell == f"{objective}-s0-dense-seed3" + (f"-{arm}" if arm != "dense" else "")
    else:
        training, _, arm = experiment.partition(f"s{config.sparsity}")
        assert cell == f"{training}s{config.sparsity}-{config.rewire.name}-seed3{arm}"


@pytest.mark.parametrize("profile", [p.stem for p in (THESIS / "profile").glob("*.yaml")])
def test_thin_baselines_have_as_many_weights_as_the_sparse_networks(profile):
    total = weights_of(composed(f"profile={profile}").model)
    for objective, sparsity in (("natural", 0.95), ("natural", 0.99), ("trades", 0.95)):
        thin = composed(f"profile={profile}", f"experiment={objective}-thin{sparsity}").model
        assert weights_of(thin) == pytest.approx(connection_budget(total, sparsity), rel=0.03)


def weights_of(model):
    built = build_model(model.name, width=model.width, sparsity=0, seed=0, connectivity="dense")
    return total_size(built.layers)


def test_paper_profile_is_the_thesis():
    config = composed("profile=paper", "experiment=trades-s0.95")
    assert config.trainer == yaml.safe_load((THESIS / "trainer" / "thesis.yaml").read_text())
    assert config.trainer.epochs == 100
    assert config.trainer.batch_size == 128
    assert config.model.width == 1.0
    assert config.data.train_size is None
    assert (config.attack.steps, config.attack.restarts, config.attack.images) == (50, 10, None)
    assert config.objective == {
        "name": "trades", "epsilon": 8 / 255, "step_size": 2 / 255, "steps": 10, "beta": 6.0
    }  # fmt: skip


def test_overrides_that_change_a_result_are_in_the_cell_name():
    config = composed("sparsity=0.99", "rewire=l2")
    plain = "natural-s0.99-l2-seed0"

    def name(*overrides, stage="train"):
        return cell_of(config, stage=stage, overrides=overrides)

    assert name() == plain
    assert name("profile=paper", "seed=0", "output=x", "tracking=off", "force=true") == plain
    assert name("attack.steps=5") == plain
    assert name("attack.steps=5", stage="evaluate") != plain
    assert name("trainer.epochs=3") == plain + "-trainer.epochs=3"
    assert name("trainer.threads=1", "trainer.device=cpu", "data.root=/x") == plain
    assert name("trainer.checkpoint_every=2", "trainer.check=true") == plain
    assert name("attack.batch_size=9", "attack.check_every=2", stage="evaluate") == plain
    for engine, sparsity, suffix in (
        ("auto", 0.99, ""),
        ("sparse", 0.99, ""),  # what auto takes
        ("dense", 0.99, "-trainer.engine=dense"),
        ("dense", 0.5, ""),
        ("sparse", 0.5, "-trainer.engine=sparse"),
    ):
        override = f"trainer.engine={engine}"
        chosen = composed(f"sparsity={sparsity}", override)
        cell = f"natural-s{sparsity}-random-seed0{suffix}"
        assert cell_of(chosen, stage="train", overrides=[override]) == cell
    assert cell_of(composed("rewire=l2", "arm=beta0.6"), stage="train") == plain + "-beta0.6"
    assert len(name(f"trainer.lr=0.{'1' * 80}")) < 60
    assert "/" not in name("data.augmentation=../../x")
