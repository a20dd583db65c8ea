"""A training that a scheduler ends, and the same command given again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from rewire.pipeline.provenance import machine
from rewire.provenance import Provenance

TINY = [
    "profile=quick", "tracking=off", "model.width=0.08", "sparsity=0.9", "data.train_size=64",
    "data.validation_size=20", "data.test_size=20", "trainer.checkpoint_every=1",
]  # fmt: skip


def start(output, *overrides):
    command = [
        sys.executable,
        "-m",
        "rewire",
        "thesis",
        "train",
        *TINY,
        f"output={output}",
        *overrides,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_scheduler_sees_that_there_is_no_result_and_the_next_run_goes_on(tmp_path):
    epochs = "trainer.epochs=300"
    with start(tmp_path, epochs) as process:
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                process.send_signal(signal.SIGTERM)
                break
        said = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert "wrote" not in said
    with start(tmp_path, epochs) as process:
        first = next(line for line in process.stdout if line.startswith("epoch"))
        process.kill()
    assert int(first.split()[1].split("/")[0]) >= 3


def test_a_training_s_seconds_and_machines_are_those_of_all_its_starts(tmp_path):
    with start(tmp_path, "trainer.epochs=12") as process:
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                process.kill()
                break
    (begun,) = tmp_path.glob("quick/checkpoints/train-*/begun.json")
    hour_ago = begun.stat().st_mtime - 3600
    begun.write_text(begun.read_text().replace(machine(), "NVIDIA X with Intel Y"))
    os.utime(begun, (hour_ago, hour_ago))
    with start(tmp_path, "trainer.epochs=12") as process:
        process.stdout.read()
    assert process.returncode == 0
    (made_by,) = tmp_path.glob("quick/train/*/provenance.json")
    provenance = Provenance.read(made_by)
    assert 3600 < provenance.seconds < 3900
    (there,) = provenance.elsewhere.items()
    assert there[0] == "NVIDIA X with Intel Y"
    assert 3600 < there[1] < provenance.seconds
    assert not begun.exists()
