"""A small network with the interface of the prunable ones, and slow loops over its weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

PIXELS = 784


class Network(nn.Module):
    """784-7-5-10 with dropout, which must be off when inputs are read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(PIXELS, 7), nn.Linear(7, 5)
        self.output = nn.Linear(5, 10)
        self.dropout = nn.Dropout(0.5)
        source = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=source)

    def matrices(self) -> dict[str, nn.Parameter]:
        return {"dense0": self.first.weight, "dense1": self.second.weight}

    def output_matrix(self) -> nn.Parameter:
        return self.output.weight

    def inputs_of(self, x: Tensor) -> dict[str, Tensor]:
        inputs = {"dense0": x.flatten(1)}
        inputs["dense1"] = self.dropout(self.first(inputs["dense0"]).relu())
        inputs["dense2"] = self.dropout(self.second(inputs["dense1"]).relu())
        return inputs

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.inputs_of(x)["dense2"])


def loop_inputs(model: Network, images: Tensor) -> list[list[np.ndarray]]:
    """Per image the input of every layer, from the raw weights in double precision."""
    weights = [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in (model.first, model.second)
    ]
    rows = []
    for image in images:
        inputs = [image.flatten().double().numpy()]
        for weight, bias in weights:
            inputs.append(np.maximum(weight @ inputs[-1] + bias, 0))
        rows.append(inputs)
    return rows


def loop_activated(model: Network, images: Tensor) -> list[np.ndarray]:
    """|mean over images of w_ij · x_i|, one weight and one image at a time (dense layers 1, 2)."""
    rows = loop_inputs(model, images)
    result = []
    for layer, linear in [(1, model.second), (2, model.output)]:
        weight = linear.weight.detach().double().numpy()
        value = np.zeros(weight.shape)
        for j in range(weight.shape[0]):
            for i in range(weight.shape[1]):
                products = [weight[j, i] * inputs[layer][i] for inputs in rows]
                value[j, i] = abs(sum(products) / len(products))
        result.append(value)
    return result
