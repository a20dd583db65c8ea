"""The stages that make universal noise and carry it over, on small networks of every head."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.small import composed, list_anew, run, typed_of
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from rewire.article import noise as article_noise
from rewire.article import noise_vectors as noised
from rewire.article import train as article_train
from rewire.article import transfer as article_transfer
from rewire.article.document import ARTICLE
from rewire.article.report.noise_figure import noise_plot
from rewire.attacks.universal import Recipe, make_noise, pair_label
from rewire.attacks.universal_files import load_noise, save_noise
from rewire.data.images import as_float
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.files import MANIFEST, sha256
from rewire.models.artifact import load_dense, save_dense
from rewire.models.dense import DenseNetwork

CELL = "ann-lq-seed0"
PAIRS = [[3, 0.25], [2, 0.15], [8, 0.3]]
DATA = {"train_size": 200, "test_size": 70, "validation_size": 10}
SMALL = (
    "network.width=0.05",
    "trainer.schedule.ann=[[3.0e-3,100]]",
    "trainer.batch_size=50",
    *(f"data.{key}={value}" for key, value in DATA.items()),
    "tracking=off",
    f"noise.pairs={json.dumps(PAIRS)}",
    "noise.steps=12",
    "noise.batch_size=20",
    "noise.lr=3.0",
    "noise.trainability.pairs=[[3,0.25],[8,0.3]]",
    "noise.trainability.steps=12",
)
FILES = ["noise_G1.safetensors", "noise_G2.safetensors", "metrics.json", "noise.png"]


def small(output, *overrides):
    return composed(*SMALL, f"output={output}", *overrides, document=ARTICLE), []


def cell(output, stage="article_noise", name=CELL):
    return output / "quick" / stage / name


def metrics_of(output, stage="article_noise"):
    return json.loads((cell(output, stage) / "metrics.json").read_text())


def judged_by_hand(output, noise, evaluation, *, head="lq"):
    """bool (V, N), image by image, and the labels."""
    model = load_dense(cell(output, "article_train", f"ann-{head}-seed0") / "weights.safetensors")
    *_, test = load_data(dataset="mnist", source="embedded", root="", split="first", **DATA)
    right = np.zeros((len(noise), len(test)), bool)
    for place, (image, label) in enumerate(zip(as_float(test.images), test.labels, strict=True)):
        fed = image.flatten() + noise
        if evaluation == "E2":
            fed = torch.minimum(torch.maximum(fed, torch.tensor(0.0)), torch.tensor(1.0))
        with torch.no_grad():
            right[:, place] = (model(fed).argmax(dim=1) == label).numpy()
    return right, test.labels.numpy()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    for head in ("lq", "sce", "rq"):
        article_train.run(*small(output, f"head={head}"))
    return output


@pytest.fixture(scope="module")
def finished(trained, tmp_path_factory):
    """Noise of all heads, and the transfer to lq."""
    output = tmp_path_factory.mktemp("finished") / "outputs"
    shutil.copytree(trained, output)
    for head in ("lq", "sce", "rq"):
        article_noise.run(*small(output, f"head={head}"))
    article_transfer.run(*small(output))
    return output


@pytest.fixture
def again(trained, tmp_path):
    """Networks without noise."""
    shutil.copytree(trained, tmp_path / "outputs")
    return tmp_path / "outputs"


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "outputs")
    return tmp_path / "outputs"


def test_metrics_and_files_have_the_fixed_format(finished):
    metrics = metrics_of(finished)
    assert list(metrics) == ["pairs", "columns", "steps", "precision", "accuracy", "trainability"]
    assert metrics["pairs"] == PAIRS
    assert metrics["columns"] == ["none", "3/.25", "2/.15", "8/.3"]
    assert (metrics["steps"], metrics["precision"]) == (12, "32-true")
    for variant in ("G1", "G2"):
        noise, pairs, made_by = load_noise(cell(finished) / f"noise_{variant}.safetensors")
        assert (made_by, [list(pair) for pair in pairs]) == (variant, PAIRS)
        assert noise.shape == (3, 784)
        for evaluation in ("E1", "E2"):
            found = metrics["accuracy"][variant][evaluation]
            assert list(found) == ["all", "non_target"]
            for counts in found.values():
                assert list(counts) == ["correct", "images"]
                assert all(isinstance(n, int) for row in counts.values() for n in row)
            assert found["all"]["images"] == [70] * 4
            assert found["non_target"]["images"] == [70, 63, 63, 63]
    files = json.loads((cell(finished) / MANIFEST).read_text())["files"]
    assert sorted(files) == sorted([*FILES, "config.yaml"])


@pytest.mark.parametrize("variant", ["G1", "G2"])
@pytest.mark.parametrize("evaluation", ["E1", "E2"])
def test_accuracies_are_those_of_single_images(variant, evaluation, finished):
    noise, pairs, _ = load_noise(cell(finished) / f"noise_{variant}.safetensors")
    noise = torch.cat([torch.zeros(1, 784), noise])
    right, labels = judged_by_hand(finished, noise, evaluation)
    found = metrics_of(finished)["accuracy"][variant][evaluation]
    assert found["all"]["correct"] == right.sum(axis=1).tolist()
    counted = np.array([labels >= 0, *(labels != target for target, _ in pairs)])
    assert found["non_target"]["correct"] == (right & counted).sum(axis=1).tolist()
    clean, *noisy = found["all"]["correct"]
    assert clean > 0.7 * 70
    assert min(noisy) < 0.5 * clean, "noise without effect"


def test_vectors_are_those_of_the_cells_batches_and_variants_differ(finished):
    model = load_dense(cell(finished, "article_train") / "weights.safetensors")
    training, *_ = load_data(dataset="mnist", source="embedded", root="", split="first", **DATA)
    draw = noised.noise_batches(training, batch_size=20, seed=0)
    made = {}
    for variant in ("G1", "G2"):
        made[variant], pairs, _ = load_noise(cell(finished) / f"noise_{variant}.safetensors")
        recipe = Recipe(steps=12, lr=3.0, vectors_per_pass=3)
        together = make_noise(model, draw(), pairs=pairs, variant=variant, recipe=recipe)
        torch.testing.assert_close(made[variant], together, atol=1e-4, rtol=0)
    assert (made["G1"] - made["G2"]).abs().amax(dim=1).min() > 0.05


def test_batches_are_the_cells_own():
    training, *_ = load_data(dataset="mnist", source="embedded", root="", split="first", **DATA)

    def first(count, seed):
        batches = noised.noise_batches(training, batch_size=80, seed=seed)()
        return torch.stack([next(batches) for _ in range(count)])

    assert first(5, 0).shape == (5, 80, 784)
    assert torch.equal(first(5, 0)[:3], first(3, 0))
    assert not torch.equal(first(1, 0), first(1, 1))
    whole = {tuple(x.tolist()) for x in as_float(training.images).flatten(1)}
    epoch = {tuple(x.tolist()) for x in first(2, 0).flatten(0, 1)}
    assert len(epoch) > 0.95 * 160, "without repetition inside an epoch"
    assert epoch <= whole


def test_a_vector_is_the_same_whichever_others_are_made(finished, again):
    article_noise.run(*small(again, "noise.pairs=[[8,0.3],[5,0.1],[3,0.25]]"))
    for variant in ("G1", "G2"):
        name = f"noise_{variant}.safetensors"
        one, other = (load_noise(cell(output) / name)[0] for output in (finished, again))
        assert torch.equal(one[[2, 0]], other[[0, 2]])
        assert not torch.equal(one[1], other[1])


def test_an_interrupted_stage_goes_on_and_ends_in_the_same_bytes(
    finished, again, monkeypatch, capsys
):
    calls = []

    def make(*arguments, **options):
        calls.append(options["pairs"])
        if len(calls) == 5:
            raise KeyboardInterrupt
        return make_noise(*arguments, **options)

    monkeypatch.setattr(noised, "make_noise", make)
    with pytest.raises(KeyboardInterrupt):
        article_noise.run(*small(again))
    assert not (cell(again) / "metrics.json").exists()
    article_noise.run(*small(again))
    # 2 x 3 vectors and 8 trials of 2; only the interrupted one is begun twice.
    assert len(calls) == 6 + 16 + 1
    assert not list((again / "quick" / "checkpoints").iterdir())
    for name in (*FILES, MANIFEST):
        assert sha256(cell(again) / name) == sha256(cell(finished) / name), name
    capsys.readouterr()
    article_noise.run(*small(again))
    assert "finished already" in capsys.readouterr().out


def test_trainability_has_every_run_and_the_articles_is_as_before(finished):
    metrics = metrics_of(finished)
    rows = metrics["trainability"]
    assert [tuple(row) for row in rows] == [
        ("loss", "optimiser", "lr", "column", "correct", "images")
    ] * 16
    losses = ["ce", "quadratic_linear", "quadratic_relu", "quadratic_softmax"]
    assert [(row["loss"], row["optimiser"], row["lr"]) for row in rows[::2]] == [
        (loss, optimiser, lr) for optimiser, lr in (("sgd", 3.0), ("sign", 0.01)) for loss in losses
    ]
    assert [row["column"] for row in rows] == ["3/.25", "8/.3"] * 8
    assert {row["images"] for row in rows} == {70}
    # Here it takes as many steps as the noise itself.
    every = metrics["accuracy"]["G1"]["E1"]["all"]["correct"]
    assert [row["correct"] for row in rows[:2]] == [every[1], every[3]]
    assert len({row["correct"] for row in rows}) > 3


def test_bf16_and_vectors_that_share_a_pass(finished, again):
    rounded = []

    def watch(module, inputs):
        if isinstance(module, DenseNetwork):
            rounded.append(torch.is_autocast_enabled("cpu"))

    with register_module_forward_pre_hook(watch):
        article_noise.run(*small(again, "noise.precision=bf16-mixed", "noise.vectors_per_pass=2"))
    assert set(rounded) == {True, False}  # making, and judging in float32
    metrics = metrics_of(again)
    assert metrics["precision"] == "bf16-mixed"
    for variant in ("G1", "G2"):
        name = f"noise_{variant}.safetensors"
        ours, theirs = (load_noise(cell(output) / name)[0] for output in (again, finished))
        assert (ours - theirs).abs().mean() < 0.2 * theirs.abs().mean()
        clean, *noisy = metrics["accuracy"][variant]["E1"]["all"]["correct"]
        exact = metrics_of(finished)["accuracy"][variant]["E1"]["all"]["correct"]
        assert clean == exact[0]
        assert np.allclose(noisy, exact[1:], atol=4)


def test_auto_means_one_vector_per_pass_on_a_cpu_and_all_on_a_gpu():
    noise = typed_of("noise.vectors_per_pass=auto", document=ARTICLE).noise
    cpu, cuda = (noised.noise_recipe(noise, torch.device(name)) for name in ("cpu", "cuda"))
    assert (cpu.vectors_per_pass, cuda.vectors_per_pass) == (1, 9)
    noise = noise.model_copy(update={"precision": "auto"})
    chosen = noised.noise_recipe(noise, torch.device("cpu")).precision
    assert chosen in ("32-true", "bf16-mixed")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "noise.pairs=[[10,0.2]]",
            "target class of the noise is 10. Allowed: a whole number from 0 to 9",
        ),
        ("noise.pairs=[[-1,0.2]]", "target class of the noise is -1"),
        ("noise.pairs=[[3,1.2]]", "limit of the noise is 1.2. Allowed: a number above 0"),
        ("noise.pairs=[[3,0]]", "limit of the noise is 0"),
        ("noise.pairs=[3,0.2]", r"noise.pairs is .* Allowed: a list of"),
        ("noise.pairs=[]", "at least one"),
        ("noise.pairs=[[3,0.2],[3,0.2]]", "noise.pairs names 3/.2 twice"),
        ("noise.loss=cros", "noise.loss is 'cros'. Allowed: ce, "),
        ("noise.optimiser=adma", "noise.optimiser is 'adma'. Allowed: .*adam"),
        ("noise.precision=fp8", "noise.precision is 'fp8'. Allowed: auto"),
        ("noise.steps=0", "steps is 0"),
        ("noise.lr=-1", "lr is -1"),
        ("noise.batch_size=0", "noise.batch_size is 0. Allowed: a whole number from 1"),
        ("noise.batch_size=201", "noise.batch_size = 201 cannot be used"),
        ("noise.vectors_per_pass=0", "vectors_per_pass is 0"),
        ("noise.trainability.steps=0", "steps is 0"),
        ("noise.trainability.pairs=[[3,0.2],[3,7]]", "limit of the noise is 7"),
        (
            "noise.trainability.runs.5.loss=quadratic",
            "noise.trainability.runs is .*quadratic_linear",
        ),
        ("noise.trainability.runs.5.optimiser=sing", "noise.trainability.runs is .*adam"),
        ("network.width=0.06", "of another model"),
        ("seed=1", "missing checkpoint"),
    ],
)
def test_values_that_cannot_be_used_leave_nothing_behind(override, message, trained):
    with pytest.raises(InputError, match=message):
        article_noise.run(*small(trained, override))
    assert [path.name for path in (trained / "quick").iterdir() if list(path.iterdir())] == [
        "article_train"
    ]


def test_bad_values_on_the_command_line_are_one_line_and_exit_code_2(tmp_path):
    result = run(
        "-m", "rewire", "article", "noise", "noise.pairs=[[3,0.25],[5,1.2]]", "tracking=off",
        f"output={tmp_path}",
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("error: the limit of the noise is 1.2. Allowed: ")
    assert len(result.stderr.splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("evaluation", ["E1", "E2"])
@pytest.mark.parametrize("variant", ["G1", "G2"])
def test_transfer_is_the_cells_network_on_every_heads_noise(variant, evaluation, finished):
    metrics = metrics_of(finished, "article_transfer")
    assert list(metrics) == ["columns", "sources"]
    assert metrics["columns"] == metrics_of(finished)["columns"]
    assert list(metrics["sources"]) == ["sce", "lq", "rq"]
    for head, found in metrics["sources"].items():
        assert list(found) == ["G1", "G2"]
        assert list(found[variant]) == ["E1", "E2"]
        source = cell(finished, name=f"ann-{head}-seed0") / f"noise_{variant}.safetensors"
        noise = torch.cat([torch.zeros(1, 784), load_noise(source)[0]])
        right, _ = judged_by_hand(finished, noise, evaluation)
        assert found[variant][evaluation] == {
            "correct": right.sum(axis=1).tolist(),
            "images": [70] * 4,
        }
    own = metrics_of(finished)["accuracy"][variant][evaluation]["all"]
    assert metrics["sources"]["lq"][variant][evaluation] == own
    found = [sources[variant][evaluation] for sources in metrics["sources"].values()]
    noisy = [tuple(counts["correct"][1:]) for counts in found]
    assert len(set(noisy)) == 3


def test_transfer_is_stale_after_new_noise_or_a_new_network(copied, capsys):
    article_transfer.run(*small(copied))
    assert "finished already" in capsys.readouterr().out
    before = metrics_of(copied, "article_transfer")["sources"]
    article_noise.run(*small(copied, "head=rq", "noise.steps=2", "force=true"))
    article_transfer.run(*small(copied))
    after = metrics_of(copied, "article_transfer")["sources"]
    assert after["rq"] != before["rq"]
    assert (after["sce"], after["lq"]) == (before["sce"], before["lq"])
    weights = cell(copied, "article_train") / "weights.safetensors"
    model = load_dense(weights)
    with torch.no_grad():
        model.output.weight.neg_()
    save_dense(weights, model, spec={"name": "ann", "width": 0.05, "dropout": "none"})
    list_anew(weights)
    with pytest.raises(InputError, match=r"ann-lq-seed0' is outdated.*rewire article noise"):
        article_transfer.run(*small(copied))
    article_noise.run(*small(copied))
    article_transfer.run(*small(copied))
    clean = metrics_of(copied, "article_transfer")["sources"]["lq"]["G1"]["E1"]["correct"][0]
    assert clean < before["lq"]["G1"]["E1"]["correct"][0]


def test_transfer_names_the_missing_head_and_the_commands_that_make_it(again):
    config, _ = small(again)
    for head in ("lq", "sce"):
        article_noise.run(*small(again, f"head={head}"))
    with pytest.raises(InputError) as caught:
        article_transfer.run(config, ["head=lq", "seed=0"])
    assert "no noise of head 'rq'" in str(caught.value)
    assert str(caught.value).endswith("make it first: rewire article noise seed=0 head=rq")
    shutil.rmtree(cell(again, "article_train", "ann-rq-seed0"))
    with pytest.raises(InputError) as caught:
        article_transfer.run(config, [])
    assert str(caught.value).endswith(
        "rewire article train head=rq && rewire article noise head=rq"
    )
    assert not cell(again, "article_transfer").exists()


def test_transfer_refuses_noise_that_does_not_fit(copied):
    path = cell(copied, name="ann-sce-seed0") / "noise_G1.safetensors"
    save_noise(path, torch.zeros(2, 784), pairs=[(3, 0.25), (2, 0.15)], variant="G1")
    with pytest.raises(InputError, match=r"of other pairs: 3/.25 2/.15, not 3/.25 2/.15 8/.3"):
        article_transfer.run(*small(copied, "force=true"))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"ann-sce-seed0/noise_G1.safetensors' is damaged"):
        article_transfer.run(*small(copied, "force=true"))


def test_configured_pairs_are_the_articles():
    table = ["3/.25", "2/.25", "1/.15", "5/.1", "5/.35", "8/.2", "7/.3", "9/.2"]
    plots = ["3/.25", "2/.25", "1/.35", "5/.25", "5/.35", "4/.25", "7/.3", "9/.3"]
    ours = {"ann": (table, "5/.15"), "ann_article": (table, "5/.15"), "cnn": (plots, "5/.3")}
    for network, (theirs, extra) in ours.items():
        noise = composed(f"network={network}", document=ARTICLE).noise
        labels = [pair_label(tuple(pair)) for pair in noise.pairs]
        assert [label for label in labels if label != extra] == theirs
        assert len(labels) == 9
        grid = composed(f"network={network}", "noise=grid", document=ARTICLE).noise
        limits = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
        assert [tuple(pair) for pair in grid.pairs] == [(c, n) for c in range(10) for n in limits]
        assert grid.steps == noise.steps
        assert set(map(tuple, noise.pairs)) <= set(map(tuple, grid.pairs))


def test_figure_shows_every_vector(finished, tmp_path):
    noise, pairs, _ = load_noise(cell(finished) / "noise_G1.safetensors")
    panels = [
        ("title", vector.numpy(), limit) for vector, (_, limit) in zip(noise, pairs, strict=True)
    ]
    drawn = noise_plot(panels, path=tmp_path / "a.png", columns=2)
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png").convert("RGB")), drawn)
    noise_plot(panels, path=tmp_path / "b.png", columns=2)
    assert sha256(tmp_path / "a.png") == sha256(tmp_path / "b.png")
    # Full red and full blue where a vector is at its limits, in squares of three pixels.
    for place, vector in enumerate(noise):
        row, column = divmod(place, 2)
        top, left = 30 + row * 104 + 20, 12 + column * 96
        panel = drawn[top : top + 84, left : left + 84].reshape(28, 3, 28, 3, 3)
        assert (panel == panel[:, :1, :, :1]).all()
        pixels, values = panel[:, 0, :, 0].reshape(784, 3), vector / pairs[place][1]
        assert (pixels[values >= 1] == [255, 0, 0]).all()
        assert (pixels[values <= -1] == [0, 0, 255]).all()
        assert (pixels[values == 0] >= 254).all()
        assert (values.abs() >= 1).any()
    with pytest.raises(InputError, match="at least one"):
        noise_plot([], path=tmp_path / "c.png")
