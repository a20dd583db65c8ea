import hashlib
import shutil
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image

from rewire.data import embedded
from rewire.data.embedded import FOLDER, SHA256, SIZES, load_embedded
from rewire.errors import InputError


@pytest.fixture(scope="module", params=["train", "test"])
def shipped(request):
    return request.param, load_embedded(request.param)


def test_embedded_files_belong_to_the_package_and_are_small():
    assert {path.name for path in files("rewire.data").joinpath("embedded").iterdir()} == {
        "README.md",
        "labels.npz",
        "mnist_labels.npz",
        "mnist_test.webp",
        "mnist_train.webp",
        "test.webp",
        "train.webp",
    }
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    mnist = sum(size for name, size in sizes.items() if name.startswith("mnist_"))
    assert mnist <= 2_500_000
    assert sum(sizes.values()) - mnist <= 12_000_000


def test_embedded_content_has_its_documented_hash(shipped):
    """Decode and hash the files without the code under test, tile by tile."""
    split, data = shipped
    sheet = np.asarray(Image.open(FOLDER / f"{split}.webp"))
    digest = hashlib.sha256()
    for row in range(0, sheet.shape[0], 32):
        for column in range(0, sheet.shape[1], 32):
            tile = sheet[row : row + 32, column : column + 32]
            digest.update(b"".join(tile[:, :, channel].tobytes() for channel in range(3)))
    with np.load(FOLDER / "labels.npz") as table:
        for name in ("labels", "indices"):
            digest.update(table[f"{split}_{name}"].astype("<i8").tobytes())
    assert digest.hexdigest() == SHA256[split]
    assert f"`{digest.hexdigest()}`" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert embedded.content_hash(data) == digest.hexdigest()


def test_embedded_is_class_balanced_and_in_official_order(shipped):
    split, data = shipped
    assert data.images.shape == (SIZES[split], 3, 32, 32)
    assert torch.bincount(data.labels).tolist() == [SIZES[split] // 10] * 10
    assert (data.indices.diff() > 0).all()
    assert data.indices[0] == 0
    assert data.indices[-1] < {"train": 50_000, "test": 10_000}[split]


def test_embedded_labels_are_the_published_first_ones():
    """Official order: frog, truck, truck, deer, automobile ... and cat, ship, ship, airplane ..."""
    assert load_embedded("train").labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert load_embedded("test").labels[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]


def test_sheet_and_images_are_inverse():
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 32, 32), np.uint8)
    sheet = embedded._to_sheet(images)
    assert sheet.shape == (64, 1600, 3)
    assert np.array_equal(sheet[32:, 96:128].transpose(2, 0, 1), images[53])
    assert np.array_equal(embedded._from_sheet(sheet), images)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "embedded")
    return tmp_path / "embedded"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_one_pixel(path):
    sheet = np.asarray(Image.open(path)).copy()
    sheet[5, 7, 1] ^= 1
    Image.fromarray(sheet).save(path, lossless=True, quality=0, method=0)


def other_shape(path):
    Image.new("RGB", (33, 33)).save(path)


def change_one_label(path):
    with np.load(path) as table:
        arrays = dict(table)
    arrays["test_labels"][3] += 1
    np.savez(path, **arrays)


def drop_labels(path):
    with np.load(path) as table:
        np.savez(path, **{name: table[name] for name in table if name != "test_labels"})


def shorten_labels(path):
    with np.load(path) as table:
        np.savez(path, **{name: table[name][:10] for name in table})


@pytest.mark.parametrize(
    ("name", "damage", "found"),
    [
        ("test.webp", lambda path: path.unlink(), "No such file"),
        ("test.webp", truncate, "Error"),
        ("test.webp", lambda path: path.write_bytes(b""), "cannot identify"),
        ("test.webp", change_one_pixel, "SHA-256"),
        ("test.webp", other_shape, "ValueError"),
        ("labels.npz", lambda path: path.unlink(), "No such file"),
        ("labels.npz", truncate, "Error|Bad"),
        ("labels.npz", lambda path: path.write_bytes(b""), "BadZipFile"),
        ("labels.npz", lambda path: path.write_bytes(b"no archive"), "BadZipFile"),
        ("labels.npz", drop_labels, "KeyError"),
        ("labels.npz", change_one_label, "SHA-256"),
        ("labels.npz", shorten_labels, "1000 images, 10 labels"),
    ],
)
def test_damaged_embedded_file_is_one_clear_error(copy, name, damage, found):
    damage(copy / name)
    with pytest.raises(InputError, match=f"(?s)embedded CIFAR-10.*({found}).*Allowed") as caught:
        load_embedded("test", folder=copy)
    assert str(copy) in str(caught.value)


def test_missing_labels_name_the_table(copy):
    (copy / "labels.npz").unlink()
    with pytest.raises(InputError, match=r"labels\.npz"):
        load_embedded("train", folder=copy)
