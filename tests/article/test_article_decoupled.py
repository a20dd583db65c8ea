"""The stage of the decoupled CNN against dense matrices built from unit images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.small import composed
from torch.nn import functional as F

from rewire.article import decoupled as article_decoupled
from rewire.article import train as article_train
from rewire.article.document import ARTICLE
from rewire.article.report.decoupled_figure import cost_plot, robustness_plot
from rewire.article.results import Decoupled
from rewire.attacks.universal_files import save_noise
from rewire.data.images import as_float
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.files import MANIFEST, sha256
from rewire.models.artifact import load_dense
from rewire.pruning.decoupled_cost import Cost
from rewire.rng import generator

CELL = "cnn-lq-seed0"
PAIRS = [(3, 0.25), (5, 0.3)]
DATA = {"train_size": 300, "test_size": 60, "validation_size": 10}
IMAGES, METRIC_IMAGES = 50, 40
SMALL = (
    "network=cnn",
    "network.width=0.1",
    "trainer.schedule.cnn=[[3.0e-3,60]]",
    "trainer.batch_size=50",
    *(f"data.{key}={value}" for key, value in DATA.items()),
    "tracking=off",
    f"decoupled.images={IMAGES}",
    f"decoupled.metric_images={METRIC_IMAGES}",
    "decoupled.every_column=true",
    "decoupled.batch_size=20",
    "decoupled.ratios.absolute=[0.4,0.7]",
    "decoupled.ratios.activated=[0.5,0.75]",
    *(f"~decoupled.points.{name}" for name in ("conv1", "conv3", "conv4", "convs1to3")),
    "decoupled.cost.repeats=1",
)
POINTS = [
    ("conv2", "absolute", [0.4, 0.7]),
    ("conv2", "activated", [0.5, 0.75]),
    ("convs", "absolute", [0.4, 0.7]),
    ("convs", "activated", [0.5, 0.75]),
    ("fc1", "absolute", [0.9]),
    ("fc1", "activated", [0.985]),
]


def small(output, *overrides):
    return composed(*SMALL, f"output={output}", *overrides, document=ARTICLE), []


def noise_file(output, pairs=PAIRS):
    """Random signs at every limit, as if `article_noise` had made them."""
    source = torch.Generator().manual_seed(1)
    signs = torch.rand(len(pairs), 784, generator=source).round() * 2 - 1
    noise = signs * torch.tensor([limit for _, limit in pairs])[:, None]
    path = output / "quick" / "article_noise" / CELL / "noise_G1.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_noise(path, noise, pairs=pairs, variant="G1")
    return noise


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("outputs")
    article_train.run(*small(output))
    noise_file(output)
    article_decoupled.run(*small(output))
    return output


@pytest.fixture(scope="module")
def oracle(finished):
    return Oracle(model_of(finished))


@pytest.fixture
def again(finished, tmp_path):
    """The inputs of the finished cell, elsewhere."""
    for stage in ("article_train", "article_noise"):
        (tmp_path / "quick").mkdir(exist_ok=True)
        (tmp_path / "quick" / stage).symlink_to(finished / "quick" / stage)
    return tmp_path


def cell(output):
    return output / "quick" / "article_decoupled" / CELL


def metrics_of(output):
    return json.loads((cell(output) / "metrics.json").read_text())


def images():
    train, _, test = load_data(
        dataset="mnist", source="embedded", root="data", split="first", **DATA
    )
    return train, test


def model_of(output):
    return load_dense(output / "quick" / "article_train" / CELL / "weights.safetensors")


class Oracle:
    """The CNN as dense float64 matrices (in, out), rows and columns in the order H, W, C."""

    def __init__(self, model):
        self.layers = {}
        for name, conv in model.convolutions().items():
            weight = conv.weight.detach().double()
            matrix, places = (self.columns(conv, w) for w in (weight, torch.ones_like(weight)))
            bias = conv.bias.detach().double().repeat(784)
            self.layers[name] = [matrix, places != 0, bias]
        channels = list(model.convolutions().values())[-1].out_channels
        for number, linear in enumerate([*model.hidden.values(), model.output], start=1):
            matrix = linear.weight.detach().double().t()
            if number == 1:
                matrix = matrix.view(channels, 784, -1).transpose(0, 1).flatten(0, 1)
            name = f"fc{number}" if number < 3 else "out"
            bias = linear.bias.detach().double()
            self.layers[name] = [matrix, torch.ones_like(matrix) > 0, bias]

    @staticmethod
    def columns(conv, weight):
        """The response to every unit image."""
        inputs = weight.shape[1]
        units = torch.eye(784 * inputs, dtype=torch.double).view(-1, 28, 28, inputs)
        out = F.conv2d(units.permute(0, 3, 1, 2), weight, padding=conv.padding)
        return out.permute(0, 2, 3, 1).flatten(1)

    def run(self, x, pruned=None):
        """(logits, mean input by layer) of images (N, 1, 28, 28)."""
        x, means = x.double().flatten(1), {}
        for name, (matrix, _, bias) in self.layers.items():
            means[name] = x.mean(0)
            x = x @ (pruned or {}).get(name, matrix) + bias
            x = x if name == "out" else x.relu()
        return x, means

    def pruned(self, names, metric, ratio, means):
        """Layer → its matrix without the smallest entries, one matrix at a time."""
        result = {}
        for name in names:
            matrix, places, _ = self.layers[name]
            score = matrix.abs()
            if metric == "activated":
                score = score * means[name][:, None]
            rows, columns = np.nonzero(places.numpy())
            order = np.argsort(score.numpy()[rows, columns], kind="stable")
            gone = order[: int(ratio * len(order))]
            result[name] = matrix.clone()
            result[name][rows[gone], columns[gone]] = 0
        return result


def test_counts_are_those_of_dense_matrices(finished, oracle):
    train, test = images()
    order = torch.randperm(len(train), generator=generator(0, "metric images", 0))
    _, means = oracle.run(as_float(train.images[order[:METRIC_IMAGES]]))
    x, y = as_float(test.images[:IMAGES]), test.labels[:IMAGES]
    noise = noise_file(finished).view(-1, 1, 1, 28, 28)

    def counts(pruned):
        logits = [oracle.run(fed, pruned)[0] for fed in (x, x + noise[0], x + noise[1])]
        return {
            "correct": [int((z.argmax(1) == y).sum()) for z in logits],
            "as_run": [int((z.relu().argmax(1) == y).sum()) for z in logits],
        }

    points = metrics_of(finished)["points"]
    found = [{key: point[key] for key in ("correct", "as_run")} for point in points]
    assert found[0] == counts({})
    assert found[0]["correct"][0] > 30, "a network that has learned something"
    for point, ours in zip(points[1:], found[1:], strict=True):
        arguments = point["layers"], point["metric"], point["ratio"], means
        assert ours == counts(oracle.pruned(*arguments)), point["point"]
    assert len({tuple(ours["correct"]) for ours in found}) > 6


def test_metrics_describe_what_was_done(finished):
    metrics = metrics_of(finished)
    assert list(metrics) == [
        "columns", "evaluation", "images", "metric_images", "layers", "largest_difference",
        "points",
    ]  # fmt: skip
    assert metrics["columns"] == ["none", "3/.25", "5/.3"]
    assert (metrics["evaluation"], metrics["images"], metrics["metric_images"]) == ("E1", 50, 40)
    assert 0 < metrics["largest_difference"] <= 1e-4
    whole, *pruned = metrics["points"]
    assert whole["layers"] == []
    assert (whole["point"], whole["metric"], whole["ratio"]) == ("none", "none", 0)
    expected = [(name, metric, ratio) for name, metric, ratios in POINTS for ratio in ratios]
    assert [(p["point"], p["metric"], p["ratio"]) for p in pruned] == expected
    layers = {layer["name"]: layer for layer in metrics["layers"]}
    for point in pruned:
        assert point["images"] == [50, 50, 50]
        removed = [int(point["ratio"] * layers[name]["entries"]) for name in point["layers"]]
        total = sum(layers[name]["entries"] for name in point["layers"])
        assert point["sparsity"] == sum(removed) / total
        assert point["sparsity"] == pytest.approx(point["ratio"], abs=1e-4)
    assert pruned[4]["layers"] == ["conv1", "conv2", "conv3", "conv4"]


def test_layers_are_counted_with_and_without_dead_inputs(finished, oracle):
    layers = metrics_of(finished)["layers"]
    train, _ = images()
    order = torch.randperm(len(train), generator=generator(0, "metric images", 0))
    _, means = oracle.run(as_float(train.images[order[:METRIC_IMAGES]]))
    assert [layer["name"] for layer in layers] == list(oracle.layers)
    for layer in layers:
        matrix, places, _ = oracle.layers[layer["name"]]
        assert (layer["inputs"], layer["outputs"]) == tuple(matrix.shape)
        assert layer["entries"] == int(places.sum())
        assert layer["active_entries"] == int(places[means[layer["name"]] > 0].sum())
    assert layers[0]["active_entries"] < layers[0]["entries"]


def test_times_are_beside_the_result_and_no_part_of_it(finished):
    files = json.loads((cell(finished) / MANIFEST).read_text())["files"]
    assert sorted(files) == ["config.yaml", "decoupled.png", "metrics.json"]
    assert (cell(finished) / "cost.png").read_bytes()[:4] == b"\x89PNG"
    cost = json.loads((cell(finished) / "cost.json").read_text())
    assert [(fit["backend"], fit["batch_size"]) for fit in cost["fits"]] == [
        ("scipy", 1), ("scipy", 100), ("torch", 1), ("torch", 100),
    ]  # fmt: skip
    entries = {layer["name"]: layer["entries"] for layer in metrics_of(finished)["layers"]}
    rows = cost["measurements"]
    assert len(rows) == 4 * 4 * 3
    for row in rows:
        whole = entries[row["layer"]]
        assert row["entries"] == whole - int(row["ratio"] * whole)
        assert row["seconds"] > 0
    assert {row["ratio"] for row in rows} == {0, 0.5, 0.75}
    assert {row["layer"] for row in rows} == {"conv1", "conv2", "conv3", "conv4"}


def test_an_interrupted_stage_goes_on_and_ends_in_the_same_bytes(
    finished, again, monkeypatch, capsys
):
    calls = []

    def judge(*arguments, stop=3, **options):
        calls.append(arguments)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return judge_it(*arguments, **options)

    judge_it = article_decoupled.judge
    monkeypatch.setattr(article_decoupled, "judge", judge)
    with pytest.raises(KeyboardInterrupt):
        article_decoupled.run(*small(again))
    assert not (cell(again) / "metrics.json").exists()
    article_decoupled.run(*small(again))
    # Two of the seven parts were whole before, the third is judged twice.
    assert len(calls) == 7 + 1
    assert not (again / "quick" / "checkpoints").is_dir() or not list(
        (again / "quick" / "checkpoints").iterdir()
    )
    for name in (MANIFEST, "metrics.json", "decoupled.png"):
        assert sha256(cell(again) / name) == sha256(cell(finished) / name), name
    capsys.readouterr()
    article_decoupled.run(*small(again))
    assert "finished already" in capsys.readouterr().out


def test_one_column_and_a_table_of_percentages(finished, again, capsys):
    points = ["~decoupled.points.convs", "~decoupled.points.fc1"]
    article_decoupled.run(*small(again, "decoupled.every_column=false", *points))
    metrics, every = metrics_of(again), metrics_of(finished)
    assert metrics["columns"] == ["none", "5/.3"]
    assert [point["correct"] for point in metrics["points"]] == [
        point["correct"][::2] for point in every["points"][:5]
    ]
    lines = capsys.readouterr().out.splitlines()
    first, second = every["points"][1]["correct"][::2]
    row = f"conv2 absolute 0.4 {100 * first / IMAGES:g} {100 * second / IMAGES:g}"
    assert row in [" ".join(line.split()) for line in lines]
    assert sum("ns per entry, R2" in line for line in lines) == 4


def test_networks_judged_together_count_as_alone(finished):
    _, test = images()
    model = model_of(finished)
    network = article_decoupled.decoupled(model)
    means = {layer.name: np.ones(layer.weight.shape[0]) for layer in network.layers}
    data, noise = article_decoupled.first_images(test, 30), noise_file(finished)
    for names in (["conv3"], ["conv2", "fc1"], ["fc1"], []):
        together = [
            article_decoupled.prune_layers(network, names, "activated", ratio, means)
            for ratio in (0.3, 0.6)
        ]
        alone = [article_decoupled.judge([n], data, noise, batch_size=10)[0] for n in together]
        assert article_decoupled.judge(together, data, noise, batch_size=10) == alone


def test_as_run_an_output_without_a_positive_entry_is_class_0(finished):
    _, test = images()
    model, noise = model_of(finished), noise_file(finished)
    (usual,) = article_decoupled.judge(
        [article_decoupled.decoupled(model)], test, noise, batch_size=30
    )
    model.output.bias.data -= 100
    (found,) = article_decoupled.judge(
        [article_decoupled.decoupled(model)], test, noise, batch_size=30
    )
    assert found.correct == usual.correct
    assert found.as_run == [int((test.labels == 0).sum())] * 3
    assert min(usual.correct) > 2 * found.as_run[0]


def test_the_first_images_are_the_first_ones():
    _, test = images()
    chosen = article_decoupled.first_images(test, 7)
    assert chosen.indices.tolist() == test.indices[:7].tolist()
    assert len(chosen.labels.unique()) < 7, "not balanced"
    assert article_decoupled.first_images(test, None) is test


def test_a_decoupled_network_that_is_another_function_is_refused(finished):
    model, (_, test) = model_of(finished), images()
    network = article_decoupled.decoupled(model)
    assert article_decoupled.largest_difference(model, network, test) < 1e-5
    for value in (1e-3, float("nan")):
        model.output.bias.data[3] += value
        with pytest.raises(InputError, match=r"Allowed: at most 0\.0001"):
            article_decoupled.largest_difference(model, network, test)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network=ann", "network 'ann' has no convolutions. Allowed: cnn"),
        ("decoupled.column=5/.35", "decoupled.column is '5/.35'.*Allowed: 3/.25, 5/.3;"),
        ("decoupled.images=61", "decoupled.images = 61 cannot be used"),
        ("decoupled.metric_images=0", "decoupled.metric_images is 0"),
        ("decoupled.points.conv2.layers=[conv5]", "unknown layer to prune 'conv5'"),
        ("decoupled.cost.metric=absolut", "decoupled.cost.metric is 'absolut'. Allowed: absolute"),
    ],
)
def test_values_that_cannot_be_used_leave_nothing_behind(override, message, again):
    with pytest.raises(InputError, match=message):
        article_decoupled.run(*small(again, override))
    assert not cell(again).exists()


def test_missing_noise_and_missing_network(tmp_path, again):
    with pytest.raises(InputError, match="missing checkpoint"):
        article_decoupled.run(*small(tmp_path / "empty"))
    (again / "quick" / "article_noise").unlink()
    with pytest.raises(InputError, match="missing noise"):
        article_decoupled.run(*small(again))


def test_figures_show_the_numbers(finished, tmp_path):
    metrics = Decoupled.read(cell(finished) / "metrics.json")
    points, path = metrics.points, tmp_path / "figure.png"

    def draw(points, columns=metrics.columns):
        return robustness_plot(points, columns, path=path)

    drawn = draw(points)
    assert path.read_bytes() == (cell(finished) / "decoupled.png").read_bytes()
    for changed in ({"correct": [0, 0, 0]}, {"ratio": 0.1}):
        other = points[1].model_copy(update=changed)
        assert not np.array_equal(draw([points[0], other, *points[2:]]), drawn)
    assert draw(points, ["none"]).shape[1] < drawn.shape[1]
    with pytest.raises(InputError, match="no pruned network"):
        draw(points[:1])

    cost = Cost.read(cell(finished) / "cost.json")
    drawn = cost_plot(cost, path=path)
    steeper = [fit.model_copy(update={"b": 3 * fit.b}) for fit in cost.fits]
    slower = [t.model_copy(update={"seconds": 3 * t.seconds}) for t in cost.measurements]
    for changed in ({"fits": steeper}, {"measurements": slower}):
        assert not np.array_equal(cost_plot(cost.model_copy(update=changed), path=path), drawn)
    with pytest.raises(InputError, match="no times"):
        cost_plot(Cost(fits=[], measurements=[]), path=path)
