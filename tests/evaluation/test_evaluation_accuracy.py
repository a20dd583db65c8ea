from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from attacks.toys_attacked import EPSILON, conv_net, images, trained

from rewire.attacks import build_attack
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet
from rewire.errors import InputError
from rewire.evaluation.accuracy import percent, predict_correct
from rewire.evaluation.ledger import load_ledger, save_ledger
from rewire.evaluation.robust import evaluate

CONF = Path(__file__).parents[2] / "conf" / "attack"


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
    arrays = report["arrays"]
    x = data.images.float() / 255
    clean = predict_correct(trained(), [(x, data.labels)])
    found = PGD(EPSILON, steps=10, restarts=2).attack(
        trained(), x, data.labels, indices=data.indices
    )
    assert arrays["clean_correct"].tolist() == clean.tolist()
    assert arrays["robust_correct"].tolist() == found.correct.tolist()
    assert arrays["fooled_at_restart"].tolist() == found.fooled_at_restart.tolist()
    assert arrays["indices"].tolist() == list(range(1000, 1120))
    assert arrays["labels"].tolist() == data.labels.tolist()
    assert report["images"] == 120
    assert report["clean_count"] == arrays["clean_correct"].sum()
    assert report["robust_count"] == arrays["robust_correct"].sum()
    assert report["clean_accuracy"] == 100 * report["clean_count"] / 120
    assert report["robust_accuracy"] == 100 * report["robust_count"] / 120
    assert 20 < report["robust_accuracy"] < 80
    assert report["steps_run"] == found.steps_run
    assert not (arrays["robust_correct"] & ~arrays["clean_correct"]).any()


def test_evaluate_gives_a_ledger_that_survives_the_disk(data, tmp_path):
    report = evaluate(trained(), data, attack=PGD(EPSILON, steps=2, restarts=1))
    save_ledger(tmp_path / "ledger.npz", report["arrays"])
    loaded = load_ledger(tmp_path / "ledger.npz")
    assert loaded.keys() == report["arrays"].keys()
    for name, array in report["arrays"].items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_no_images_is_an_input_error(data):
    with pytest.raises(InputError, match="at least one image"):
        evaluate(trained(), data.take(torch.arange(0)), attack=PGD())


@pytest.mark.parametrize(("name", "steps", "restarts"), [("pgd50x10", 50, 10), ("pgd20x1", 20, 1)])
def test_attack_configs(name, steps, restarts):
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert options.pop("images") is None  # how many images to attack is the stage's concern
    attack = build_attack(**options)
    assert attack == PGD(epsilon=8 / 255, steps=steps, restarts=restarts, batch_size=256)
    assert attack.step == pytest.approx(2.5 * 8 / 255 / steps)
