"""All mistakes of a command line are told at once, with what is allowed and where it stands."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys

import pytest
from helpers.small import ROOT, composed, run
from omegaconf import DictConfig, OmegaConf

from rewire.article.document import ARTICLE
from rewire.attacks.universal import EVALUATIONS, LOSSES
from rewire.config.check import known
from rewire.config.command_line import check_arguments
from rewire.config.cross_checks import CONVOLUTIONAL, SIZES
from rewire.data import cifar10, mnist
from rewire.data.embedded import SUBSETS
from rewire.models.dense import DENSE_MODELS
from rewire.options import children
from rewire.options import words as allowed
from rewire.pipeline.paths import CONF, SHARED
from rewire.pipeline.schema import schema_of
from rewire.pruning.decoupled import SCORES
from rewire.pruning.decoupled_cost import BACKENDS
from rewire.pruning.values import METRICS
from rewire.registry import ATTACKS, FIXED, HEADS, MODELS, OBJECTIVES, STRATEGIES
from rewire.thesis.document import THESIS

NO_GROUPS = ("table", "published", "article")


def errors(stage: str, *arguments: str) -> list[str]:
    return check_arguments(stage, arguments, CONF).found.errors


def choices(document):
    """(group, choice) of every file of the document's own groups, and of the shared ones."""
    for folder in sorted([*(CONF / document.name).iterdir(), *(CONF / SHARED).iterdir()]):
        if folder.is_dir() and folder.name not in NO_GROUPS:
            yield from ((folder.name, file.stem) for file in sorted(folder.glob("*.yaml")))


@functools.cache
def config_of(document, group, choice, profile) -> DictConfig:
    """The first stage's configuration with a choice, checked like a user's."""
    chosen = {"profile": profile, group: choice}
    stage = next(iter(document.stages))
    checked = check_arguments(stage, [f"{g}={c}" for g, c in chosen.items()], CONF)
    assert checked.found.errors == checked.found.warnings == []
    return checked.config


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("document", [THESIS, ARTICLE], ids=lambda document: document.name)
def test_everything_in_conf_passes(document, profile):
    for group, choice in choices(document):
        config = config_of(document, group, choice, profile)
        if group in ("model", "objective", "rewire", "network", "head"):
            assert config[group].name == choice
        if document is ARTICLE:
            assert config.trainer.phases == config.trainer.schedule[config.network.name]


@pytest.mark.parametrize("document", [THESIS, ARTICLE], ids=lambda document: document.name)
def test_the_schema_has_every_option_in_conf_and_no_other(document):
    schema, seen = schema_of(document.name), set()
    for group, choice in choices(document):
        seen |= set(keys(OmegaConf.to_container(config_of(document, group, choice, "quick"))))
    # Options that stand in no file: the code's defaults serve.
    unwritten = {"data.dataset", "data.split", "profile.epochs", "profile.thin"}
    ruled = {path for path in paths(schema) if "*" not in path}
    assert ruled - seen <= unwritten
    assert all(known(schema, path.split(".")) for path in seen)
    assert all(at(schema, path).description for path in ruled if not children(at(schema, path)))


def keys(tree, prefix=""):
    for key, value in tree.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def paths(kind, prefix=""):
    for key, below in (children(kind) or {}).items():
        yield prefix + key
        yield from paths(below, f"{prefix}{key}.")


def at(schema, path):
    for name in path.split("."):
        schema = children(schema)[name]
    return schema


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("thesis.model.name", MODELS),
        ("thesis.objective.name", OBJECTIVES),
        ("thesis.rewire.name", [*FIXED, *STRATEGIES]),
        ("thesis.attack.name", ATTACKS),
        ("thesis.data.source", cifar10.SOURCES),
        ("thesis.data.dataset", ["cifar10"]),
        ("article.data.source", mnist.SOURCES),
        ("article.data.dataset", ["mnist"]),
        ("article.network.name", DENSE_MODELS),
        ("article.head.name", HEADS),
        ("article.noise.loss", LOSSES),
        ("article.curves.common.metric", [*METRICS, "combined"]),
        ("article.decoupled.cost.metric", SCORES),
    ],
)
def test_choices_are_those_that_the_code_knows(path, names):
    document, _, option = path.partition(".")
    assert sorted(allowed(at(schema_of(document), option)).split(", ")) == sorted(names)


