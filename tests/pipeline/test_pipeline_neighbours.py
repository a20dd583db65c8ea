"""Installing this package leaves other programs of the environment as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = """
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config):
    print("value", config.value)

main()
"""
COMPOSED = """
import sys
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

with initialize_config_dir(sys.argv[1], version_base=None):
    print("value", compose("config", ["value=3"]).value)
found = [plugin.__name__ for plugin in Plugins.instance().discover()]
print("launcher", found.count("RewireLauncher"))
print("imported", sorted(name for name in sys.modules if name.split(".")[0] == "rewire"))
print("stored", sorted(name for name in ConfigStore.instance().list("hydra/launcher")))
"""


def python(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess:
    """Another program in an environment that has this package."""
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "config.yaml").write_text("value: 1\n")
    (folder / "program.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-W", "error", "program.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )


def test_other_hydra_programs_run_and_sweep(tmp_path):
    alone = python(tmp_path, PROGRAM, "value=2")
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, "value 2\n", "")
    swept = python(tmp_path, PROGRAM, "-m", "value=2,3", "hydra.sweep.dir=sweep")
    assert swept.returncode == 0, swept.stderr
    assert [line for line in swept.stdout.splitlines() if line.startswith("value")] == [
        "value 2",
        "value 3",
    ]


def test_other_programs_compose_without_importing_or_storing_anything_of_ours(tmp_path):
    done = python(tmp_path, COMPOSED, str(tmp_path / "conf"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "value 3",
        "launcher 1",
        "imported []",
        "stored ['basic.yaml']",
    ]
