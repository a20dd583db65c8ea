"""BatchNorm over the images of all processes of a training, on any device.

torch's own SyncBatchNorm wants a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewire.models.norm import BatchNorm2d
from rewire.training.distributed import Group


class SharedBatchNorm2d(BatchNorm2d):
    """`BatchNorm2d` whose batch is that of all processes together; each has equally many images.

    Parameters, statistics and evaluation are those of the layer that it replaces.

    Args:
        norm: the layer to replace; its tensors are shared.
        group: the processes.
    """

    def __init__(self, norm: nn.BatchNorm2d, group: Group) -> None:
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        for name, value in norm.named_buffers():
            self.register_buffer(name, value)
        self.group = group
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.float()
        variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        means, variances = self.group.gather(torch.stack([mean, variance])).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean) ** 2).mean(0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        centred = wide - _channels(mean)
        return torch.addcmul(_channels(self.bias), centred, _channels(scale)).to(x.dtype)


def share_norms(model: nn.Module, group: Group) -> None:
    """Replace every BatchNorm of `model`, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, SharedBatchNorm2d(child, group))


def _channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)
