import rewire  # noqa: F401 - first, because it lets torchvision import beside a CPU build of torch

# isort: split
import gzip
import hashlib
import inspect
import io
import shutil
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import MNIST

from rewire.data import embedded, make_embedded, mnist
from rewire.data.augment import AUGMENTATIONS
from rewire.data.batches import TrainBatches
from rewire.data.embedded import FOLDER, SUBSETS, load_embedded
from rewire.data.load import load_data
from rewire.data.mnist import SOURCES, load_mnist
from rewire.errors import InputError

CONF = Path(__file__).resolve().parents[2] / "conf" / "article" / "data"
COUNTS = {"train": 60, "test": 30}  # images of the synthetic files
PREFIX = {"train": "train", "test": "t10k"}


@pytest.fixture(scope="module")
def synthetic():
    """Labels (N,) and images (N, 28, 28) by split, the classes in random order."""
    random = np.random.default_rng(0)
    return {
        split: (
            random.permuted(np.tile(np.arange(10, dtype=np.uint8), count // 10)),
            random.integers(0, 256, (count, 28, 28), np.uint8),
        )
        for split, count in COUNTS.items()
    }


@pytest.fixture(scope="module")
def idx(synthetic):
    """The synthetic images as idx files: name → content, written without the code under test."""
    contents = {}
    for split, (labels, images) in synthetic.items():
        head = struct.pack(">IIII", 0x803, len(images), 28, 28)
        contents[f"{PREFIX[split]}-images-idx3-ubyte"] = head + images.tobytes()
        head = struct.pack(">II", 0x801, len(labels))
        contents[f"{PREFIX[split]}-labels-idx1-ubyte"] = head + labels.tobytes()
    return contents


@pytest.fixture
def accepted(monkeypatch, idx):
    """The synthetic files count as the official ones."""
    for name, content in idx.items():
        monkeypatch.setitem(mnist.SHA256, name, hashlib.sha256(content).hexdigest())


@pytest.fixture(params=["as they are", "gz", "mixed"])
def root(request, tmp_path, idx, accepted):
    """A root with the synthetic files."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in idx.items():
        if request.param == "gz" or (request.param == "mixed" and "labels" in name):
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (raw / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def assert_synthetic(root, synthetic, source):
    for split, (labels, images) in synthetic.items():
        data = load_mnist(source=source, root=root, split=split)
        assert data.images.shape == (COUNTS[split], 1, 28, 28)
        assert np.array_equal(data.images[:, 0], images)
        assert np.array_equal(data.labels, labels)
        assert torch.equal(data.indices, torch.arange(COUNTS[split]))


@pytest.mark.parametrize("source", ["folder", "download"])
def test_official_files(root, synthetic, source, no_network):
    assert_synthetic(str(root), synthetic, source)


def test_home_in_root_is_expanded(root, synthetic, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    assert_synthetic("~", synthetic, "folder")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [
    (lambda path: path.unlink(), "No such file"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes with|EOFError"),
    (lambda path: path.write_bytes(b""), "0 bytes with"),
    (flip_a_bit, "bytes with|Error|BadGzipFile"),
    (make_folder, "Is a directory"),
]


@pytest.mark.parametrize(("damage", "found"), DAMAGES)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_file(root, name, damage, found):
    raw = root / "MNIST" / "raw"
    path = raw / name if (raw / name).exists() else raw / f"{name}.gz"
    damage(path)
    split = "train" if name.startswith("train") else "test"
    with pytest.raises(InputError, match=f"(?s){name}.*({found}).*Allowed") as caught:
        load_mnist(source="folder", root=root, split=split)
    for part in (str(raw), mnist.SHA256[name], "REWIRE_DATA", "data.source=embedded"):
        assert part in str(caught.value)


def test_no_gzip_in_a_gz_file(tmp_path, idx, accepted):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in idx.items():
        (raw / f"{name}.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz.*Not a gzipped file"):
        load_mnist(source="folder", root=tmp_path, split="train")


def test_a_gz_that_unpacks_without_end_is_read_no_further_than_the_official_file(
    tmp_path, idx, accepted, monkeypatch
):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in idx:
        (raw / f"{name}.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    monkeypatch.setattr(mnist, "LARGEST", 20_000)
    with pytest.raises(InputError, match=r"ubyte\.gz' .* Found: more than 20000 bytes"):
        load_mnist(source="folder", root=tmp_path, split="train")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_device_is_no_data(tmp_path, suffix):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"train-images-idx3-ubyte{suffix}").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="Found: not a regular file"):
        load_mnist(source="folder", root=tmp_path, split="train")


def test_empty_root(tmp_path):
    with pytest.raises(InputError) as caught:
        load_mnist(source="folder", root=tmp_path / "nowhere", split="test")
    for part in ("nowhere", "MNIST/raw", "REWIRE_DATA", "data.root", "data.source=embedded"):
        assert part in str(caught.value)


def test_download_without_a_network(tmp_path, no_network):
    with pytest.raises(InputError) as caught:
        load_mnist(source="download", root=tmp_path / "new", split="test")
    for part in ("new", "unreachable", "REWIRE_DATA", "data.source=embedded"):
        assert part in str(caught.value)


class Response(io.BytesIO):
    """What `urlopen` returns, as far as torchvision uses it."""

    url = None

    @property
    def length(self):
        return len(self.getbuffer())


@pytest.fixture
def served(monkeypatch, idx, accepted):
    """The synthetic files as every mirror serves them; returns name → content, to be changed."""
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in idx.items()}
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(MNIST, "resources", sums)

    def serve(request, *args):
        return Response(packed[request.full_url.rsplit("/", 1)[1]])

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    return packed


def test_download(served, tmp_path, synthetic, monkeypatch):
    assert_synthetic(tmp_path / "fresh", synthetic, "download")
    assert (tmp_path / "fresh" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file()


def test_damaged_download(served, tmp_path):
    name = "train-images-idx3-ubyte.gz"
    served[name] = served[name][:-20]
    with pytest.raises(InputError, match=r"cannot download MNIST .*fresh.*data\.source=embedded"):
        load_mnist(source="download", root=tmp_path / "fresh", split="train")


def test_download_into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to the output folder '.*file'"):
        load_mnist(source="download", root=tmp_path / "file", split="train")


@pytest.mark.parametrize(
    ("source", "split", "text"),
    [
        ("embeded", "train", r"unknown data source 'embeded'. Did you mean 'embedded'\?"),
        ("folder", "val", "unknown split 'val'.* Allowed: test, train"),
    ],
)
def test_unknown_names(source, split, text, tmp_path):
    with pytest.raises(InputError, match=text):
        load_mnist(source=source, root=tmp_path, split=split)


def test_loading_does_not_import_torchvision():
    code = (
        "import sys; from rewire.data.load import load_data as load; "
        "load(dataset='mnist', source='embedded', root='', validation_size=0); "
        "sys.exit('torchvision.datasets' in sys.modules or 'pytorch_lightning' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(filter(None, sys.path))}
    )
    assert result.returncode == 0


# The embedded subset.


@pytest.fixture(scope="module", params=["train", "test"])
def shipped(request):
    return request.param, load_embedded(request.param, dataset="mnist")


def test_embedded_content_has_its_documented_hash(shipped):
    """Decode and hash the files without the code under test, tile by tile."""
    split, data = shipped
    sheet = np.asarray(Image.open(FOLDER / f"mnist_{split}.webp"))
    assert (sheet == sheet[:, :, :1]).all()
    digest = hashlib.sha256()
    for row in range(0, sheet.shape[0], 28):
        for column in range(0, sheet.shape[1], 28):
            digest.update(sheet[row : row + 28, column : column + 28, 0].tobytes())
    with np.load(FOLDER / "mnist_labels.npz") as table:
        for name in ("labels", "indices"):
            digest.update(table[f"{split}_{name}"].astype("<i8").tobytes())
    assert digest.hexdigest() == SUBSETS["mnist"].sha256[split]
    assert f"`{digest.hexdigest()}`" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert embedded.content_hash(data) == digest.hexdigest()


def test_embedded_is_class_balanced_and_in_official_order(shipped):
    split, data = shipped
    size = {"train": 10_000, "test": 2000}[split]
    assert data.images.shape == (size, 1, 28, 28)
    assert torch.bincount(data.labels).tolist() == [size // 10] * 10
    assert (data.indices.diff() > 0).all()
    assert data.indices[0] == 0
    assert data.indices[-1] < {"train": 60_000, "test": 10_000}[split]


def test_embedded_images_are_the_published_first_ones():
    """Labels 5 0 4 1 9 2 1 3 and 7 2 1 0 4 1 4 9; the 5 starts in row 5 with 3 18 18 18 126."""
    train, test = (load_embedded(split, dataset="mnist") for split in ("train", "test"))
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert test.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    assert not train.images[0, 0, :5].any()
    assert train.images[0, 0, 5, 12:17].tolist() == [3, 18, 18, 18, 126]


def test_grey_sheet_and_images_are_inverse():
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 28, 28), np.uint8)
    sheet = embedded._to_sheet(images)
    assert sheet.shape == (56, 1400)
    assert np.array_equal(sheet[28:, 84:112], images[53, 0])
    assert np.array_equal(embedded._from_sheet(sheet, 28), images)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_one_pixel(path):
    sheet = np.asarray(Image.open(path)).copy()
    sheet[5, 7] ^= 1
    Image.fromarray(sheet).save(path, lossless=True, quality=0, method=0)


@pytest.mark.parametrize(
    ("name", "damage", "found"),
    [
        ("mnist_test.webp", lambda path: path.unlink(), "No such file"),
        ("mnist_test.webp", truncate, "Error"),
        ("mnist_test.webp", change_one_pixel, "SHA-256"),
        ("mnist_test.webp", lambda path: Image.new("L", (32, 32)).save(path), "ValueError"),
        ("mnist_labels.npz", lambda path: path.unlink(), "No such file"),
        ("mnist_labels.npz", truncate, "Error|Bad"),
    ],
)
def test_damaged_embedded_file_is_one_clear_error(tmp_path, name, damage, found):
    for path in FOLDER.glob("mnist_*"):
        shutil.copy(path, tmp_path)
    damage(tmp_path / name)
    with pytest.raises(InputError, match=f"(?s)embedded MNIST.*{name}.*({found}).*Allowed"):
        load_embedded("test", dataset="mnist", folder=tmp_path)


def test_unknown_embedded_dataset():
    with pytest.raises(InputError, match=r"unknown dataset 'mnits'.*mnist"):
        load_embedded("test", dataset="mnits")


def test_make_embedded_writes_the_first_images_of_every_class(root, synthetic, monkeypatch):
    monkeypatch.setattr(embedded, "COLUMNS", 10)
    wanted = {}
    for split, each in (("train", 3), ("test", 2)):
        labels, images = synthetic[split]
        chosen = sorted(n for c in range(10) for n in np.flatnonzero(labels == c)[:each])
        content = images[chosen].tobytes()
        for vector in (labels[chosen], np.array(chosen)):
            content += vector.astype("<i8").tobytes()
        monkeypatch.setitem(SUBSETS["mnist"].sizes, split, 10 * each)
        monkeypatch.setitem(SUBSETS["mnist"].sha256, split, hashlib.sha256(content).hexdigest())
        wanted[split] = chosen
    folder = root / "made"
    arguments = [str(root), "--dataset", "mnist", "--output", str(folder)]
    assert make_embedded.main(arguments) == 0
    assert {path.name for path in folder.iterdir()} == {
        "mnist_train.webp", "mnist_test.webp", "mnist_labels.npz"
    }  # fmt: skip
    for split, chosen in wanted.items():
        data = load_embedded(split, dataset="mnist", folder=folder)
        assert data.indices.tolist() == chosen
        assert np.array_equal(data.images[:, 0], synthetic[split][1][chosen])


# The three image sets of a run.


def load(**changes):
    options = {"dataset": "mnist", "source": "embedded", "root": "unused", "split": "first"}
    return load_data(**options | {"validation_size": 1000} | changes)


def test_the_article_holds_out_the_first_training_images():
    whole = load_embedded("train", dataset="mnist")
    train, validation, test = load()
    assert torch.equal(validation.images, whole.images[:1000])
    assert torch.equal(validation.labels, whole.labels[:1000])
    assert torch.equal(train.images, whole.images[1000:])
    assert torch.equal(torch.cat([validation.indices, train.indices]), whole.indices)
    assert len(test) == 2000


def test_balanced_split_and_smaller_sizes():
    train, validation, test = load(split="balanced", train_size=200, test_size=50)
    assert torch.bincount(validation.labels).tolist() == [100] * 10
    assert torch.bincount(train.labels).tolist() == [20] * 10
    assert torch.bincount(test.labels).tolist() == [5] * 10
    assert not set(train.indices.tolist()) & set(validation.indices.tolist())


def test_no_validation():
    assert [len(part) for part in load(validation_size=0)] == [10_000, 0, 2000]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"validation_size": 10_000}, r"data\.validation_size = 10000 .*0\.\.9999"),
        ({"validation_size": -1}, r"data\.validation_size = -1 .*0\.\.9999"),
        ({"train_size": 9001}, r"data\.train_size = 9001 .*1\.\.9000"),
        ({"dataset": "mnits"}, r"unknown data set 'mnits'. Did you mean 'mnist'\?"),
        ({"split": "last"}, "unknown validation split 'last'.* Allowed: balanced, first"),
    ],
)
def test_values_that_cannot_be_used(changes, text):
    with pytest.raises(InputError, match=text):
        load(**changes)


@pytest.mark.parametrize("source", list(SOURCES))
def test_configurations_fit_the_functions(source, monkeypatch):
    monkeypatch.setenv("REWIRE_DATA", "somewhere")
    cfg = OmegaConf.to_container(OmegaConf.load(CONF / f"{source}.yaml"), resolve=True)
    assert cfg.pop("augmentation") == "none"
    assert set(cfg) == set(inspect.signature(load_data).parameters)
    assert cfg == {
        "dataset": "mnist",
        "source": source,
        "root": "somewhere",
        "split": "first",
        "validation_size": 1000 if source == "embedded" else 5000,
        "train_size": None,
        "test_size": None,
    }


def test_configured_embedded_data_make_batches():
    cfg = OmegaConf.to_container(OmegaConf.load(CONF / "embedded.yaml"), resolve=True)
    augmentation = cfg.pop("augmentation")
    assert augmentation in list(AUGMENTATIONS)
    train, _, _ = load_data(**cfg)
    loader = TrainBatches(train, batch_size=250, seed=0, augmentation=augmentation)
    x, y = next(iter(loader))
    assert len(loader) == 36
    assert x.shape == (250, 1, 28, 28)
    assert y.shape == (250,)
    assert 0.11 < x.mean() < 0.15  # 0.1307 over the official training images