def test_what_the_tables_know_of_data_and_networks():
    for name, subset in SUBSETS.items():
        assert SIZES[name, "embedded"] == (subset.sizes["train"], subset.sizes["test"])
    for (_, kind), (train, test) in SIZES.items():
        assert kind == "embedded" or (train in (50_000, 60_000) and test == 10_000)
    assert [name for name in DENSE_MODELS if DENSE_MODELS[name].convolutions] == list(CONVOLUTIONAL)
    assert sorted(EVALUATIONS) == ["E1", "E2"]
    assert sorted(BACKENDS) == ["scipy", "torch"]


def test_all_mistakes_of_all_kinds_at_once_and_nothing_is_written(tmp_path):
    result = run(
        "train.py", "trainer.lrr=1", "trainer.lr=abc", "seed=x", "rewire=wieghted", "sparsity=1.5",
        "data.root=${nope}", "foo", "model._target_=os.system", "arm=../../x",
        f"output={tmp_path / 'new'}",
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    for words in (
        "unknown option 'trainer.lrr'. Did you mean 'trainer.lr'? "
        "Allowed in trainer (conf/thesis/trainer/thesis.yaml): batch_size,",
        "trainer.lr is 'abc'. Allowed: a number above 0. Set on the command line, "
        "explained in conf/thesis/trainer/thesis.yaml.",
        "seed is 'x'. Allowed: a whole number from 0",
        "unknown rewiring strategy 'wieghted'. Did you mean 'weighted'?",
        "sparsity is 1.5. Allowed: a number above 0 and below 1",
        "data.root cannot be resolved: Interpolation key 'nope' not found",
        "cannot read 'foo': missing EQUAL",
        "'model._target_=os.system': no option may name code to run",
        "arm is '../../x'. Allowed: 1 to 60 letters",
    ):
        assert sum(words in line for line in lines) == 1, words
    assert len(lines) == 9
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("stage", "arguments", "words"),
    [
        ("train", ["trainer.epochs=2.5"], ["trainer.epochs is 2.5", "whole number from 1"]),
        ("train", ["trainer.epochs=true"], ["trainer.epochs is true"]),
        ("train", ["sparsity=0.99x"], ["sparsity is '0.99x'", "conf/thesis/config.yaml"]),
        ("train", ["model.width=-1"], ["model.width is -1", "conf/thesis/model/vgg11.yaml"]),
        ("train", ["attack.steps=0"], ["attack.steps is 0", "conf/thesis/attack/pgd50x10.yaml"]),
        ("train", ["objective=trades", "objective.epsilon=2"], ["objective.epsilon is 2"]),
        ("train", ["objective.epsilon=0.1"], ["natural' has no objective.epsilon"]),
        ("train", ["trainer={lr: 1}"], ["unknown trainer", "thesis"]),
        ("train", ["trainer=null"], ["unknown trainer 'null'"]),
        ("train", ["rewire=l2,random"], ["has several values", "-m"]),
        ("train", ["foo=1"], ["unknown option 'foo'", "sparsity"]),
        ("train", ["+trainer.rate=1"], ["unknown option 'trainer.rate'"]),
        ("train", ["~trainer.lr"], ["trainer.lr is missing", "conf/thesis/trainer/thesis.yaml"]),
        ("train", ["~tracking"], ["tracking is missing"]),
        ("train", ["data.root=${data.root}"], ["data.root cannot be resolved"]),
        ("train", ["trainer.epochs=???"], ["trainer.epochs cannot be resolved"]),
        ("train", ["hydra.run.dir=../x"], ["'hydra.run.dir' is not taken"]),
        ("train", ["hydra/launcher=x"], ["hydra/launcher=x", "isolated"]),
        ("train", ["--config-dir=x"], ["'--config-dir=x' is not taken"]),
        ("train", ["--multirn"], ["unknown flag '--multirn'", "Did you mean '--multirun'"]),
        ("train", ["model@x=vgg11"], ["packages are not taken"]),
        ("train", ["-m", "trainer.lr=0.1,-1"], ["trainer.lr is -1"]),
        ("train", ["-m", "seed=interval(0,5)"], ["has endless values"]),
        ("train", ["data.train_size=1000000000"], ["Allowed: 1 to 4500", "500 of 5,000 are held"]),
        ("train", ["data.validation_size=5000"], ["Allowed: 0 to 4999"]),
        ("train", ["data.train_size=16"], ["trainer.batch_size is 32. Allowed: 1 to 16"]),
        ("evaluate", ["attack.images=1001"], ["attack.images is 1001. Allowed: 1 to 1000"]),
        ("article_train", ["rewire=l2"], ["needs a sparse network", "dense"]),
        ("article_train", ["objective=trades"], ["unknown option 'objective'", "head"]),
        (
            "article_noise",
            ["noise.pairs=[[10,0.2]]"],
            ["target class of the noise is 10", "0 to 9", "noise.pairs"],
        ),
        ("article_noise", ["noise.lr=0"], ["noise.lr is 0", "conf/article/noise/article.yaml"]),
        ("article_decoupled", [], ["network 'ann' has no convolutions", "cnn"]),
        ("article_curves", ["curves.common.grid=x"], ["has the grid 'x'", "whole"]),
        ("article_curves", ["curves.adaptive=[x]"], ["curves.adaptive names 'x'"]),
        ("article_curves", ["curves.grids.whole=[[0,1.2,0.1]]"], ["0 <= first <= last <= 1"]),
        ("article_curves", ["curves.grids.whole=[[0.5,0.1,0.1]]"], ["0 <= first <= last <= 1"]),
        ("article_curves", ["curves.grids.whole=[[0,0.5]]"], ["0 <= first <= last <= 1"]),
        ("article_curves", ["curves.grids.whole=[[0,0.5,0]]"], ["a positive step"]),
        (
            "article_curves",
            ["curves.points.list.absolute.absolute=1.01"],
            ["curves.points.list.absolute.absolute is 1.01", "from 0 to 1"],
        ),
        (
            "article_adaptive",
            ["curves.points.list.layers.absolute.dense1=-1"],
            ["curves.points.list.layers.absolute is", "a mapping of layers to ratios"],
        ),
        ("article_curves", ["curves.list.random.metric=randm"], ["metric is 'randm'", "random"]),
        ("article_curves", ["+curves.list.random.drews=2"], ["Did you mean", "random.draws'"]),
        ("article_curves", ["curves.common.evaluations=[E3]"], ["evaluations is ['E3']", "E2"]),
        ("article_curves", ["curves.step_factor=0"], ["curves.step_factor is 0", "from 1"]),
        ("article_curves", ["curves.most_draws=0"], ["curves.most_draws is 0", "null for all"]),
        ("article_curves", ["curves.common.count=0"], ["curves.common.count is 0"]),
        ("article_train", ["trainer.phases=[]"], ["trainer.phases is []", "at least one"]),
        ("article_train", ["trainer.phases=[[1e-3,2.5]]"], ["trainer.phases is [[0.001, 2.5]]"]),
        ("article_train", ["trainer.phases=7"], ["trainer.phases is 7"]),
        ("article_train", ["trainer.log_every=0"], ["trainer.log_every is 0"]),
        ("article_train", ["head.l2=-1e-4"], ["head.l2 is -0.0001", "a number from 0"]),
        ("article_train", ["head.l2=nan"], ["head.l2 is nan"]),
        ("train", ["model.image_size=64"], ["model.image_size is 64", "Allowed: 32"]),
        ("train", ["model.classes=9"], ["model.classes is 9", "from 10"]),
        ("train", ["trainer.momentum=1"], ["trainer.momentum is 1", "from 0 and below 1"]),
        ("train", ["trainer.weight_decay=-1"], ["trainer.weight_decay is -1"]),
        ("train", ["rewire=l2", "rewire.metric=l1"], ["rewire.metric is 'l1'", "euclidean, eq3"]),
        (
            "article_decoupled",
            ["network=cnn", "decoupled.ratios.absolute=[1.5]"],
            ["decoupled.ratios.absolute is [1.5]"],
        ),
        (
            "article_decoupled",
            ["network=cnn", "decoupled.points.conv2.layers=[]"],
            ["decoupled.points.conv2.layers is []", "at least one"],
        ),
        (
            "article_decoupled",
            ["network=cnn", "+decoupled.ratios.activatde=[0.5]"],
            ["Did you mean 'decoupled.ratios.activated'"],
        ),
        (
            "article_decoupled",
            ["network=cnn", "decoupled.cost.backends=[scypi]"],
            ["decoupled.cost.backends is ['scypi']", "scipy"],
        ),
        ("article_decoupled", ["network=cnn", "decoupled.cost.repeats=0"], ["repeats is 0"]),
        ("article_curves", ["curves.common.drws=3"], ["Did you mean 'curves.common.draws'"]),
    ],
)
def test_one_mistake_each(stage, arguments, words):
    lines = errors(stage, *arguments)
    assert [line for line in lines if all(word in line for word in words)], lines
    assert all("\n" not in line for line in lines)


