"""One training in two processes: masks identical in both, and the result that of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from training.test_training_runner import TRADES, Stop, assert_equal, changed, run

from rewire.data.batches import TrainBatches
from rewire.data.images import ImageSet
from rewire.errors import InputError
from rewire.models.norm import BatchNorm2d
from rewire.tracking import NullTracker
from rewire.training.distributed import BatchShare, Group, check_alike
from rewire.training.processes import check_processes, joined, start_helper
from rewire.training.runner import fit_network
from rewire.training.sharednorm import share_norms

WAIT = 60.0


def two(**values):
    return changed(trainer_processes=2, trainer_threads=1, **values)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A training in two processes that nothing interrupted."""
    return run(two(), tmp_path_factory.mktemp("pair"))


def test_one_other_process_is_started_and_ends_as_it_should(tmp_path, monkeypatch):
    started = []

    def start(job):
        started.append(start_helper(job))
        return started[-1]

    monkeypatch.setattr("rewire.training.processes.start_helper", start)
    run(two(trainer_epochs=1), tmp_path)
    assert [helper.returncode for helper in started] == [0]


def test_two_processes_train_the_network_of_one(tmp_path):
    # One epoch: the order of sums differs, and once a weight dies in one of them alone, other
    # entries are drawn.
    pair = run(two(trainer_epochs=1), tmp_path / "pair")
    one = changed(trainer_threads=1, trainer_engine="dense", trainer_epochs=1)
    alone = run(one, tmp_path / "alone")
    assert torch.equal(pair.model.theta > 0, alone.model.theta > 0)
    ours, theirs = pair.model.state_dict(), alone.model.state_dict()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)
    assert pair.metrics == alone.metrics
    for row, expected in zip(pair.history, alone.history, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_training_in_two_processes_resumes_exactly(pair, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        run(two(), tmp_path, report=Stop(2, RuntimeError("power cut")))
    lines = []
    resumed = run(two(), tmp_path, report=lines.append)
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]
    assert_equal(resumed, pair)


def alike(rank: int, folder: str) -> None:
    """One of two processes: what it computed goes to `folder`."""
    group = Group(rank, 2)
    found = {}
    with joined(group, meeting=f"{folder}/meeting", device="cpu"):
        fitted = fit_network(
            two(objective=TRADES, rewire_name="weighted", trainer_epochs=1),
            checkpoints=Path(folder, "checkpoints"),
            tracker=NullTracker(),
            report=lambda line: None,
            group=group,
        )
        found["theta"] = fitted.model.theta.detach()
        found["births"] = torch.as_tensor(fitted.rewiring.births)
        found["norm"] = normalised(group)
        found["shared"] = group.share(["first", "second"][rank])
        try:
            check_alike(torch.tensor([0.5, -0.0 if rank else 0.0]), group, step=7)
        except RuntimeError as error:
            found["refused"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")


def normalised(group: Group | None) -> dict[str, torch.Tensor]:
    """Output, gradients and statistics of a BatchNorm, for the images of this process or all."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(8, 3, 4, 4, generator=random) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1) + 2
    factor = torch.rand(8, 3, 4, 4, generator=random)
    body = nn.Sequential(BatchNorm2d(3))
    if group is not None:
        share_norms(body, group)
        x, factor = x[group.rank :: 2], factor[group.rank :: 2]
    x = x.clone().requires_grad_()
    y = body(x)
    (y.sigmoid() * factor).sum().backward()
    weight = body[0].weight.grad
    if group is not None:
        dist.all_reduce(weight)
    return {"y": y.detach(), "x": x.grad, "weight": weight} | dict(body.named_buffers())


def test_both_processes_hold_the_same_network_and_share_their_statistics(tmp_path):
    mp.spawn(alike, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(first["theta"].view(torch.int32), second["theta"].view(torch.int32))
    assert torch.equal(first["births"], second["births"])
    assert first["births"].sum() > 0
    assert first["shared"] == second["shared"] == "first"
    assert "weights differ after step 7" in first["refused"]
    assert first["refused"] == second["refused"]

    whole = normalised(None)
    for name, expected in whole.items():
        for rank, found in enumerate((first, second)):
            mine = expected[rank::2] if name in ("x", "y") else expected
            torch.testing.assert_close(found["norm"][name], mine, rtol=1e-4, atol=1e-5)


def test_the_shares_of_a_batch_are_the_batch():
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    data = ImageSet(images, torch.arange(12), torch.arange(12))

    def batches():
        return TrainBatches(data, batch_size=6, seed=0, augmentation="crop", channels_last=True)

    whole, parts = batches(), [BatchShare(batches(), Group(rank, 2)) for rank in (0, 1)]
    for (x, y), *shares in zip(whole, *parts, strict=True):
        for rank, (own_x, own_y) in enumerate(shares):
            assert torch.equal(own_x, x[rank::2])
            assert torch.equal(own_y, y[rank::2])
    assert [len(part) for part in parts] == [2, 2]
    state = parts[0].state_dict()
    assert state == whole.state_dict()
    parts[1].load_state_dict(state | {"epoch": 5})
    assert parts[1].batches.epoch == 5
    assert Group(0, 2).seed(3) == 3 != Group(1, 2).seed(3) != Group(2, 3).seed(3)


@pytest.mark.parametrize(
    ("count", "more", "message"),
    [
        (0, {}, r"trainer\.processes is 0\. Allowed: a whole number from 1"),
        (1.5, {}, r"trainer\.processes is 1\.5"),
        (True, {}, r"trainer\.processes is True"),
        (3, {}, r"does not divide trainer\.batch_size 16"),
        (2, {"compiling": "default"}, r"trainer\.compile is default.*Allowed: trainer\.compile"),
        (16, {"device": torch.device("cuda")}, r"but \d+ GPUs are usable"),
    ],
)
def test_numbers_of_processes_that_cannot_be_used(count, more, message):
    options = {"batch_size": 16, "device": torch.device("cpu"), "compiling": False} | more
    assert check_processes(1, **options) == 1
    with pytest.raises(InputError, match=message):
        check_processes(count, **options)


SCRIPT = """
import json, sys
from pathlib import Path
from rewire.tracking import NullTracker
from rewire.training import processes
from rewire.training.runner import train
processes.GRACE = 0.1
processes.HELPER = sys.argv[3] or processes.HELPER
start = processes.start_helper
def told(job):
    helper = start(job)
    print("helper", helper.pid, flush=True)
    return helper
processes.start_helper = told
train(json.loads(sys.argv[1]), checkpoints=Path(sys.argv[2]), tracker=NullTracker(),
      report=lambda line: print(line, flush=True))
"""


def started(tmp_path, helper: str = "") -> subprocess.Popen:
    arguments = [json.dumps(two(trainer_epochs=10_000)), str(tmp_path), helper]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_process_that_fails_ends_the_others(tmp_path):
    with started(tmp_path, "raise SystemExit(3)") as process:
        _, error = process.communicate(timeout=WAIT)
    assert process.returncode == 1
    assert "error: process 2 of 2 ended with 3" in error


def test_no_process_outlives_the_first_one(tmp_path):
    with started(tmp_path) as process:
        pid = int(process.stdout.readline().split()[1])
        assert process.stdout.readline().startswith("epoch 1/")
        os.kill(pid, 0)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT)
        deadline = time.monotonic() + WAIT
        while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                break  # ended; whoever inherited it has not asked
            time.sleep(0.05)
        else:
            assert time.monotonic() < deadline
