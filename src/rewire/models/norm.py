"""BatchNorm whose running variance is the reference's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose running variance follows the biased one of the batches (thesis, 1).

    TensorFlow averages what it normalises with, the squared deviations divided by their number n;
    PyTorch divides by n − 1. Outputs and gradients in training mode are those of `nn.BatchNorm2d`,
    to the bit, and so are state dictionary and evaluation.

    Takes and returns (B, C, H, W) of any floating type.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            learnt = self.affine and (self.weight.requires_grad or self.bias.requires_grad)
            attacked = x.is_cuda and x.requires_grad and self.affine and not learnt
            if attacked and not torch.compiler.is_compiling():
                return _Evaluated.apply(x, self)
            return super().forward(x)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            unbiased = torch.zeros_like(self.running_var)
        # Without a momentum: the plain average of all batches.
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        y = F.batch_norm(
            x, self.running_mean, unbiased, self.weight, self.bias, True, share, self.eps
        )
        count = x.numel() // self.num_features
        with torch.no_grad():
            # `unbiased` has its share already.
            self.running_var.mul_(1 - share).add_(unbiased, alpha=(count - 1) / count)
        return y


class _Evaluated(torch.autograd.Function):
    """Evaluation mode with a gradient for x alone, in one pass that keeps x's memory format.

    PyTorch's own CUDA gradient is dense in NCHW order and then copied: a fifth of an attack.
    """

    @staticmethod
    def forward(ctx, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        ctx.norm = norm
        return nn.BatchNorm2d.forward(norm, x)

    @staticmethod
    def backward(ctx, gradient):
        norm = ctx.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        # Into a given place: computed in the type of the scale, rounded once.
        out = torch.empty_like(gradient)
        return torch.mul(gradient, scale.view(1, -1, 1, 1), out=out), None
