import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from rewire.data.augment import AUGMENTATIONS
from rewire.data.batches import TrainBatches
from rewire.data.cifar10 import SOURCES, load_cifar10
from rewire.data.load import load_data
from rewire.errors import InputError

CONF = Path(__file__).parents[2] / "conf" / "thesis" / "data"


def load(**changes):
    options = {"source": "embedded", "root": "unused", "validation_size": 500} | changes
    return load_data(**options)


@pytest.fixture(scope="module")
def whole():
    return load()


def counts(data):
    return torch.bincount(data.labels, minlength=10).tolist()


def test_all_data(whole):
    train, validation, _ = whole
    official = load_cifar10(source="embedded", root="", split="train")
    assert [counts(part) for part in whole] == [[450] * 10, [50] * 10, [100] * 10]
    together = torch.cat([train.indices, validation.indices]).sort().values
    assert torch.equal(together, official.indices)
    position = {index: n for n, index in enumerate(official.indices.tolist())}
    for part in (train, validation):
        places = torch.tensor([position[index] for index in part.indices.tolist()])
        assert torch.equal(part.images, official.images[places])


def test_smaller_sizes_take_the_first_and_keep_the_validation_images(whole):
    train, validation, test = load(train_size=200, test_size=37)
    assert torch.equal(validation.indices, whole[1].indices)
    assert counts(train) == [20] * 10
    assert sorted(counts(test)) == [3, 3, 3, 4, 4, 4, 4, 4, 4, 4]
    for label in range(10):
        for part, full in ((train, whole[0]), (test, whole[2])):
            mine = part.indices[part.labels == label]
            assert torch.equal(mine, full.indices[full.labels == label][: len(mine)])


def test_no_validation():
    train, validation, _ = load(validation_size=0)
    assert (len(train), len(validation)) == (5000, 0)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("validation_size", 5000, r"0\.\.4999"),
        ("validation_size", -1, r"0\.\.4999"),
        ("train_size", 4501, r"1\.\.4500"),
        ("train_size", 0, r"1\.\.4500"),
        ("test_size", 1001, r"1\.\.1000"),
        ("test_size", 0.5, r"1\.\.1000"),
    ],
)
def test_sizes_out_of_range(name, value, allowed):
    with pytest.raises(InputError, match=rf"data\.{name} = {value} .*{allowed}"):
        load(**{name: value})


def test_there_is_one_configuration_per_source():
    assert {path.stem for path in CONF.glob("*.yaml")} >= set(SOURCES)


@pytest.mark.parametrize("source", list(SOURCES))
def test_configurations_fit_the_functions(source, monkeypatch):
    monkeypatch.setenv("REWIRE_DATA", "somewhere")
    cfg = OmegaConf.to_container(OmegaConf.load(CONF / f"{source}.yaml"), resolve=True)
    assert cfg.pop("augmentation") == "shift"
    assert set(cfg) | {"dataset", "split"} == set(inspect.signature(load_data).parameters)
    assert cfg == {
        "source": source,
        "root": "somewhere",
        "validation_size": 500 if source == "embedded" else 1000,
        "train_size": None,
        "test_size": None,
    }
    monkeypatch.delenv("REWIRE_DATA")
    assert OmegaConf.load(CONF / f"{source}.yaml").root == "data"


def test_configured_embedded_data_make_batches():
    cfg = OmegaConf.to_container(OmegaConf.load(CONF / "embedded.yaml"), resolve=True)
    augmentation = cfg.pop("augmentation")
    assert augmentation in list(AUGMENTATIONS)
    train, _, _ = load_data(**cfg)
    loader = TrainBatches(train, batch_size=128, seed=0, augmentation=augmentation)
    x, y = next(iter(loader))
    assert len(loader) == 35
    assert x.shape == (128, 3, 32, 32)
    assert y.shape == (128,)
    assert 0.4 < x.mean() < 0.55
