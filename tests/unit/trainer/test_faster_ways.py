"""What makes a step faster changes no loss: each way beside the model's own forward, on the tiny model."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, OPTConfig, OPTForCausalLM

from tests.unit.trainer.child_runs import MODEL, write_rows
from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import data, head_loss, row_tokens, shared_prefix, token_loss
from tunedeck_trainer.lora_kernel import LoraLinear, use_kernel
from tunedeck_trainer.model_loading import add_lora, load_model
from tunedeck_trainer.norm_kernel import use_norm_kernel
from tunedeck_trainer.tokenizer_loading import load_tokenizer

SETTINGS = Hyperparameters(max_length=64)
Batch = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def batches(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Batch]:
    """Of four rows that begin alike and differ in length."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(file, 90)
    tokenizer = load_tokenizer(models_dir / MODEL)
    rows = data.prepare(file, tokenizer, SETTINGS).train
    columns = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
    return [data.collate(columns[at : at + 4]) for at in range(0, 80, 4)]


@pytest.fixture(scope="module")
def plain(models_dir: Path) -> Any:
    """peft's own model, whose B is no longer zero, so that every gradient counts."""
    torch.manual_seed(1)
    model = add_lora(load_model(models_dir / MODEL, torch.float32), SETTINGS)
    for name, one in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.1)
    return model


def fast(plain: Any, sample: Batch) -> tuple[Any, token_loss.LossSum]:
    """A copy as the trainer has it, and its loss."""
    model = copy.deepcopy(plain)
    assert (use_kernel(model), use_norm_kernel(model)) == (14, 5)
    return model, token_loss.fastest_loss_sum(model, sample, sample)


def losses(model: Any, loss_sum: token_loss.LossSum, batches: list[Batch]) -> list[float]:
    """Of one AdamW step for each batch."""
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    made = []
    for batch in batches:
        loss = loss_sum(model, batch) / token_loss.count_targets(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        made.append(loss.item())
    return made


def test_twenty_steps_have_the_losses_of_the_plain_way(plain: Any, batches: list[Batch]) -> None:
    ours = losses(*fast(plain, batches[0]), batches)
    theirs = losses(copy.deepcopy(plain), token_loss.whole_loss_sum, batches)
    assert len(ours) == 20
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours[-1] < ours[0] - 0.2


def test_every_gradient_is_that_of_the_plain_way(plain: Any, batches: list[Batch]) -> None:
    model, loss_sum = fast(plain, batches[0])
    assert loss_sum is token_loss.shared_loss_sum
    loss_sum(model, batches[0]).backward()
    other = copy.deepcopy(plain)
    token_loss.whole_loss_sum(other, batches[0]).backward()
    wanted = {name: one.grad for name, one in other.named_parameters() if one.requires_grad}
    assert len(wanted) == 28
    for name, one in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(one.grad, wanted[name], rtol=1e-3, atol=1e-4)


def test_a_batch_is_packed_behind_what_its_rows_begin_with() -> None:
    none = row_tokens.IGNORED
    ids = torch.tensor([[5, 6, 7, 1, 2], [5, 6, 7, 3, 0]])
    batch = {"input_ids": ids, "labels": torch.tensor([[none, none, none, none, 2], [none] * 3 + [3, none]])}
    made = shared_prefix.packed(batch)
    assert made is not None
    # The third token is the same too, but in the second row the loss counts what it predicts.
    assert made.input_ids.tolist() == [[5, 6, 7, 1, 2, 7, 3, 0]]
    assert made.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4]]
    assert made.labels.tolist() == [[none, none, 2], [none, 3, none]]
    assert made.mask[0, 0].int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert shared_prefix.packed({**batch, "input_ids": ids + torch.tensor([[0], [1]])}) is None
    assert shared_prefix.packed({name: rows[:1] for name, rows in batch.items()}) is None


def dropout(model: Any) -> None:
    model.config.attention_dropout = 0.1


def window(model: Any) -> None:
    model.config.sliding_window = 16


def other_attention(model: Any) -> None:
    model.set_attn_implementation("eager")


@pytest.mark.parametrize("changed", [dropout, window, other_attention])
def test_nothing_is_shared_where_it_would_change_the_training(
    plain: Any, batches: list[Batch], changed: Callable[[Any], None]
) -> None:
    model = copy.deepcopy(plain)
    changed(model.get_base_model())
    assert token_loss.fastest_loss_sum(model, batches[0], batches[0]) is token_loss.answer_loss_sum
    assert model.config._attn_implementation != shared_prefix.ATTENTION


