"""How many jobs run at a time and where: pure functions over invented machines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewire.errors import InputError
from rewire.sweep import hardware as probing
from rewire.sweep.hardware import free_memory, processor_quota, usable_gpus, visible_gpus
from rewire.sweep.slots import (
    CPU_JOB,
    GIB,
    GPU_JOB,
    Gpu,
    Machine,
    Slot,
    check_jobs,
    describe,
    pack,
    split,
)

EIGHT = Machine(cores=tuple(range(8)), memory=64 * GIB)
ONE_GPU = Machine(cores=tuple(range(16)), memory=128 * GIB, gpus=(Gpu("GPU-a", 139 * GIB),))
LISTING = "0, GPU-aaaa, 1000\n1, GPU-bbbb, 20000\n2, GPU-cccc, [N/A]\n"


@pytest.mark.parametrize(
    ("machine", "count", "threads", "slots", "each"),
    [
        (EIGHT, 12, 1, 8, 1),
        (EIGHT, 8, 1, 8, 1),
        (EIGHT, 3, 1, 3, 2),  # fewer jobs than cores: more cores each
        (EIGHT, 12, 2, 4, 2),  # trainer.threads=2
        (Machine(tuple(range(8)), quota=2.9), 12, 1, 2, 1),  # a container's share
        (Machine(tuple(range(8)), memory=3 * CPU_JOB + 1), 12, 1, 3, 2),
        (ONE_GPU, 100, 1, 9, 1),
        (ONE_GPU, 4, 1, 4, 4),
        (Machine((0, 1, 2), gpus=(Gpu("a"),)), 9, 1, 3, 1),
        (Machine(tuple(range(16)), gpus=(Gpu("a", 2 * GPU_JOB),)), 9, 1, 2, 8),
    ],
)
def test_auto_is_as_many_as_the_scarcest_thing_allows(machine, count, threads, slots, each):
    chosen = pack("auto", count=count, machine=machine, threads=threads)
    assert len(chosen) == slots
    assert {slot.threads for slot in chosen} == {each}


@pytest.mark.parametrize(
    "machine",
    [
        Machine((5,)),
        Machine(tuple(range(8)), quota=0.5),
        Machine(tuple(range(8)), memory=0),
        Machine(tuple(range(8)), gpus=(Gpu("a", GIB),)),
    ],
)
def test_auto_runs_one_job_as_it_would_run_alone_where_there_is_no_room_for_two(machine):
    assert pack("auto", count=5, machine=machine) == [Slot()]


def test_one_job_at_a_time_is_left_alone():
    assert pack(1, count=5, machine=EIGHT) == pack(1, count=5, machine=ONE_GPU) == [Slot()]


def test_a_number_of_jobs_splits_the_cores_however_few_jobs_there_are():
    assert pack(2, count=9, machine=EIGHT) == [Slot(4, (0, 1, 2, 3)), Slot(4, (4, 5, 6, 7))]
    assert pack(4, count=1, machine=EIGHT) == [Slot(2, (0, 1))]
    # More jobs than cores cannot have cores of their own.
    assert pack(3, count=9, machine=Machine((0, 1))) == [Slot(1)] * 3
    # Neither can jobs that start more threads than their share of cores.
    assert pack(4, count=9, machine=EIGHT, threads=4) == [Slot(2)] * 4


@given(cores=st.sets(st.integers(0, 300), min_size=1), jobs=st.integers(2, 80))
def test_slots_are_disjoint_fair_and_equal_in_threads(cores, jobs):
    slots = pack(jobs, count=jobs, machine=Machine(tuple(sorted(cores))))
    assert len(slots) == jobs
    (threads,) = {slot.threads for slot in slots}
    assert threads == max(1, len(cores) // jobs)
    used = [core for slot in slots for core in slot.cores]
    if jobs > len(cores):
        assert used == []
    else:
        assert used == sorted(cores)
        assert {len(slot.cores) - threads for slot in slots} <= {0, 1}
    assert split(sorted(cores), jobs) == [slot.cores for slot in slots]


def test_several_gpus_are_used_in_turn_as_far_as_their_memory_goes():
    cores = tuple(range(32))
    even = Machine(cores, gpus=(Gpu("a"), Gpu("b")))
    assert [slot.gpu for slot in pack(3, count=9, machine=even)] == ["a", "b", "a"]
    assert [slot.cores for slot in pack(3, count=9, machine=even)] == [()] * 3
    assert len(pack("auto", count=99, machine=even)) == 18
    taken = Machine(cores, gpus=(Gpu("a", GPU_JOB), Gpu("b", 3 * GPU_JOB), Gpu("c", 0)))
    chosen = [slot.gpu for slot in pack("auto", count=99, machine=taken)]
    assert chosen == ["a", "b", "b", "b"]
    # A number that was asked for is kept, beyond what fits.
    assert [slot.gpu for slot in pack(6, count=9, machine=taken)] == [*chosen, "a", "b"]
    # The only GPU needs no choice.
    assert {slot.gpu for slot in pack(9, count=9, machine=ONE_GPU)} == {None}


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2", "many", None, [2]])
def test_a_number_of_jobs_that_makes_no_sense(jobs):
    with pytest.raises(InputError, match=r"jobs is .*\. Allowed: a whole number from 1, or auto"):
        check_jobs(jobs)


def test_numbers_of_jobs_that_do():
    assert [check_jobs(jobs) for jobs in (1, 64, "auto")] == [1, 64, "auto"]


def test_the_packing_in_words():
    assert describe([Slot()]) == "1 at a time"
    assert describe([Slot(4)] * 2) == "2 at a time, 4 threads each"
    assert describe([Slot(1)] * 9, ONE_GPU.gpus) == "9 at a time, 1 thread each, on one GPU"
    two = [Slot(1, (), "a"), Slot(1, (), "b")]
    assert describe(two) == "2 at a time, 1 thread each, on 2 GPUs"


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]),
        ("1,0", ["1", "0"]),
        ("GPU-bb", ["GPU-bb"]),
        ("MIG-1234", ["MIG-1234"]),
        ("0,-1,1", ["0"]),
        ("2, 7, 1", ["2"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_gpus_that_the_user_has_chosen(chosen, names):
    assert [gpu.name for gpu in visible_gpus(LISTING, chosen)] == names


def test_free_memory_of_gpus():
    assert [gpu.free for gpu in visible_gpus(LISTING, None)] == [1000 << 20, 20000 << 20, None]
    assert visible_gpus(LISTING, "1,MIG-1") == (Gpu("1", 20000 << 20), Gpu("MIG-1", None))
    assert visible_gpus("No devices were found\n", None) == ()


def test_without_a_driver_or_a_torch_for_gpus_there_are_none(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aaaa, 1000'\n")
    tool.chmod(0o755)
    monkeypatch.setattr(probing, "NVIDIA_SMI", (str(tool),))
    monkeypatch.setattr(probing.metadata, "version", lambda name: "2.13.0")
    assert usable_gpus({}) == (Gpu("GPU-aaaa", 1000 << 20),)
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    monkeypatch.setattr(probing.metadata, "version", lambda name: "2.13.0+cpu")
    assert usable_gpus({}) == ()
    monkeypatch.setattr(probing.metadata, "version", lambda name: "2.13.0+cu130")
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert usable_gpus({}) == ()
    tool.unlink()
    assert usable_gpus({}) == ()


def system(root, **files):
    """An invented system: files below `root`, `__` for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_limits_of_a_container_with_control_groups_2(tmp_path):
    root = system(tmp_path, proc__meminfo="MemTotal: 64000 kB\nMemAvailable:   32000 kB",
                  proc__self__cgroup="0::/pod/job")  # fmt: skip
    assert processor_quota(root) is None
    assert free_memory(root) == 32000 * 1024
    group = root / "sys/fs/cgroup"
    inner, outer = group / "pod/job", group / "pod"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (outer / "cpu.max").write_text("250000 100000\n")
    assert processor_quota(root) == 2.5  # the outer group limits too
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("5000000\n")
    assert free_memory(root) == 32000 * 1024
    (outer / "memory.max").write_text("20000000\n")
    (outer / "memory.current").write_text("15000000\n")
    (outer / "memory.stat").write_text("anon 9\ninactive_file 3000000\n")
    assert free_memory(root) == 20000000 - 15000000 + 3000000


def test_limits_of_a_container_with_control_groups_1(tmp_path):
    root = system(
        tmp_path,
        proc__self__cgroup="9:name=systemd:/\n4:memory:/not/mounted/here\n1:cpu,cpuacct:/",
    )
    assert (processor_quota(root), free_memory(root)) == (None, None)
    group = root / "sys/fs/cgroup"
    (group / "cpu").mkdir(parents=True)
    (group / "cpu/cpu.cfs_quota_us").write_text("400000\n")
    (group / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (group / "memory").mkdir()
    (group / "memory/memory.limit_in_bytes").write_text("8000\n")
    (group / "memory/memory.usage_in_bytes").write_text("5000\n")
    assert (processor_quota(root), free_memory(root)) == (4.0, 3000)
    (group / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert processor_quota(root) is None


def test_a_system_without_these_files(tmp_path):
    assert (processor_quota(tmp_path), free_memory(tmp_path)) == (None, None)
