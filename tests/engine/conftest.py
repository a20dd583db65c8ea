"""Every build of the engine that this machine can run."""

from __future__ import annotations

import os

import pytest

from rewire.engine import library
from rewire.errors import InputError


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
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.CHOICE, isa)
        yield isa


@pytest.fixture
def engine(monkeypatch):
    """The build that this machine uses by itself."""
    monkeypatch.delenv(library.CHOICE, raising=False)
    if library.instruction_set() is None:
        pytest.skip(library.unavailable())
    return library.instruction_set()
