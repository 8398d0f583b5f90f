"""Root mean square normalisation with its gradient written out, for training in fp32 on a CPU.

As a chain of torch's operations it goes some twelve times over its rows there and back, mostly into memory
that is new; here seven times, and half of them in place (Zhang and Sennrich, arXiv:1910.07467).
"""

from types import MethodType
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_TRIED_ON = (-3e-3, 2e-3)
"""Bounds of the rows that a layer is tried on: so small that what is added to their mean square shows."""


class RmsNorm(torch.autograd.Function):  # type: ignore[misc]
    """`weight * x / sqrt(mean(x * x) + epsilon)`, the mean over the last of x's dimensions: x (..., width) as
    the result, weight (width). x gets a gradient; weight is frozen."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scales = norms.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        normed = x * scales
        ctx.save_for_backward(normed, weight, scales)
        return normed * weight

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        normed, weight, scales = ctx.saved_tensors
        of_normed = gradients[0] * weight
        along = torch.linalg.vecdot(of_normed, normed).unsqueeze(-1).div_(-normed.shape[-1])
        return of_normed.addcmul_(normed, along).mul_(scales), None, None


def use_norm_kernel(model: torch.nn.Module) -> int:
    """Let every such normalisation, frozen and in fp32 on a CPU, compute so; how many.

    A layer is known by its results, not by its name: others called so add one to the weight, or take off the
    mean.
    """
    found = 0
    for layer in model.modules():
        if _can(layer) and _agrees(layer):
            layer.forward = MethodType(_forward, layer)
            found += 1
    return found


def _can(layer: Any) -> bool:
    if [name for name, _ in layer.named_parameters()] != ["weight"] or "forward" in vars(layer):
        return False
    weight = layer.weight
    is_plain = (weight.ndim, weight.dtype, weight.device.type) == (1, torch.float32, "cpu")
    return is_plain and not weight.requires_grad and _epsilon(layer) is not None


def _epsilon(layer: Any) -> float | None:
    values = (getattr(layer, name, None) for name in ("variance_epsilon", "eps"))
    return next((one for one in values if isinstance(one, float)), None)


def _agrees(layer: Any) -> bool:
    rows = torch.linspace(*_TRIED_ON, 4 * len(layer.weight)).view(4, -1)
    with torch.no_grad():
        ours = RmsNorm.apply(rows, layer.weight, _epsilon(layer))
        try:
            torch.testing.assert_close(layer(rows), ours, rtol=1e-4, atol=1e-6)
        except Exception:
            # It gives something else, or takes something else.
            return False
    return True


def _forward(self: Any, x: torch.Tensor, *arguments: Any, **options: Any) -> Any:
    if x.dtype != torch.float32 or self.weight.requires_grad or arguments or options:
        return type(self).forward(self, x, *arguments, **options)
    return RmsNorm.apply(x, self.weight, _epsilon(self))
