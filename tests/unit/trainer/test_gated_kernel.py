"""The product of a gated feed-forward layer: which layers compute it so, and that they give what they did."""

import copy
from typing import Any

import pytest
import torch
from transformers import DeepseekV4Config, GemmaConfig, LlamaConfig, MistralConfig, SeedOssConfig
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4MLP
from transformers.models.gemma.modeling_gemma import GemmaMLP
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.mistral.modeling_mistral import MistralMLP
from transformers.models.seed_oss.modeling_seed_oss import SeedOssMLP

from tunedeck_trainer.gated_kernel import GatedProduct, use_gated_kernel

SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}


def test_a_product_gives_the_gradients_that_numbers_give() -> None:
    torch.manual_seed(0)
    gate, up = (torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(GatedProduct.apply, [gate, up])
    torch.testing.assert_close(GatedProduct.apply(gate, up), torch.nn.functional.silu(gate) * up)


def test_no_gradient_of_its_gradient_is_made_up() -> None:
    gate, up = (torch.randn(3, 5, requires_grad=True) for _ in range(2))
    made = GatedProduct.apply(gate, up)
    [of_gate] = torch.autograd.grad(made.square().sum(), gate, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_gate.sum().backward()


class Scaled(LlamaMLP):
    """With something more than the three parts."""

    def forward(self, x: torch.Tensor) -> Any:
        return 2 * super().forward(x)


class Without(torch.nn.Module):
    """Experts, whose parts are no layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (
            torch.nn.Parameter(torch.randn(3, 16, 16)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.gate_proj[0]


@pytest.mark.parametrize(
    ("layer", "taken"),
    [
        (LlamaMLP(LlamaConfig(**SIZES)), 1),
        (LlamaMLP(LlamaConfig(mlp_bias=True, **SIZES)), 1),
        (LlamaMLP(LlamaConfig(**SIZES)).to(torch.bfloat16), 0),
        (LlamaMLP(LlamaConfig(hidden_act="gelu", **SIZES)), 0),
        (GemmaMLP(GemmaConfig(**SIZES)), 0),
        (MistralMLP(MistralConfig(**SIZES)), 1),
        (SeedOssMLP(SeedOssConfig(residual_dropout=0.1, **SIZES)).eval(), 0),
        (DeepseekV4MLP(DeepseekV4Config(**SIZES)), 0),
        (Scaled(LlamaConfig(**SIZES)), 0),
        (Without(), 0),
    ],
    ids=["llama", "bias", "16 bits", "gelu", "gemma", "mistral", "dropout", "clamp", "more", "experts"],
)
def test_a_layer_is_taken_by_what_it_computes(layer: torch.nn.Module, taken: int) -> None:
    x = torch.randn(2, 3, 16, dtype=next(layer.parameters()).dtype)
    before = layer(x)
    assert use_gated_kernel(layer) == taken
    assert use_gated_kernel(layer) == 0
    torch.testing.assert_close(layer(x), before)


def test_a_copy_computes_by_its_own_weights() -> None:
    layer = LlamaMLP(LlamaConfig(**SIZES))
    use_gated_kernel(layer)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.down_proj.weight.mul_(2)
    x = torch.randn(3, 16)
    torch.testing.assert_close(other(x), 2 * layer(x))
