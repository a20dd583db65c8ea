# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A robust, sparse network by hand
#
# Load a trained network, look at where its weights are, attack ten images, and re-wire it with a
# strategy of your own. It runs from a clone of the repository after `make repro` or
# `pip install -e .`, in Jupyter or as `python docs/notebook.py`; it takes seconds and no network.

# %%
import copy
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

import rewire

root = Path.cwd() if (Path.cwd() / "results").is_dir() else Path.cwd().parent
cells = root / "results" / "thesis" / "cpu" / "cells"

# %% [markdown]
# ## Load
#
# A network is a PyTorch module in evaluation mode that takes float images in [0, 1]. These two have
# 5 % of their weights; the first was trained naturally, the second with TRADES (two epochs, so it
# is weak: every cell's README.md says how it was trained and what it reaches).

# %%
natural = rewire.load(cells / "natural-s0.95-l2-seed0")
robust = rewire.load(cells / "trades-s0.95-l2-seed0")
connected = len(robust.connected())
print(f"{connected:,} of {robust.theta.numel():,} weights are connected")

# %% [markdown]
# ## Where are its weights?
#
# A column is an output of the layer, a row a *vector*: the weights that leave one input. Rows that
# are dark throughout are zero vectors, which a compressed network need not store.

# %%
from rewire.structure.report import structure_report
from rewire.thesis.report.matrix_figures import matrix_image

weights = {name: weight.numpy() for name, weight in robust.weights().items()}
zero_vectors = structure_report(weights).zero_vectors
print(f"{zero_vectors.count} of {zero_vectors.total:,} vectors are zero")

figure, axes = plt.subplots(figsize=(4, 4))
axes.imshow(matrix_image(weights["dense2"]), interpolation="nearest")
axes.set(title="dense2: connected weights", xlabel="output", ylabel="input")
plt.show()

# %% [markdown]
# ## Attack ten images
#
# One test image per class, PGD in the L∞ ball of radius 8/255. An image that a network gets wrong
# without an attack is not attacked. Ten images say little; the published numbers are of 500 and
# more. Below the images stands what the attack changes, ten times as strong; grey is no change.

# %%
from rewire.data.embedded import load_embedded
from rewire.data.images import as_float
from rewire.data.split import first_balanced
from rewire.registry import ATTACKS

ten = first_balanced(load_embedded("test"), 10)
images = as_float(ten.images)
attack = ATTACKS.build("pgd", epsilon=8 / 255, steps=20, restarts=2)(seed=0)
found = {
    name: attack.attack(network, images, ten.labels, indices=ten.indices)
    for name, network in {"natural": natural, "robust": robust}.items()
}
for name, result in found.items():
    clean, withstood = int(result.clean_correct.sum()), int(result.correct.sum())
    print(f"{name}: {clean} of 10 correct, {withstood} of them under attack")

# %%
changes = {name: result.adversarial - images for name, result in found.items()}
rows = {"clean": images} | {name: 0.5 + 10 * change for name, change in changes.items()}
figure, axes = plt.subplots(len(rows), 10, figsize=(10, 3.2))
for line, (name, pictures) in zip(axes, rows.items(), strict=True):
    for place, picture in zip(line, pictures, strict=True):
        place.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy())
        place.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
plt.show()

# %% [markdown]
# ## A strategy of your own
#
# A weight whose θ falls to zero is dead, and another entry of its layer is connected in its place.
# Which one, a strategy says: given a layer, its θ, its connected entries and n, it returns n
# unconnected entries. This one fills the vectors that have most connections already.
#
# In a file of its own with a line `@STRATEGIES.register("fullest")` above it, and a `fullest.yaml`
# (docs/extending.md), it is trained by `python train.py rewire=fullest`.

# %%
from rewire.connectivity.strategies.base import per_layer
from rewire.registry import STRATEGIES


@per_layer
def fullest(layer, theta, connected, n, *, generator):
    """n unconnected entries of the vectors with most connections."""
    living = torch.bincount(connected % layer.vectors, minlength=layer.vectors)
    free = (theta <= 0).nonzero()[:, 0]
    return free[living[free % layer.vectors].argsort(descending=True, stable=True)[:n]]


# %% [markdown]
# Six steps of training with each strategy, from the same network on the same images: a gradient
# step, noise on what is connected, and re-connections until the budget is filled again.

# %%
from rewire.connectivity.sampling import add_noise, connected_entries, sample_connectivity
from rewire.rng import generator

LR, STEPS = 0.1, 6
training = load_embedded("train")


def rewired(strategy):
    """(network, re-connections) after `STEPS` steps with this strategy."""
    network, random, growth = copy.deepcopy(natural), generator(0, "notebook"), 0
    theta, budget = network.theta.data, len(network.connected())
    for _ in range(STEPS):
        batch = training.take(torch.randint(len(training), (32,), generator=random))
        loss = F.cross_entropy(network(as_float(batch.images)), batch.labels)
        (gradient,) = torch.autograd.grad(loss, network.theta)
        before = connected_entries(theta)
        theta -= LR * gradient
        add_noise(theta, before, lr=LR, generator=random)
        step = sample_connectivity(
            theta,
            network.layers,
            budget=budget,
            strategy=strategy,
            generator=random,
        )
        growth += int(step.growth.sum())
    return network, growth


def zeros(network):
    weights = {name: w.numpy() for name, w in network.weights().items()}
    return structure_report(weights).zero_vectors.count


after = {}
for name, strategy in {"random": STRATEGIES["random"], "fullest": fullest}.items():
    network, growth = rewired(strategy)
    after[name] = {
        "growth": growth,
        "connected": len(network.connected()),
        "zero vectors": zeros(network),
    }
    print(f"{name}: {after[name]}; before: {zeros(natural)} zero vectors")