def test_nothing_is_shared_in_a_model_with_dropout(gpt2_dir: Path) -> None:
    assert shared_prefix.attend_shared(load_model(gpt2_dir / GPT2, torch.float32)) is None


def test_nothing_is_shared_where_only_a_configuration_knows_of_dropout() -> None:
    sizes: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "ffn_dim": 32, "word_embed_proj_dim": 16}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
    for dropout in (0.1, 0.0):
        model = OPTForCausalLM(OPTConfig(dropout=dropout, attention_dropout=0.0, **sizes))
        assert not any(isinstance(one, torch.nn.Dropout) for one in model.modules())
        assert shared_prefix.attend_shared(model) == (None if dropout else "sdpa")


def test_nothing_is_shared_where_a_part_of_a_composite_model_has_a_window() -> None:
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = layer | {"vocab_size": 50, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 16}
    config = Gemma3Config(text_config=text, vision_config=layer | {"image_size": 28, "patch_size": 14})
    assert not hasattr(config, "sliding_window")
    assert shared_prefix.attend_shared(Gemma3ForConditionalGeneration(config)) is None


def test_nothing_is_shared_beyond_the_cpu(plain: Any) -> None:
    model = copy.deepcopy(plain.get_base_model())
    assert shared_prefix.attend_shared(model) == "sdpa"
    assert shared_prefix.attend_shared(model.to("meta")) is None


def test_a_way_that_disagrees_on_the_longest_rows_is_not_taken(
    plain: Any, batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_width = sorted(batches, key=lambda batch: batch["input_ids"].shape[1])
    shortest, longest = by_width[0], by_width[-1]
    assert shortest["input_ids"].shape[1] < longest["input_ids"].shape[1]

    def wrong_where_long(model: Any, inputs: Batch) -> torch.Tensor:
        return token_loss.answer_loss_sum(model, inputs) * (1.01 if inputs is longest else 1.0)

    monkeypatch.setattr(token_loss, "shared_loss_sum", wrong_where_long)
    model = copy.deepcopy(plain)
    assert token_loss.fastest_loss_sum(model, shortest, shortest) is wrong_where_long
    assert token_loss.fastest_loss_sum(model, shortest, longest) is token_loss.answer_loss_sum


def test_a_way_that_disagrees_is_not_taken(
    plain: Any, batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = lambda *options, **more: token_loss.answer_loss_sum(*options, **more) * 1.01  # noqa: E731
    monkeypatch.setattr(token_loss, "shared_loss_sum", wrong)
    model, loss_sum = fast(plain, batches[0])
    assert loss_sum is token_loss.answer_loss_sum
    assert model.config._attn_implementation == "sdpa"


def test_the_output_layer_computes_some_positions_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=False).requires_grad_(False)
    hidden, targets = torch.randn(23, 16, requires_grad=True), torch.randint(50, (23,))
    wanted = functional.cross_entropy(head(hidden), targets, reduction="sum")
    [gradient] = torch.autograd.grad(wanted, hidden)
    monkeypatch.setattr(head_loss, "_LOGITS", 50 * 4)
    loss = head_loss.head_loss_sum(head, hidden, targets)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    [ours] = torch.autograd.grad(loss * 3, hidden)
    torch.testing.assert_close(ours, gradient * 3)


def test_a_layer_gives_the_gradients_that_numbers_give() -> None:
    torch.manual_seed(0)
    shapes = [(2, 3, 5), (4, 5), (4,), (2, 5), (4, 2)]
    x, weight, bias, down, up = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    trained = [one.requires_grad_() for one in (x, down, up)]
    assert torch.autograd.gradcheck(
        lambda x, down, up: LoraLinear.apply(x, weight, bias, down, up, 1.7), trained
    )


def test_no_gradient_of_a_layers_gradient_is_made_up() -> None:
    x, down, up = (torch.randn(shape, requires_grad=True) for shape in ((3, 5), (2, 5), (4, 2)))
    made = LoraLinear.apply(x, torch.randn(4, 5), None, down, up, 1.7)
    [of_x] = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_x.sum().backward()


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
