"""The rotation of queries and keys by their position with its gradient written out, for fp32 on a CPU.

As transformers' function it is some ten operations of torch there and back, most of them into memory that is
new: here there are three each way. A model's attention calls that function by its name in its own module, so
it is there that another takes its place, for all models of the process.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_NAME = "apply_rotary_pos_emb"


class Rotation(torch.autograd.Function):  # type: ignore[misc]
    """`x cos + (-second half of x, first half of x) sin` (Su and others, arXiv:2104.09864): x (..., width) as
    the result, cos and sin of a shape that broadcasts to x's. x gets a gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        of_first, of_second = sin.chunk(2, dim=-1)
        return _turned(x, cos, -of_first, of_second)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        of_first, of_second = sin.chunk(2, dim=-1)
        return _turned(gradients[0], cos, of_second, -of_first), None, None


def _turned(
    x: torch.Tensor, cos: torch.Tensor, second_to_first: torch.Tensor, first_to_second: torch.Tensor
) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    turned = x * cos
    turned[..., : first.shape[-1]].addcmul_(second, second_to_first)
    turned[..., first.shape[-1] :].addcmul_(first, first_to_second)
    return turned


@dataclass(frozen=True)
class Rotary:
    """In the place of transformers' function of queries, keys, cos and sin.

    Where it is given more, or something else than fp32 on a CPU, it is `theirs`.
    """

    theirs: Callable[..., Any]

    def __call__(self, *given: Any, **options: Any) -> Any:
        if options or len(given) != 4 or not all(map(_is_plain, given)) or not _are_alike(given):
            return self.theirs(*given, **options)
        query, key, cos, sin = given
        of_heads = cos.unsqueeze(1), sin.unsqueeze(1)
        return Rotation.apply(query, *of_heads), Rotation.apply(key, *of_heads)


def use_rotary_kernel(model: torch.nn.Module) -> int:
    """Let the rotations of a model in fp32 on a CPU be computed so, in each of its modules in which they give
    the same on a sample; how many modules."""
    if not all(_is_plain(one) for one in model.parameters()):
        return 0
    modules = {sys.modules[type(one).__module__] for one in model.modules()}
    return sum(_take(module) for module in modules if hasattr(module, _NAME))


def _take(module: ModuleType) -> bool:
    theirs = getattr(module, _NAME)
    if isinstance(theirs, Rotary):
        return True
    ours = Rotary(theirs)
    # Two heads, three positions; halves of cos and sin that differ, as no model's do, show what is whose.
    sample = [torch.linspace(-1, at, at * 8).view(1, -1, 3, 8) for at in (6, 3)]
    sample += [torch.linspace(-at, 1, 24).view(1, 3, 8) for at in (2, 3)]
    try:
        torch.testing.assert_close(ours(*sample), theirs(*sample))
    except Exception:
        # It gives something else, or takes something else.
        return False
    setattr(module, _NAME, ours)
    return True


def _are_alike(given: Sequence[torch.Tensor]) -> bool:
    """Whether all have as many positions, and all of their width is turned."""
    [(_, width), *others] = {one.shape[-2:] for one in given}
    return not others and width % 2 == 0


def _is_plain(one: torch.Tensor) -> bool:
    return bool(one.dtype == torch.float32 and one.device.type == "cpu")
