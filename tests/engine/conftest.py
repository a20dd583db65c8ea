"""Every build of the engine that this machine can run."""

from __future__ import annotations

import os

import pytest
import torch

from rewire.engine import blocked, inference, library, ops, program
from rewire.errors import InputError


def skip(reason: str) -> None:
    """The engine cannot be tested here; but one that is to be built again would be forgotten."""
    if "older than its source" in reason:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module", params=library.ISAS[::-1])
def build(request):
    """Name of a build, which computes everything in the test."""
    isa = request.param
    if os.environ.get(library.FILE):
        if isa != library.instruction_set():
            pytest.skip(f"{library.FILE} names the build to test")
        yield isa
        return
    try:
        library.open_build(isa)
    except InputError as error:
        skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.CHOICE, isa)
        yield isa


@pytest.fixture(scope="module")
def installed():
    """The builds of the installation are compared, or chosen from; not where one file is tested."""
    if os.environ.get(library.FILE):
        pytest.skip(f"{library.FILE} names the build to test")


@pytest.fixture
def engine(monkeypatch):
    """The build that this machine uses by itself."""
    monkeypatch.delenv(library.CHOICE, raising=False)
    if library.instruction_set() is None:
        skip(library.unavailable())
    return library.instruction_set()


@pytest.fixture(autouse=os.environ.get(library.FILE) is not None)
def exact_memory(monkeypatch):
    """For sanitizers: activations end where their memory ends, and are not lent out again."""
    for module in (blocked, inference, ops, program):
        monkeypatch.setattr(module, "empty", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(program.Program, "_let_go", lambda *_: None)
