"""The rotation of queries and keys by their position: where it is written out, and gives what it did."""

from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.cohere import modeling_cohere
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama

from tunedeck_trainer.rotary_kernel import Rotary, Rotation, use_rotary_kernel

NAME = "apply_rotary_pos_emb"
SIZES: dict[str, Any] = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32}
SIZES |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch) -> dict[ModuleType, Any]:
    """transformers' own functions, which are in their places before and after each test."""
    found = {}
    for module in (modeling_llama, modeling_gpt_neox, modeling_cohere):
        own = getattr(module, NAME)
        found[module] = own.theirs if isinstance(own, Rotary) else own
        monkeypatch.setattr(module, NAME, found[module])
    return found


def test_a_rotation_gives_the_gradient_that_numbers_give() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 6, dtype=torch.float64, requires_grad=True)
    cos, sin = (torch.randn(1, 1, 3, 6, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: Rotation.apply(x, cos, sin), [x])


def test_no_gradient_of_its_gradient_is_made_up() -> None:
    x = torch.randn(3, 6, requires_grad=True)
    made = Rotation.apply(x, torch.randn(3, 6), torch.randn(3, 6))
    [of_x] = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_x.sum().backward()


def test_a_models_rotations_are_taken_once_and_give_what_they_did(theirs: dict[ModuleType, Any]) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    ids = torch.randint(50, (2, 7))
    before = model(ids).logits
    assert [use_rotary_kernel(model), use_rotary_kernel(model)] == [1, 1]
    assert modeling_llama.apply_rotary_pos_emb == Rotary(theirs[modeling_llama])
    torch.testing.assert_close(model(ids).logits, before)


def test_where_a_part_of_each_is_turned_it_is_theirs_still() -> None:
    model = GPTNeoXForCausalLM(GPTNeoXConfig(rotary_pct=0.25, **SIZES))
    ids = torch.randint(50, (2, 7))
    before = model(ids).logits
    use_rotary_kernel(model)
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["wide", "16 bits"])
def test_what_is_no_rotation_of_halves_in_fp32_is_left_alone(
    dtype: torch.dtype, theirs: dict[ModuleType, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if dtype == torch.float32:
        monkeypatch.setattr(modeling_llama, NAME, theirs[modeling_cohere])
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).to(dtype)
    assert use_rotary_kernel(model) == 0
    assert not isinstance(modeling_llama.apply_rotary_pos_emb, Rotary)


def test_who_gives_queries_alone_or_by_name_has_theirs() -> None:
    def theirs(q: Any, k: Any = None, cos: Any = None, sin: Any = None) -> tuple[Any, ...]:
        return q, k, cos, sin

    x = torch.randn(1, 2, 3, 8)
    assert Rotary(theirs)(x, cos=x, sin=None) == (x, None, x, None)


def test_of_queries_and_keys_of_unlike_length_it_is_theirs() -> None:
    given = [torch.randn(1, 2, positions, 8) for positions in (1, 5)] + [torch.randn(1, 5, 8)] * 2
    assert Rotary(lambda *given: "theirs")(*given) == "theirs"


def test_what_is_given_more_is_theirs(theirs: dict[ModuleType, Any]) -> None:
    ours, own = Rotary(theirs[modeling_llama]), theirs[modeling_llama]
    query, key = torch.randn(2, 3, 3, 8), torch.randn(2, 3, 3, 8)
    cos, sin = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    for more, named in (((2,), {}), ((), {"unsqueeze_dim": 2})):
        for made, wanted in zip(
            ours(query, key, cos, sin, *more, **named), own(query, key, cos, sin, *more, **named), strict=True
        ):
            torch.testing.assert_close(made, wanted, rtol=0, atol=0)
    half = [one.bfloat16() for one in (query.transpose(1, 2), key.transpose(1, 2), cos, sin)]
    for made, wanted in zip(ours(*half), own(*half), strict=True):
        assert made.dtype == torch.bfloat16
        torch.testing.assert_close(made, wanted, rtol=0, atol=0)
