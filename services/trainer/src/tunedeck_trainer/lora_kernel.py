"""The linear layers of LoRA with their gradients written out, for training in fp32 on a CPU.

peft's own are a chain of seven operations, each of which keeps and fills tensors as large as the layer's
output, and of whose gradients some are products in an order in which the CPU takes eight times as long. Here
a layer is one operation with the same sums in place, and so are several that are given one input, as queries,
keys and values are: their narrow products by A are one, and the gradients at their input are summed as they
are computed.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch.autograd.function import once_differentiable
from torch.nn import functional


class LoraLinears(torch.autograd.Function):  # type: ignore[misc]
    """Of layers with one input, each layer's `x W' + bias + scaling x A' B'` (' transposes): x (..., in),
    W (out, in), A (r, in), B (out, r).

    `parts` are W, bias (or None), A and B of the first layer, then of the next; `scalings` has one of each.
    A and B get gradients, and x if it wants one. W and bias are frozen.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scalings: tuple[float, ...], *parts: Any
    ) -> tuple[torch.Tensor, ...]:
        weights, biases, downs, ups = (parts[at::4] for at in range(4))
        rows, down = x.reshape(-1, x.shape[-1]), torch.cat(downs)
        ranks = [len(one) for one in downs]
        reduced = rows @ down.t()
        results = tuple(
            functional.linear(rows, weight, bias)
            .addmm_(own, up.t(), alpha=scaling)
            .view(*x.shape[:-1], len(weight))
            for weight, bias, up, own, scaling in zip(
                weights, biases, ups, reduced.split(ranks, dim=1), scalings, strict=True
            )
        )
        ctx.save_for_backward(rows, down, reduced, *weights, *ups)
        ctx.scalings, ctx.ranks = scalings, ranks
        return results

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, down, reduced, *others = ctx.saved_tensors
        weights, ups = others[: len(gradients)], others[len(gradients) :]
        of_reduced, of_rows, of_ups = torch.empty_like(reduced), None, []
        each = zip(gradients, weights, ups, ctx.scalings, strict=True)
        own, of_own = (one.split(ctx.ranks, dim=1) for one in (reduced, of_reduced))
        for number, (gradient, weight, up, scaling) in enumerate(each):
            of_result = gradient.reshape(-1, len(weight))
            torch.mm(of_result, up, out=of_own[number]).mul_(scaling)
            of_ups.append((own[number].t() @ of_result).mul_(scaling).t())
            if ctx.needs_input_grad[0]:
                of_rows = of_result @ weight if of_rows is None else of_rows.addmm_(of_result, weight)
        of_downs = (of_reduced.t() @ rows).split(ctx.ranks)
        if of_rows is not None:
            of_rows = of_rows.addmm_(of_reduced, down).view(*gradients[0].shape[:-1], down.shape[1])
        of_parts = [(None, None, *pair) for pair in zip(of_downs, of_ups, strict=True)]
        return of_rows, None, *(one for parts in of_parts for one in parts)


@contextmanager
def called_together(model: torch.nn.Module) -> Iterator[list[list[Any]]]:
    """Which LoRA layers are called one after another with the very same input, while this lasts."""
    groups: list[list[Any]] = []
    last: weakref.ref[torch.Tensor] | None = None

    def note(layer: Any, arguments: tuple[Any, ...]) -> None:
        nonlocal last
        if last is not None and arguments and last() is arguments[0]:
            groups[-1].append(layer)
        else:
            groups.append([layer])
        last = weakref.ref(arguments[0]) if arguments else None

    hooks = [layer.register_forward_pre_hook(note) for layer in model.modules() if type(layer) is Linear]
    try:
        yield groups
    finally:
        for hook in hooks:
            hook.remove()


def use_kernel(model: torch.nn.Module, groups: Sequence[Sequence[Any]] = ()) -> int:
    """Let every LoRA layer for which it is written compute so, those of a group together; how many.

    It is for layers in fp32 on a CPU, trained without dropout and without one of peft's variants (DoRA).
    """
    layers = dict.fromkeys(module for module in model.modules() if type(module) is Linear and _can(module))
    alone = layers.copy()
    for group in groups:
        _Together([layer for layer in dict.fromkeys(group) if layer in alone]).take(alone)
    for layer in list(alone):
        _Together([layer]).take(alone)
    return len(layers)


def _is_tuned(layer: Any) -> bool:
    """Whether it computes with an adapter beside its weight, and has one alone."""
    is_on = not layer.disable_adapters and not layer.merged
    return is_on and len(layer.lora_A) == 1 and list(layer.lora_A) == layer.active_adapters


def _can(layer: Any) -> bool:
    if not _is_tuned(layer) or layer.lora_variant:
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


class _Together:
    """Layers of which the first computes for all. The others take what it left of the very same input."""

    def __init__(self, layers: list[Any]) -> None:
        self._layers = layers
        self._left: dict[int, torch.Tensor] = {}
        self._input: weakref.ref[torch.Tensor] | None = None

    def take(self, alone: dict[Any, None]) -> None:
        """Be what these layers compute by; they are alone no more."""
        for number, layer in enumerate(self._layers):
            layer.forward = partial(self._forward, number)
            del alone[layer]

    def _forward(self, number: int, x: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        layer = self._layers[number]
        if arguments or options or not all(map(_is_tuned, self._layers)):
            return Linear.forward(layer, x, *arguments, **options)
        if number == 0:
            self._left = dict(enumerate(_computed(self._layers, x)))
            self._input = weakref.ref(x)
        is_the_same = self._input is not None and self._input() is x
        if is_the_same and number in self._left:
            return self._left.pop(number)
        return _computed([layer], x)[0]


def _computed(layers: list[Any], x: torch.Tensor) -> Any:
    parts: list[torch.Tensor | None] = []
    scalings: list[float] = []
    for layer in layers:
        [name] = layer.lora_A
        base = layer.base_layer
        parts += [base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight]
        scalings.append(layer.scaling[name])
    return LoraLinears.apply(x, tuple(scalings), *parts)
