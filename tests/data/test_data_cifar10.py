import rewire  # noqa: F401 - first, because it lets torchvision import beside a CPU build of torch

# isort: split
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from rewire.data import cifar10, embedded, make_embedded
from rewire.data.cifar10 import BINARY_FOLDER, PYTHON_FOLDER, load_cifar10
from rewire.errors import InputError
from rewire.files import sha256

RECORDS = 40  # images per synthetic file
NAMES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


@pytest.fixture(scope="module")
def synthetic():
    """Labels (6, RECORDS) and images (6, RECORDS, 3, 32, 32) of six small files."""
    random = np.random.default_rng(0)
    labels = random.permuted(np.tile(np.arange(10, dtype=np.uint8), (6, RECORDS // 10)), axis=1)
    return labels, random.integers(0, 256, (6, RECORDS, 3, 32, 32), np.uint8)


@pytest.fixture
def binary(tmp_path, monkeypatch, synthetic):
    """A root with the binary version of the synthetic files, accepted as the official ones."""
    (tmp_path / BINARY_FOLDER).mkdir()
    for name, labels, images in zip(NAMES, *synthetic, strict=True):
        path = tmp_path / BINARY_FOLDER / f"{name}.bin"
        with open(path, "wb") as file:
            for label, image in zip(labels, images, strict=True):
                file.write(bytes([label]) + image.tobytes())
        monkeypatch.setitem(cifar10.SHA256, path.name, sha256(path))
    return tmp_path


@pytest.fixture
def python(tmp_path, monkeypatch, synthetic):
    """A root with the python version of the synthetic files, accepted as the official ones."""
    folder = tmp_path / PYTHON_FOLDER
    folder.mkdir()
    contents = {
        name: {"data": images.reshape(RECORDS, -1), "labels": labels.tolist()}
        for name, labels, images in zip(NAMES, *synthetic, strict=True)
    }
    contents["batches.meta"] = {"label_names": [str(n) for n in range(10)]}
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in NAMES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def assert_synthetic(root, synthetic, source):
    labels, images = synthetic
    for split, part in (("train", slice(0, 5)), ("test", slice(5, 6))):
        data = load_cifar10(source=source, root=root, split=split)
        assert np.array_equal(data.images, images[part].reshape(-1, 3, 32, 32))
        assert np.array_equal(data.labels, labels[part].reshape(-1))
        assert torch.equal(data.indices, torch.arange(len(data)))


@pytest.mark.parametrize("source", ["folder", "download"])
def test_binary_files(binary, synthetic, source, no_network):
    assert_synthetic(str(binary), synthetic, source)


@pytest.mark.parametrize("source", ["folder", "download"])
def test_python_files(python, synthetic, source, no_network):
    assert_synthetic(python, synthetic, source)


def test_files_that_are_there_are_read_where_nothing_can_be_written(
    python, synthetic, no_network, monkeypatch
):
    def refuse(path):
        raise InputError(f"cannot write to '{path}'")

    monkeypatch.setattr(cifar10, "writable_folder", refuse)
    assert_synthetic(python, synthetic, "download")


def test_binary_files_come_first(binary, synthetic):
    (binary / PYTHON_FOLDER).mkdir()
    assert_synthetic(binary, synthetic, "folder")


def test_home_in_root_is_expanded(binary, synthetic, monkeypatch):
    monkeypatch.setenv("HOME", str(binary))
    assert_synthetic("~", synthetic, "folder")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def make_huge(path):
    with open(path, "wb") as handle:
        handle.truncate(2**40)  # takes no room


DAMAGES = [
    (make_device, "not a regular file"),
    (make_huge, "1,099,511,627,776 bytes, more than the"),
    (lambda path: path.unlink(), "No such file"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes with"),
    (lambda path: path.write_bytes(b""), "0 bytes with"),
    (flip_a_bit, "bytes with"),
    (make_folder, "Is a directory"),
]


@pytest.mark.parametrize(("damage", "found"), DAMAGES)
@pytest.mark.parametrize(
    ("split", "name"), [("train", "data_batch_4.bin"), ("test", "test_batch.bin")]
)
def test_damaged_binary_file(binary, split, name, damage, found):
    damage(binary / BINARY_FOLDER / name)
    with pytest.raises(InputError) as caught:
        load_cifar10(source="folder", root=binary, split=split)
    message = str(caught.value)
    assert str(binary / BINARY_FOLDER / name) in message
    assert found in message
    assert f"30730000 bytes with SHA-256 {cifar10.SHA256[name]}" in message
    assert "data.source=embedded" in message


@pytest.mark.parametrize(("damage", "found"), DAMAGES)
@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_damaged_python_file(python, name, damage, found):
    damage(python / PYTHON_FOLDER / name)
    with pytest.raises(InputError) as caught:
        load_cifar10(source="folder", root=python, split="train")
    message = str(caught.value)
    assert str(python / PYTHON_FOLDER / name) in message
    assert found in message
    assert "data.source=embedded" in message


def test_empty_root(tmp_path):
    with pytest.raises(InputError) as caught:
        load_cifar10(source="folder", root=tmp_path / "nowhere", split="test")
    message = str(caught.value)
    for part in ("nowhere", BINARY_FOLDER, PYTHON_FOLDER, "REWIRE_DATA", "data.root", "embedded"):
        assert part in message


def test_download_without_a_network(tmp_path, no_network):
    with pytest.raises(InputError) as caught:
        load_cifar10(source="download", root=tmp_path / "new", split="test")
    message = str(caught.value)
    for part in ("new", "unreachable", "REWIRE_DATA", "data.root", "data.source=embedded"):
        assert part in message


class Response(io.BytesIO):
    """What `urlopen` returns, as far as torchvision uses it."""

    url = None

    @property
    def length(self):
        return len(self.getbuffer())


@pytest.fixture
def archive(python, monkeypatch):
    """The python version as the tar file that every address serves."""
    path = python / CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(python / PYTHON_FOLDER, PYTHON_FOLDER)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args: Response(path.read_bytes()))
    return path


def test_download(archive, tmp_path, synthetic):
    assert_synthetic(tmp_path / "fresh", synthetic, "download")
    assert (tmp_path / "fresh" / PYTHON_FOLDER / "test_batch").is_file()


def test_damaged_download(archive, tmp_path):
    flip_a_bit(archive)
    with pytest.raises(
        InputError, match=r"cannot download CIFAR-10 .*fresh.*data\.source=embedded"
    ):
        load_cifar10(source="download", root=tmp_path / "fresh", split="train")


def test_download_into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        load_cifar10(source="download", root=tmp_path / "file", split="train")


@pytest.mark.parametrize(
    ("source", "split", "text"),
    [
        ("embeded", "train", "unknown data source 'embeded'. Did you mean 'embedded'?"),
        ("folder", "val", "unknown split 'val'.* Allowed: test, train"),
    ],
)
def test_unknown_names(source, split, text, tmp_path):
    with pytest.raises(InputError, match=text.replace("?", r"\?")):
        load_cifar10(source=source, root=tmp_path, split=split)


def test_importing_the_package_does_not_import_torchvision():
    code = (
        "import sys, rewire.data, rewire.data.make_embedded as m; "
        "m.load_cifar10(source='embedded', root='', split='test'); "
        "sys.exit('torchvision.datasets' in sys.modules or 'pytorch_lightning' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(filter(None, sys.path))}
    )
    assert result.returncode == 0


@pytest.fixture
def small_subset(monkeypatch, synthetic):
    """Sizes and hashes as if 5 training and 2 test images of every class were to be embedded."""
    labels, images = synthetic
    monkeypatch.setattr(embedded, "COLUMNS", 10)
    wanted = {}
    for split, part, each in (("train", slice(0, 5), 5), ("test", slice(5, 6), 2)):
        flat, pixels = labels[part].reshape(-1), images[part].reshape(-1, 3, 32, 32)
        chosen = sorted(n for c in range(10) for n in np.flatnonzero(flat == c)[:each])
        monkeypatch.setitem(embedded.SIZES, split, 10 * each)
        content = pixels[chosen].tobytes()
        for vector in (flat[chosen], np.array(chosen)):
            content += vector.astype("<i8").tobytes()
        monkeypatch.setitem(embedded.SHA256, split, hashlib.sha256(content).hexdigest())
        wanted[split] = (pixels[chosen], flat[chosen], chosen)
    return wanted


def test_make_embedded_writes_the_first_images_of_every_class(binary, small_subset):
    folder = binary / "made"
    assert make_embedded.main([str(binary), "--output", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == {"train.webp", "test.webp", "labels.npz"}
    for split, (images, labels, indices) in small_subset.items():
        data = embedded.load_embedded(split, folder=folder)
        assert np.array_equal(data.images, images)
        assert np.array_equal(data.labels, labels)
        assert data.indices.tolist() == indices


def test_make_embedded_reports_a_missing_root(tmp_path, capsys):
    assert make_embedded.main([str(tmp_path / "nowhere"), "--output", str(tmp_path)]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
