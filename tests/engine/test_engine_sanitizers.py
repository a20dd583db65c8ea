"""The kernels under sanitizers (`make test-engine`): all tests of the engine, in other processes.

Address and undefined-behaviour sanitizers see reads and writes beyond a tensor's memory, because
the memory of tensors is theirs, too; the thread sanitizer sees the pool alone. Each check is shown
a planted fault, so that one that sees nothing is noticed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rewire.engine import library

pytestmark = pytest.mark.sanitizers
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NATIVE = ROOT / "src/rewire/engine/native"
SEARCH = ROOT / "tests/connectivity/test_connectivity_nearest.py"  # its kernel is one of them
COMMON = ["-std=c++20", "-O1", "-g", "-fno-omit-frame-pointer", "-pthread"]
SAME_BITS = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]  # as setup.py has them
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WIDTHS = {"plain": [], "native": ["-march=native"]}
# Faults beyond the arguments that a kernel may be given; each is a test of its own.
PLANTED = """
import torch
from rewire.engine.library import kernels, pointer

lines, short = torch.zeros(17), torch.zeros(15)

def unpack(start, out):
    kernels().rewire_unpack(0, start, 16, 1, 1, 1, pointer(out), 1)

def test_read_beyond():
    unpack(pointer(short), lines)

def test_write_beyond():
    unpack(pointer(lines), short)

def test_misaligned():
    unpack(pointer(lines) + 1, torch.zeros(16))
"""


@pytest.fixture(scope="module")
def compiler():
    if sys.platform != "linux":
        pytest.skip("sanitizers are preloaded, which is tried on Linux only")
    found = shutil.which("g++")
    if found is None:
        pytest.skip("there is no g++ to compile with")
    return found


def preloaded(compiler: str) -> str:
    """The run-time libraries that must come before all others."""
    files = []
    for name in ("libasan.so", "libubsan.so", "libstdc++.so"):
        asked = [compiler, f"-print-file-name={name}"]
        file = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(file).is_absolute():
            pytest.skip(f"the compiler comes without {name}")
        files.append(str(Path(file).resolve()))
    return ":".join(files)


@pytest.fixture(scope="module", params=WIDTHS)
def sanitized(request, compiler, tmp_path_factory):
    """Runs tests, by their pytest arguments, on a build with sanitizers: (process, reports)."""
    if request.param == "native" and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the plain build is all that this machine has")
    folder = tmp_path_factory.mktemp("sanitized")
    build = folder / "kernels.so"
    flags = [*COMMON, *SAME_BITS, *SANITIZED, *WIDTHS[request.param]]
    command = [compiler, *flags, "-shared", "-fPIC", str(NATIVE / "engine.cpp"), "-o", str(build)]
    subprocess.run(command, check=True)
    options = f"log_path={folder}/report:exitcode=99"
    environment = {name: value for name, value in os.environ.items() if name != library.CHOICE} | {
        library.FILE: str(build),
        "LD_PRELOAD": preloaded(compiler),
        "ASAN_OPTIONS": f"{options}:detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": f"{options}:print_stacktrace=1",
    }

    def run(*arguments: str) -> tuple[subprocess.CompletedProcess, str]:
        for report in folder.glob("report.*"):
            report.unlink()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        return done, "".join(report.read_text() for report in sorted(folder.glob("report.*")))

    return run


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("read_beyond", "heap-buffer-overflow"),
        ("write_beyond", "heap-buffer-overflow"),
        ("misaligned", "misaligned address"),
    ],
)
def test_a_planted_fault_is_reported(sanitized, tmp_path, fault, seen):
    file = tmp_path / "test_planted.py"
    file.write_text(PLANTED)
    done, reports = sanitized("-s", str(file), "-k", fault, "--rootdir", str(tmp_path))
    assert done.returncode != 0
    assert seen in reports + done.stdout + done.stderr


def test_nothing_is_reported_while_the_engine_is_tested(sanitized):
    done, reports = sanitized(str(HERE), str(SEARCH), "-m", "not sanitizers")
    end = "\n".join(done.stdout.splitlines()[-40:])
    # What is refused because it is too large is told, too; that is no fault.
    assert not re.search("ERROR|runtime error", reports), reports[:10_000]
    assert done.returncode == 0, end + done.stderr[-10_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, end
    assert int(passed[1]) > 200, end


@pytest.mark.parametrize("planted", [False, True])
def test_the_pool_of_threads_has_no_races_and_planted_ones_are_reported(
    compiler, tmp_path, planted
):
    program = tmp_path / "drive_pool"
    command = [compiler, *COMMON, "-fsanitize=thread", f"-I{NATIVE}", str(HERE / "drive_pool.cpp")]
    subprocess.run([*command, *["-DPLANTED"] * planted, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("the thread sanitizer cannot run with this kernel's memory layout")
    assert ("data race" in done.stderr) == planted, done.stderr
    assert (done.returncode != 0) == planted, done.stderr
