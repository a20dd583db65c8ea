"""Files of universal noise: round trip, and everything that is refused."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from rewire.attacks.universal_files import load_noise, save_noise
from rewire.errors import InputError

PIXELS = 784
PAIRS = [(3, 0.25), (2, 0.25), (1, 0.15), (5, 0.35), (8, 0.2)]


def test_noise_survives_the_disk(tmp_path):
    noise = torch.rand(len(PAIRS), PIXELS, generator=torch.Generator().manual_seed(3)) * 0.1
    noise[0, 0] = torch.tensor(PAIRS[0][1])
    save_noise(tmp_path / "noise.safetensors", noise, pairs=PAIRS, variant="G2")
    loaded, pairs, variant = load_noise(tmp_path / "noise.safetensors")
    assert torch.equal(loaded, noise)
    assert pairs == PAIRS
    assert variant == "G2"
    first = (tmp_path / "noise.safetensors").read_bytes()
    for _ in range(20):
        save_noise(tmp_path / "noise.safetensors", noise, pairs=PAIRS, variant="G2")
        assert (tmp_path / "noise.safetensors").read_bytes() == first


def test_noise_of_other_pairs_than_expected(tmp_path):
    path = tmp_path / "noise.safetensors"
    save_noise(path, torch.zeros(2, PIXELS), pairs=PAIRS[:2], variant="G1")
    assert load_noise(path, expected=[[3, 0.25], [2, 0.25]])[1] == PAIRS[:2]
    for other in (PAIRS[:1], [PAIRS[1], PAIRS[0]], [(3, 0.25), (2, 0.2)], []):
        with pytest.raises(InputError, match=r"is of other pairs: 3/.25 2/.25, not"):
            load_noise(path, expected=other)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"noise": torch.zeros(1, PIXELS)}, r"shape \(1, 784\) for 2 pairs"),
        ({"noise": torch.zeros(2, 700)}, r"Allowed: torch.float32 of shape \(2, 784\)"),
        ({"noise": torch.zeros(2, PIXELS).double()}, "float64"),
        ({"noise": torch.full((2, PIXELS), 0.2)}, "exceeds the limits"),
        ({"noise": torch.full((2, PIXELS), math.nan)}, "exceeds the limits"),
        ({"pairs": [(1, 0.1), (2, 1.1)]}, "at most 1"),
        ({"pairs": [(1, 0.1), (12, 0.3)]}, "0 to 9"),
        ({"variant": "G0"}, "unknown noise variant"),
    ],
)
def test_wrong_noise_is_neither_written_nor_read(tmp_path, changed, message):
    good = {"noise": torch.zeros(2, PIXELS), "pairs": [(1, 0.1), (2, 0.3)], "variant": "G1"}
    value = good | changed
    path = tmp_path / "noise.safetensors"
    with pytest.raises(InputError, match=message):
        save_noise(path, value["noise"], pairs=value["pairs"], variant=value["variant"])
    assert not path.exists()
    made = {"pairs": value["pairs"], "variant": value["variant"]}
    save_file({"noise": value["noise"]}, path, metadata={"made": json.dumps(made)})
    with pytest.raises(InputError, match=message):
        load_noise(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "noise.safetensors"
    with pytest.raises(InputError, match="missing noise"):
        load_noise(path)
    save_noise(path, torch.zeros(1, PIXELS), pairs=[(1, 0.1)], variant="G1")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_noise(path)
    for made in ("", "{", "[]", '{"variant": "G1"}', '{"pairs": [1], "variant": "G1"}'):
        metadata = {"made": made} if made else None
        save_file({"noise": torch.zeros(1, PIXELS)}, path, metadata=metadata)
        with pytest.raises(InputError, match="damaged or of another kind"):
            load_noise(path)
    made = '{"pairs": [[1, 0.1]], "variant": "G1"}'
    save_file({"other": torch.zeros(1)}, path, metadata={"made": made})
    with pytest.raises(InputError, match="damaged or of another kind"):
        load_noise(path)
