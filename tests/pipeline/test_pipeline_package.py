"""The built package runs where it is installed, without a clone beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from helpers.small import SMALL

ROOT = Path(__file__).resolve().parents[2]
BUILT_FROM = ("src", "conf", "LICENSE", "MANIFEST.in", "README.md", "params.yaml",
              "pyproject.toml", "setup.py")  # fmt: skip
# Without a compiler, so that it takes seconds: the sources of the engine are there all the same.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
    "CC": "false",
    "CXX": "false",
    "PIP_NO_INDEX": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def call(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Python of an environment with nothing but the wheel, made from the source distribution.

    The libraries that it needs are those of this environment.
    """
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            built = shutil.ignore_patterns("__pycache__", "_kernels_*", "*.egg-info")
            shutil.copytree(path, source / name, ignore=built)
        else:
            shutil.copy(path, source / name)
    call(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, folder=source)
    (archive,) = folder.glob("rewire-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    pip = [sys.executable, "-m", "pip", "-q"]
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, unpacked, folder=folder)
    (wheel,) = folder.glob("rewire-*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", folder / "env", folder=folder)
    python = folder / "env" / "bin" / "python"
    call(*pip, "--python", python, "install", "--no-deps", wheel, folder=folder)
    paths = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    # A folder that is added so is searched for packages, but its own .pth files are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(source)
    shutil.rmtree(unpacked)
    return python


def test_the_installed_package_trains(installed, tmp_path):
    call(installed, "-m", "rewire", "thesis", "train", *SMALL, "output=results", folder=tmp_path)
    (cell,) = (tmp_path / "results" / "quick" / "train").iterdir()
    assert (cell / "manifest.json").is_file()
    assert json.loads((cell / "metrics.json").read_text())["steps"] > 0


def test_it_brings_its_configuration_data_and_the_sources_of_its_engine(installed, tmp_path):
    text = (
        "import rewire; from pathlib import Path; from rewire.pipeline.paths import CONF;"
        "package = Path(rewire.__file__).parent;"
        "print(CONF == package / 'conf', *sorted(p.name for p in package.glob('engine/native/*')),"
        "*sorted(p.name for p in package.glob('reporting/html/[st]*/*')),"
        "*sorted(p.relative_to(CONF).as_posix() for p in CONF.rglob('*.yaml')))"
    )
    ours, *names = call(installed, "-c", text, folder=tmp_path).split()
    assert ours == "True"
    native = sorted(p.name for p in (ROOT / "src/rewire/engine/native").iterdir())
    conf = sorted(p.relative_to(ROOT / "conf").as_posix() for p in (ROOT / "conf").rglob("*.yaml"))
    page = sorted(p.name for p in (ROOT / "src/rewire/reporting/html").glob("[st]*/*"))
    assert names == native + page + conf
