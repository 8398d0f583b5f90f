"""The linear layers of LoRA with their gradients written out, for training in fp32 on a CPU.

peft's own are a chain of seven operations, each of which keeps and fills tensors as large as the layer's
output, and of whose gradients some are products in an order in which the CPU takes eight times as long. Here
a layer is one operation with the same sums in place.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch.autograd.function import once_differentiable
from torch.nn import functional


class LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    """`x W' + bias + scaling x A' B'` (' transposes): x (..., in), W (out, in), A (r, in), B (out, r).

    A and B get gradients, and x if it wants one. W and bias are frozen.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        reduced = rows @ down.t()
        result = functional.linear(rows, weight, bias).addmm_(reduced, up.t(), alpha=scaling)
        ctx.save_for_backward(rows, weight, down, up, reduced)
        ctx.scaling = scaling
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, down, up, reduced = ctx.saved_tensors
        [gradient] = gradients
        of_result = gradient.reshape(-1, weight.shape[0])
        of_reduced = (of_result @ up).mul_(ctx.scaling)
        of_down = of_reduced.t() @ rows
        of_up = (reduced.t() @ of_result).mul_(ctx.scaling).t()
        of_rows = None
        if ctx.needs_input_grad[0]:
            of_rows = (of_result @ weight).addmm_(of_reduced, down).view(*gradient.shape[:-1], -1)
        return of_rows, None, None, of_down, of_up, None


def use_kernel(model: torch.nn.Module) -> int:
    """Let every LoRA layer for which it is written compute so; how many.

    It is for layers in fp32 on a CPU, trained without dropout and without one of peft's variants (DoRA).
    """
    layers = [module for module in model.modules() if type(module) is Linear and _can(module)]
    for layer in layers:
        layer.forward = _forward(layer)
    return len(layers)


def _can(layer: Any) -> bool:
    if list(layer.lora_A) != layer.active_adapters or len(layer.lora_A) != 1 or layer.lora_variant:
        return False
    [name] = layer.lora_A
    parts = [layer.base_layer, layer.lora_A[name], layer.lora_B[name]]
    return (
        isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and all(type(one) is torch.nn.Linear for one in parts)
        and all(one.weight.dtype == torch.float32 and one.weight.device.type == "cpu" for one in parts)
        and not layer.base_layer.weight.requires_grad
        and layer.lora_B[name].bias is None
    )


def _forward(layer: Any) -> Any:
    [name] = layer.lora_A
    base, down, up, scaling = layer.base_layer, layer.lora_A[name], layer.lora_B[name], layer.scaling[name]

    def forward(x: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if layer.disable_adapters or layer.merged or arguments or options:
            return Linear.forward(layer, x, *arguments, **options)
        return LoraLinear.apply(x, base.weight, base.bias, down.weight, up.weight, scaling)

    return forward
