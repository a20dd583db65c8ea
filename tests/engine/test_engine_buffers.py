"""Memory for activations is lent, taken back and lent again; and a forked child can compute."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest
import torch
from helpers.small import OWN
from helpers.toys_engine import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rewire.engine import buffers, library
from rewire.engine.network import use_engine
from rewire.models.factory import build_model

TYPES = [torch.float32, torch.bfloat16, torch.int32]


@pytest.fixture(autouse=True)
def nothing_lent(engine):
    gc.collect()
    buffers.give_back()


@pytest.fixture
def asked(monkeypatch):
    """Sizes of the memory that the system was asked for."""
    sizes, new = [], buffers._Buffer._new

    def count(self):
        sizes.append(self.size)
        return new(self)

    monkeypatch.setattr(buffers._Buffer, "_new", count)
    return sizes


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 7, 1), (5, 64, 33, 16)])
def test_it_is_an_ordinary_tensor(shape, dtype):
    x = buffers.empty(shape, dtype)
    assert (tuple(x.shape), x.dtype, x.device.type) == (shape, dtype, "cpu")
    assert x.is_contiguous()
    assert x.data_ptr() % 4096 == 0
    x.fill_(3)
    assert x.sum() == 3 * x.numel()


@pytest.mark.parametrize("shape", [(0,), (0, 3, 4), (2, 0)])
def test_a_tensor_without_elements_needs_no_memory(asked, shape):
    assert buffers.empty(shape, torch.float32).shape == shape
    assert asked == []


def test_large_ones_lie_on_whole_huge_pages():
    assert buffers.empty((600_000,), torch.float32).data_ptr() % 2**21 == 0


def test_memory_that_is_given_back_is_lent_again(asked):
    x = buffers.empty((100, 1000), torch.float32)
    address = x.data_ptr()
    del x
    for shape, dtype in [((1000, 100), torch.float32), ((199_000,), torch.bfloat16)]:
        again = buffers.empty(shape, dtype)
        assert again.data_ptr() == address
        del again
    assert len(asked) == 1
    buffers.empty((300, 1000), torch.float32)
    assert len(asked) == 2


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.lists(st.integers(1, 300_000), min_size=2, max_size=12))
def test_tensors_that_live_at_once_do_not_overlap_and_little_is_wasted(counts):
    lent = [buffers.empty((count,), torch.int32) for count in counts]
    for number, x in enumerate(lent):
        x.fill_(number)
    assert all((x == number).all() for number, x in enumerate(lent))
    for count in counts:
        assert buffers._Buffer(4 * count).size <= max(4096, 4 * count * 1.125 + 4096)


@pytest.mark.parametrize(
    "keep", [lambda x: x[3:5], lambda x: x.view(torch.int32), lambda x: x.numpy(), lambda x: x.t()]
)
def test_whatever_still_looks_at_memory_keeps_it(keep):
    x = buffers.empty((100, 1000), torch.float32)
    x.zero_()
    kept = keep(x)
    del x
    gc.collect()
    buffers.empty((100, 1000), torch.float32).fill_(1)
    assert (kept == 0).all()
    del kept


def test_what_nobody_uses_goes_back_to_the_system(asked):
    held, other = (buffers.empty((50_000,), torch.float32) for _ in range(2))
    held.fill_(7)
    del other
    buffers.give_back()
    assert not any(buffers._free.values())
    assert (held == 7).all()
    del held
    assert sum(map(len, buffers._free.values())) == 1
    assert len(asked) == 2


def test_what_tensors_of_other_sizes_need_does_not_add_up(monkeypatch, asked):
    monkeypatch.setattr(buffers, "_most", 0)
    held = 0
    for count in range(100, 0, -1):  # as the batches of an attack
        tensors = [buffers.empty((count, 10_000), torch.float32) for _ in range(3)]
        held = max(held, sum(buffers._sizes.values()))
        del tensors
    assert held <= 1.5 * buffers._most == 1.5 * 3 * asked[0]
    asked.clear()
    for _ in range(3):  # what one batch needs is kept from one to the next
        tensors = [buffers.empty((50, 10_000), torch.float32) for _ in range(3)]
        del tensors
    assert len(asked) <= 3


def test_more_memory_than_there_is_is_refused_with_its_size():
    with pytest.raises(MemoryError, match=r"no memory for 4,611,686,018,427,387,904 bytes"):
        buffers.empty((2**60,), torch.float32)


def test_another_thread_may_take_the_last_one_first(monkeypatch):
    class Taken(list):
        def __len__(self):
            return 1

    size = buffers._Buffer(4000).size
    monkeypatch.setitem(buffers._free, size, Taken())
    assert buffers.empty((1000,), torch.float32).fill_(1).sum() == 1000


def network():
    return use_engine(build_model("vgg11", sparsity=0.9, seed=0, width=0.25, image_size=16))


def test_after_the_first_steps_a_training_asks_for_no_more_memory(installed, asked):
    model = network()
    x = torch.rand(64, 3, 16, 16, generator=seeded(0))
    counts = []
    for _ in range(5):
        model.zero_grad()
        F.cross_entropy(model(x), torch.zeros(64, dtype=torch.int64)).backward()
        counts.append(len(asked))
    assert counts[0] > 0
    assert counts[1:] == counts[1:2] * 4


def test_threads_may_compute_at_once():
    models = [network().eval() for _ in range(3)]
    x = torch.rand(40, 3, 16, 16, generator=seeded(0))
    with torch.no_grad():
        expected = models[0](x)
    found = [None] * 3

    def compute(number):
        torch.set_num_threads(2)
        with torch.no_grad():
            found[number] = [models[number](x) for _ in range(10)]

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_num_threads(1)
    assert all(torch.equal(logits, expected) for each in found for logits in each)


def run_script(text):
    """What a new Python process prints; no word on the error stream is accepted."""
    environment = os.environ | {"PYTHONPATH": OWN["PYTHONPATH"]}
    environment.pop(library.CHOICE, None)
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


SCRIPT = """
import os, sys, torch
from rewire.engine.network import use_engine
from rewire.models.factory import build_model
torch.set_num_threads(2)
model = use_engine(build_model("vgg11", sparsity=0.9, seed=0, width=0.25, image_size=16)).eval()
x = torch.rand(70, 3, 16, 16, generator=torch.Generator().manual_seed(0))
def gradient():
    x.requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]
"""


def test_a_forked_child_of_a_process_with_threads_computes_the_same():
    said = run_script(
        SCRIPT
        + """
with torch.no_grad():
    before = model(x)
for generation in range(2):
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status)) if generation else None
        assert status == 0
        continue
    torch.set_num_threads(2)
    with torch.no_grad():
        same = [torch.equal(model(x), before) for _ in range(20)]
    os._exit(0 if all(same) else 3)
"""
    )
    assert said == []


def test_the_parent_computes_on_after_a_fork():
    said = run_script(
        SCRIPT
        + """
before = gradient()
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
print(all(torch.equal(gradient(), before) for _ in range(10)))
"""
    )
    assert said == ["True"]


def test_a_process_ends_without_a_word_while_memory_is_lent():
    said = run_script(SCRIPT + "kept = model(x), gradient()\nprint('done')\n")
    assert said == ["done"]
