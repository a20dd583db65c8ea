from __future__ import annotations

import time
import zipfile

import numpy as np
import pytest

from rewire.errors import InputError
from rewire.evaluation.ledger import LARGEST, load_ledger, save_ledger
from rewire.files import sha256


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "indices": np.arange(10_000),
        "robust_correct": rng.random(10_000) < 0.4,
        "fooled_at_restart": rng.integers(-2, 10, 10_000).astype(np.int16),
    }


def test_round_trip_and_size(arrays, tmp_path):
    path = tmp_path / "deep" / "ledger.npz"
    save_ledger(path, arrays)
    loaded = load_ledger(path)
    assert sorted(loaded) == sorted(arrays)
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    assert path.stat().st_size < 40_000


def test_equal_arrays_give_equal_bytes(arrays, tmp_path, monkeypatch):
    save_ledger(tmp_path / "a.npz", arrays)
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    monkeypatch.setattr(
        time, "localtime", lambda *_: time.struct_time((2033, 5, 18, 0, 0, 0, 2, 138, 0))
    )
    save_ledger(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert sha256(tmp_path / "a.npz") == sha256(tmp_path / "b.npz")
    arrays["robust_correct"][17] ^= True
    save_ledger(tmp_path / "c.npz", arrays)
    assert sha256(tmp_path / "a.npz") != sha256(tmp_path / "c.npz")


def test_a_missing_ledger_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="missing ledger"):
        load_ledger(tmp_path / "none.npz")


def test_every_kind_of_damage_is_an_input_error(arrays, tmp_path):
    path = tmp_path / "ledger.npz"
    save_ledger(path, arrays)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    damaged = [b"", b"no npz", whole[: len(whole) // 2], whole[:-30], bytes(flipped)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            load_ledger(path)
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(InputError, match="damaged"):
        load_ledger(tmp_path / "array.npy")


def test_flags_that_zip_readers_stumble_over_are_damage(tmp_path):
    path = tmp_path / "ledger.npz"
    save_ledger(path, {"indices": np.arange(3)})
    whole = path.read_bytes()
    directory = whole.rindex(b"PK\x01\x02")
    # Flags at 8 (encrypted, patched data) and the version needed at 6 of the directory's entry.
    for place, bits in ((8, 1), (8, 32), (6, 64)):
        broken = bytearray(whole)
        broken[directory + place] ^= bits
        path.write_bytes(broken)
        with pytest.raises(InputError, match="damaged"):
            load_ledger(path)


def test_arrays_that_are_not_per_image_are_refused(arrays, tmp_path):
    with pytest.raises(InputError, match="one length"):
        save_ledger(tmp_path / "l.npz", {**arrays, "short": np.arange(3)})
    with pytest.raises(InputError, match="indices"):
        save_ledger(tmp_path / "l.npz", {"correct": np.ones(3, dtype=bool)})
    with pytest.raises(InputError, match="one-dimensional"):
        save_ledger(tmp_path / "l.npz", {"indices": np.ones((3, 2))})
    assert list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    with pytest.raises(InputError, match="indices"):
        load_ledger(tmp_path / "other.npz")


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_is(tmp_path, monkeypatch):
    path = tmp_path / "ledger.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("indices", "labels", "clean_correct"):
            archive.writestr(f"{name}.npy", bytes(LARGEST // 2))
    assert path.stat().st_size < LARGEST / 100
    monkeypatch.setattr(np, "load", lambda *args, **options: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match="100,663,296 bytes unpacked, more than the 67,108,864"):
        load_ledger(path)


def test_a_device_is_no_ledger(tmp_path):
    (tmp_path / "ledger.npz").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        load_ledger(tmp_path / "ledger.npz")
