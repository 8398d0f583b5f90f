"""LoRA's layers as one operation, and several as one: what they give, and which are left to peft.

That losses stay those of the plain way is in `test_faster_ways.py`.
"""

import copy
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.child_runs import MODEL
from tests.unit.trainer.conftest import SETTINGS
from tunedeck_trainer.lora_kernel import LoraLinears, called_together, use_kernel
from tunedeck_trainer.model_loading import add_lora, load_model

Batch = dict[str, torch.Tensor]


def test_a_layer_gives_the_gradients_that_numbers_give() -> None:
    torch.manual_seed(0)
    shapes = [(2, 3, 5), (4, 5), (4,), (2, 5), (4, 2), (3, 5), (1, 5), (3, 1)]
    x, weight, bias, down, up, other, other_down, other_up = (
        torch.randn(shape, dtype=torch.float64) for shape in shapes
    )

    def together(x: torch.Tensor, *trained: torch.Tensor) -> Any:
        down, up, other_down, other_up = trained
        parts = (weight, bias, down, up, other, None, other_down, other_up)
        return LoraLinears.apply(x, (1.7, 0.6), *parts)

    trained = (x, down, up, other_down, other_up)
    first, second = together(*trained)
    torch.testing.assert_close(first, x @ weight.t() + bias + 1.7 * (x @ down.t() @ up.t()))
    torch.testing.assert_close(second, x @ other.t() + 0.6 * (x @ other_down.t() @ other_up.t()))
    assert torch.autograd.gradcheck(together, [one.requires_grad_() for one in trained])
    assert torch.autograd.gradcheck(together, [x.detach(), *trained[1:]])


def test_no_gradient_of_a_layers_gradient_is_made_up() -> None:
    x, down, up = (torch.randn(shape, requires_grad=True) for shape in ((3, 5), (2, 5), (4, 2)))
    [made] = LoraLinears.apply(x, (1.7,), torch.randn(4, 5), None, down, up)
    [of_x] = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_x.sum().backward()


def test_layers_with_one_input_are_computed_by_the_first_and_only_for_that_input(plain: Any) -> None:
    model = copy.deepcopy(plain)
    attention = model.get_base_model().model.layers[0].self_attn
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    x, other = torch.randn(3, 7, layers[0].in_features), torch.randn(2, 5, layers[0].in_features)
    wanted, of_other = ([layer(each) for layer in layers] for each in (x, other))
    with called_together(model) as groups:
        model(input_ids=torch.tensor([[1, 2, 3]]))
    assert [len(group) for group in groups] == [3, 1, 2, 1] * 2
    assert groups[0] == layers
    assert use_kernel(model, groups) == 14
    for made, one in zip([layer(x) for layer in layers], wanted, strict=True):
        torch.testing.assert_close(made, one)
    # Without the first, again, or with another input: whatever is called, it is what that layer gives.
    query, key, value = layers
    for layer, number in ((value, 2), (key, 1), (key, 1), (query, 0), (query, 0), (value, 2)):
        torch.testing.assert_close(layer(x), wanted[number])
        torch.testing.assert_close(layer(other), of_other[number])


def test_no_rows_at_all_give_none(plain: Any) -> None:
    model = copy.deepcopy(plain)
    use_kernel(model)
    layer = model.get_base_model().model.layers[0].mlp.gate_proj
    nothing = torch.empty(0, layer.in_features, requires_grad=True)
    made = layer(nothing)
    made.sum().backward()
    assert made.shape == (0, layer.out_features)
    assert nothing.grad is not None and nothing.grad.shape == nothing.shape


def test_a_layer_with_another_adapter_is_left_to_peft(plain: Any, batches: list[Batch]) -> None:
    model = copy.deepcopy(plain)
    use_kernel(model)
    model.add_adapter("other", model.peft_config["default"])
    with torch.no_grad():
        before = plain(input_ids=batches[0]["input_ids"]).logits
        torch.testing.assert_close(model(input_ids=batches[0]["input_ids"]).logits, before)


def test_what_the_first_layer_leaves_is_not_kept_when_the_others_took_it(plain: Any) -> None:
    model = copy.deepcopy(plain)
    attention = model.get_base_model().model.layers[0].self_attn
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    use_kernel(model, [layers])
    x = torch.randn(3, layers[0].in_features)
    results = [weakref.ref(layer(x)) for layer in layers]
    assert [one() for one in results] == [None] * 3
    gone = weakref.ref(x)
    del x
    assert gone() is None


def test_a_layer_without_its_adapter_is_the_base(plain: Any, batches: list[Batch]) -> None:
    model = copy.deepcopy(plain)
    use_kernel(model)
    with torch.no_grad(), model.disable_adapter():
        ours = model(input_ids=batches[0]["input_ids"]).logits
    with torch.no_grad(), plain.disable_adapter():
        torch.testing.assert_close(ours, plain(input_ids=batches[0]["input_ids"]).logits)
    with torch.no_grad():
        tuned = plain(input_ids=batches[0]["input_ids"]).logits
        assert not torch.allclose(ours, tuned, atol=1e-2)
        model.merge_adapter()
        torch.testing.assert_close(model(input_ids=batches[0]["input_ids"]).logits, tuned)


@pytest.mark.parametrize("changed", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_layers_of_another_kind_are_left_to_peft(models_dir: Path, changed: dict[str, object]) -> None:
    model = load_model(models_dir / MODEL, torch.float32)
    assert use_kernel(add_lora(model, SETTINGS.model_copy(update=changed))) == 0
