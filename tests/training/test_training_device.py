"""Choice of device and precision on machines with and without a GPU."""

from __future__ import annotations

import pytest
import torch

from rewire.errors import InputError
from rewire.training.device import choose_device, choose_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[False, True], ids=["no GPU", "GPU"])
def gpu(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_auto_takes_a_gpu_where_there_is_one(gpu):
    assert choose_device("auto") == (CUDA if gpu else CPU)
    assert choose_device("cpu") == CPU


def test_a_gpu_that_is_not_there_is_refused(gpu):
    if gpu:
        assert choose_device("cuda") == CUDA
    else:
        with pytest.raises(InputError, match=r"'cuda', but no GPU is usable\. Allowed here: auto"):
            choose_device("cuda")


@pytest.mark.parametrize("fast", [False, True])
def test_auto_precision_is_bf16_where_the_hardware_computes_it(monkeypatch, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args, **kwargs: fast)
    for device in (CPU, CUDA):
        assert choose_precision("auto", device) == ("bf16-mixed" if fast else "32-true")
        assert choose_precision("32-true", device) == "32-true"
        assert choose_precision("bf16-mixed", device) == "bf16-mixed"
