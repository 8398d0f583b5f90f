"""The normalisation whose gradient is written out: which layers compute so, and that they give what they did.

That losses stay those of the plain way is in `test_faster_ways.py`.
"""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.zamba2.modeling_zamba2 import Zamba2RMSNormGated

from tunedeck_trainer.norm_kernel import RmsNorm, use_norm_kernel


def test_a_normalisation_gives_the_gradient_that_numbers_give() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: RmsNorm.apply(x, weight, 1e-2), [x.requires_grad_()])


def test_no_gradient_of_its_gradient_is_made_up() -> None:
    x = torch.randn(3, 5, requires_grad=True)
    made = RmsNorm.apply(x, torch.randn(5), 1e-6)
    [of_x] = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_x.sum().backward()


class OfGroups(torch.nn.Module):
    """Of halves of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(16)), 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x.unflatten(-1, (2, 8)), (8,), eps=self.eps).flatten(-2) * self.weight


class OfPairs(OfGroups):
    """With something beside the rows."""

    def forward(self, x: torch.Tensor) -> Any:
        return functional.rms_norm(x, (16,), eps=self.eps), None


def frozen(layer: torch.nn.Module) -> torch.nn.Module:
    return layer.requires_grad_(False)


@pytest.mark.parametrize(
    ("layer", "taken"),
    [
        (frozen(LlamaRMSNorm(16, eps=1e-5)), 1),
        (frozen(torch.nn.RMSNorm(16, eps=1e-6)), 1),
        (LlamaRMSNorm(16), 0),
        (frozen(LlamaRMSNorm(16)).to(torch.bfloat16), 0),
        (frozen(Gemma3RMSNorm(16)), 0),
        (frozen(torch.nn.LayerNorm(16, bias=False)), 0),
        (frozen(torch.nn.LayerNorm(16)), 0),
        (frozen(OfGroups()), 0),
        (frozen(OfPairs()), 0),
        (frozen(Zamba2RMSNormGated(16, group_size=8)), 0),
    ],
    ids=["llama", "torch", "trained", "16 bits", "one more", "mean", "bias", "groups", "pairs", "gated"],
)
def test_a_layer_is_taken_for_a_normalisation_by_what_it_gives(layer: torch.nn.Module, taken: int) -> None:
    x = torch.randn(3, 16, dtype=next(layer.parameters()).dtype)
    before = layer(x)
    assert use_norm_kernel(layer) == taken
    torch.testing.assert_close(layer(x), before)


def test_a_layer_that_is_given_more_or_is_trained_after_all_computes_as_before() -> None:
    x, gate = torch.randn(3, 16), torch.randn(3, 16)
    gated = frozen(Zamba2RMSNormGated(16, group_size=16))
    before = gated(x, gate)
    assert use_norm_kernel(gated) == 1
    for after in (gated(x, gate), gated(x, gate=gate)):
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    layer = frozen(LlamaRMSNorm(16))
    assert (use_norm_kernel(layer), use_norm_kernel(layer)) == (1, 0)
    layer.requires_grad_()
    layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_a_copy_normalises_by_its_own_weight() -> None:
    layer = frozen(LlamaRMSNorm(16))
    use_norm_kernel(layer)
    other = copy.deepcopy(layer)
    other.weight.fill_(2.0)
    x = torch.randn(3, 16)
    torch.testing.assert_close(other(x), 2 * layer(x))


def test_what_is_added_to_the_mean_square_decides_too() -> None:
    layer = frozen(LlamaRMSNorm(16, eps=1e-5))
    layer.variance_epsilon, layer.eps = 1e-5, 1e-6
    assert use_norm_kernel(layer) == 1
    other = frozen(torch.nn.RMSNorm(16, eps=1e-5))
    other.variance_epsilon = 1e-6
    assert use_norm_kernel(other) == 0