def test_a_value_of_a_profile_names_its_file(tmp_path):
    shutil.copytree(CONF, tmp_path / "conf")
    profile = tmp_path / "conf" / "thesis" / "profile" / "quick.yaml"
    profile.write_text(profile.read_text().replace("batch_size: 32", "batch_size: 0"))
    (line,) = check_arguments("train", [], tmp_path / "conf").found.errors
    assert line == (
        "trainer.batch_size is 0. Allowed: a whole number from 1. "
        "Set in conf/thesis/profile/quick.yaml."
    )


def test_another_budget_of_the_attack_is_a_warning():
    arguments = ["objective=trades", "attack.epsilon=0.05"]
    found = check_arguments("evaluate", arguments, CONF).found
    assert found.errors == []
    assert "attack.epsilon 0.05 differs from objective.epsilon 0.0313725" in found.warnings[0]
    assert check_arguments("evaluate", ["objective=trades"], CONF).found.warnings == []
    assert check_arguments("train", arguments, CONF).found.warnings == []


def test_a_right_sweep_is_left_to_hydra_and_a_right_run_is_composed_once():
    sweep = check_arguments(
        "train", ["-m", "sparsity=0.9,0.99", "rewire=glob(*,exclude=dense)"], CONF
    )
    assert (sweep.found.errors, sweep.config) == ([], None)
    single = check_arguments("train", ["sparsity=0.9", "rewire=l2"], CONF)
    assert single.overrides == ["sparsity=0.9", "rewire=l2"]
    assert single.config == composed("sparsity=0.9", "rewire=l2")


def test_checking_imports_nothing_heavy():
    code = (
        "import sys, rewire.cli; from rewire.config.command_line import check_arguments; "
        "from rewire.pipeline.paths import CONF; "
        "check_arguments('article_curves', ['seed=x'], CONF); "
        "print(sorted({'torch', 'numpy', 'pytorch_lightning', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(("switch", "tracebacks"), [(None, 0), ("REWIRE_DEBUG", 1)])
def test_a_traceback_is_for_the_debug_switch_alone(switch, tracebacks, tmp_path):
    (tmp_path / "file").write_text("in the way")
    env = {switch: "1"} if switch else {}
    result = run("train.py", f"output={tmp_path / 'file' / 'below'}", env=env)
    assert result.returncode == 2
    assert result.stderr.count("Traceback") >= tracebacks
    assert ("Traceback" in result.stderr) == bool(tracebacks)
    assert result.stderr.splitlines()[-1].startswith("error: cannot write to the output folder")
