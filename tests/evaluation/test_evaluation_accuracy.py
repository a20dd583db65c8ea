from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.toys_attacked import EPSILON, conv_net, images, trained

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.judge import FOOLED_BY
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet
from rewire.errors import InputError
from rewire.evaluation.accuracy import percent, predict_correct
from rewire.evaluation.ledger import load_ledger, save_ledger
from rewire.evaluation.robust import evaluate
from rewire.numbers import fraction
from rewire.registry import ATTACKS

CONF = Path(__file__).parents[2] / "conf" / "thesis" / "attack"


@pytest.fixture(scope="module")
def data() -> ImageSet:
    x, y = images(120, seed=3)
    return ImageSet((x * 255).round().to(torch.uint8), y, torch.arange(120) + 1000)


def test_predict_correct_counts_in_evaluation_mode():
    x, y = images(50, seed=8)
    model = conv_net()
    model.load_state_dict(trained().state_dict())
    model.train()
    before = model[1].running_mean.clone()
    batches = zip(x.split(16), y.split(16), torch.arange(50).split(16), strict=True)
    correct = predict_correct(model, batches)
    expected = [
        trained()(image[None]).argmax().item() == label for image, label in zip(x, y, strict=True)
    ]
    assert correct.tolist() == [bool(value) for value in expected]
    assert model.training
    assert model[1].training
    assert torch.equal(model[1].running_mean, before)
    assert percent(correct) == 100 * sum(map(int, correct.tolist())) / 50
    assert predict_correct(model, []).shape == (0,)


def test_evaluate_counts_what_the_attack_found(data):
    report = evaluate(trained(), data, attack=PGD(EPSILON, steps=10, restarts=2), batch_size=32)
    arrays = report.arrays
    x = data.images.float() / 255
    clean = predict_correct(trained(), [(x, data.labels)])
    found = PGD(EPSILON, steps=10, restarts=2).attack(
        trained(), x, data.labels, indices=data.indices
    )
    assert arrays["clean_correct"].tolist() == clean.tolist()
    assert arrays["robust_correct"].tolist() == found.correct.tolist()
    assert arrays["fooled_at_restart"].tolist() == found.fooled_at_restart.tolist()
    assert arrays["fooled_by"].tolist() == found.fooled_by.tolist()
    assert report.fooled_by == {"pgd": report.clean.correct - report.robust.correct}
    assert arrays["indices"].tolist() == list(range(1000, 1120))
    assert arrays["labels"].tolist() == data.labels.tolist()
    assert report.clean.total == 120
    assert report.clean.correct == arrays["clean_correct"].sum()
    assert report.robust.correct == arrays["robust_correct"].sum()
    assert report.clean.accuracy == 100 * report.clean.correct / 120
    assert report.robust.accuracy == 100 * report.robust.correct / 120
    assert 20 < report.robust.accuracy < 80
    assert report.steps_run == found.steps_run
    assert not (arrays["robust_correct"] & ~arrays["clean_correct"]).any()


@pytest.mark.parametrize(
    "attack",
    [
        PGD(EPSILON, steps=2, restarts=2, first_pass_steps=1),
        AutoAttack(EPSILON, steps=1, queries=20),
    ],
    ids=["pgd", "autoattack"],
)
def test_the_ledger_says_which_attack_fooled_which_image(data, tmp_path, attack):
    report = evaluate(trained(), data, attack=attack, batch_size=50)
    save_ledger(tmp_path / "ledger.npz", report.arrays)
    loaded = load_ledger(tmp_path / "ledger.npz")
    assert loaded.keys() == report.arrays.keys()
    for name, array in report.arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    by, at = loaded["fooled_by"], loaded["fooled_at_restart"]
    assert by.dtype == np.int8
    counts = {name: int((by == code).sum()) for code, name in enumerate(FOOLED_BY)}
    assert report.fooled_by == {name: count for name, count in counts.items() if count}
    assert sum(counts.values()) == report.clean.correct - report.robust.correct
    assert len(report.fooled_by) == 2
    np.testing.assert_array_equal(loaded["robust_correct"], by == -1)
    np.testing.assert_array_equal(loaded["clean_correct"], by != -2)
    np.testing.assert_array_equal(at[by < 0], by[by < 0])
    assert (at[by >= 0] >= 0).all()


def test_no_images_is_an_input_error(data):
    with pytest.raises(InputError, match="at least one image"):
        evaluate(trained(), data.take(torch.arange(0)), attack=PGD())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pgd50x10", PGD(epsilon=8 / 255, steps=50, restarts=10)),
        ("pgd20x1", PGD(epsilon=8 / 255, steps=20, restarts=1)),
        ("autoattack", AutoAttack(epsilon=8 / 255, steps=100, queries=5000, restarts=1)),
    ],
)
def test_attack_configs(name, expected):
    options = fraction(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    assert options.pop("images") is None  # how many images to attack is the stage's concern
    assert ATTACKS.build(**options)() == expected
    # Every option of an attack can be given without a `+`.
    fields = {field.name for field in dataclasses.fields(expected)} - {"seed"}
    assert set(options) == fields | {"name"}


def test_every_attack_config_is_tested():
    assert {path.stem for path in CONF.glob("*.yaml")} == {"pgd50x10", "pgd20x1", "autoattack"}
