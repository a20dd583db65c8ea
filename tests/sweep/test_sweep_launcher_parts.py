"""A sweep for other schedulers: its commands without running them, and the i-th of n parts."""

from __future__ import annotations

import shlex

import pytest
from helpers.small import ROOT, SMALL, run

from rewire.errors import InputError
from rewire.sweep.shards import check_shard, part

SWEEP = ("train.py", "-m", *SMALL, "sparsity=0.9", "seed=0,1,2", "hydra.launcher.engine=print")


def test_the_parts_make_up_the_whole():
    cells = list(range(10))
    for count in (1, 3, 10, 12):
        parts = [part(f"{i}/{count}", cells, cells) for i in range(1, count + 1)]
        assert sorted(cell for mine, _ in parts for cell in mine) == cells
        assert all(mine == same for mine, same in parts)
        sizes = [len(mine) for mine, _ in parts]
        assert max(sizes) - min(sizes) <= 1
    assert part(None, cells) == (cells,)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", 1.5, "1/2/3"])
def test_a_part_that_is_none_is_refused(shard):
    with pytest.raises(InputError, match=r"hydra\.launcher\.shard is .* Allowed: i/n"):
        check_shard(shard)


def test_a_dry_run_prints_one_command_per_cell_and_runs_nothing(tmp_path):
    done = run(*SWEEP, f"output={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines] == [["rewire", "thesis", "train"]] * 3
    assert [f"seed={n}" in line for n, line in enumerate(lines)] == [True] * 3
    assert all(f"output={tmp_path}/out" in line for line in lines)
    assert not (tmp_path / "out" / "quick" / "train").exists()
    second = run(*SWEEP, f"output={tmp_path}/out", "hydra.launcher.shard=2/3")
    assert second.stdout == done.stdout.splitlines(keepends=True)[1]


def test_a_printed_command_makes_the_cell_and_is_not_printed_again(tmp_path):
    sweep = (*SWEEP, "trainer.epochs=1", f"output={tmp_path}", "hydra.launcher.shard=1/3")
    (command,) = run(*sweep).stdout.splitlines()
    assert run("-m", *shlex.split(command)).returncode == 0
    again = run(*sweep)
    assert again.stdout == ""
    assert "finished already" in again.stderr


def test_the_help_names_every_option_of_a_sweep():
    from hydra.core.config_store import ConfigStore

    options = dict(ConfigStore.instance().load("hydra/launcher/isolated.yaml").node)
    names = [f"hydra.launcher.{name}" for name in options if name not in ("_target_", "stage")]
    names += [f"hydra.launcher.cluster.{name}" for name in options["cluster"]]
    names.remove("hydra.launcher.cluster")
    assert len(names) > 8
    said = run("train.py", "--help").stdout
    assert [name for name in names if f"{name}=" not in said and f"{name}." not in said] == []
    page = (ROOT / "docs" / "clusters.md").read_text()
    assert [name for name in names if name.removeprefix("hydra.launcher.") not in page] == []
