"""Three attacks on one network: equal robust accuracy, or the times compare nothing."""

from __future__ import annotations

import pytest
import torch

from benchmarks import attack, cells
from benchmarks.attack import SETTINGS, run, worst_case
from benchmarks.cells import run_python, trained_cell
from benchmarks.workload import SHAPE, BareLoop, sparse_network
from rewire.attacks.pgd import PGD
from rewire.errors import InputError
from rewire.models.artifact import save_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Folder of a small network that knows something and has little robustness."""
    model = sparse_network(width=0.2, sparsity=0.8, device=CPU)
    loop = BareLoop(
        model,
        objective="natural",
        precision="32-true",
        device=CPU,
        batch_size=64,
        total_steps=1000,
        strategy="random",
        sparsity=0.8,
    )
    for _ in range(80):
        loop.step()
    folder = tmp_path_factory.mktemp("network")
    save_network(
        folder / "weights.safetensors", model, spec={"name": "vgg11", "width": 0.2, **SHAPE}
    )
    return folder


def test_peers_find_the_same_robust_accuracy(network, monkeypatch):
    monkeypatch.setattr(attack, "trained_cell", lambda overrides, cache: network)
    settings = SETTINGS["quick"] | {"images": {"cpu": 40}, "batch_size": {"cpu": 16}, "steps": 10}
    ours, foolbox, torchattacks = run(device=CPU, cache=None, **settings)
    assert [row["by"] for row in (ours, foolbox, torchattacks)] == [
        "ours",
        "foolbox",
        "torchattacks",
    ]
    assert ours["clean %"] > 15
    assert ours["robust %"] < ours["clean %"]
    for peer in (foolbox, torchattacks):
        # Other starts: one image more or less.
        assert abs(peer["robust %"] - ours["robust %"]) <= 2.5
        assert peer["other verdicts"] <= 1
        assert peer["equal robust accuracy"] == (abs(peer["robust %"] - ours["robust %"]) <= 0.1)
        assert peer["times ours"] == pytest.approx(peer["seconds"] / ours["seconds"])
    assert foolbox["target"] == ">= 3"


def test_worst_case_counts_an_image_that_any_restart_fools():
    class Sign(torch.nn.Module):
        def forward(self, x):
            value = x.flatten(1).mean(1) - 0.5
            return torch.stack([-value, value], dim=1)

    def one_image_each(model, x, y, *, seed, epsilon, **options):
        adversarial = x.clone()
        adversarial[seed // 1000] -= epsilon
        return adversarial

    x = torch.full((4, 1, 2, 2), 0.51)
    pgd = PGD(steps=1, restarts=2, batch_size=4)
    found = worst_case(one_image_each, Sign(), x, torch.ones(4, dtype=torch.int64), pgd)
    assert found.tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    "line", ["wrote a/train/cell", "finished already: a/train/cell (force=true runs it again)"]
)
def test_folder_of_a_trained_cell_is_what_the_stage_says(line, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cells, "run_python", lambda *a, env=None: asked.append(a) or f"x\n{line}\n")
    assert str(trained_cell(["sparsity=0.9"], cache=tmp_path)) == "a/train/cell"
    (command,) = asked
    assert command[:5] == ("-m", "rewire", "thesis", "train", "sparsity=0.9")
    assert f"output={tmp_path}" in command


def test_a_failing_process_is_one_clear_error():
    with pytest.raises(InputError, match=r"python -c .* failed: .*no such thing"):
        run_python("-c", "raise SystemExit('no such thing')")
    assert run_python("-c", "import os; print(os.environ['A'])", env={"A": "b"}) == "b\n"
