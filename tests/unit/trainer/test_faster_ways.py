"""What makes a step faster changes no loss: each way beside the model's own forward, on the tiny model."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, OPTConfig, OPTForCausalLM
from transformers.models.llama import modeling_llama

from tests.unit.trainer.resume_runs import GPT2
from tunedeck_trainer import head_loss, row_tokens, shared_prefix, token_loss
from tunedeck_trainer.gated_kernel import use_gated_kernel
from tunedeck_trainer.lora_kernel import called_together, use_kernel
from tunedeck_trainer.model_loading import load_model
from tunedeck_trainer.norm_kernel import use_norm_kernel
from tunedeck_trainer.rotary_kernel import use_rotary_kernel

Batch = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def their_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back in its place after each test."""
    own = modeling_llama.apply_rotary_pos_emb
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", getattr(own, "theirs", own))


def fast(plain: Any, sample: Batch) -> tuple[Any, token_loss.LossSum]:
    """A copy as the trainer has it, and its loss."""
    model = copy.deepcopy(plain)
    assert (use_norm_kernel(model), use_gated_kernel(model), use_rotary_kernel(model)) == (5, 2, 1)
    with called_together(model) as groups:
        loss_sum = token_loss.fastest_loss_sum(model, sample, sample)
    assert use_kernel(model, groups) == 14
    return model, loss_sum


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
    # First, with transformers' own rotation.
    theirs = losses(copy.deepcopy(plain), token_loss.whole_loss_sum, batches)
    ours = losses(*fast(plain, batches[0]), batches)
    assert len(ours) == 20
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours[-1] < ours[0] - 0.2


def test_every_gradient_is_that_of_the_plain_way(plain: Any, batches: list[Batch]) -> None:
    other = copy.deepcopy(plain)
    token_loss.whole_loss_sum(other, batches[0]).backward()
    model, loss_sum = fast(plain, batches[0])
    assert loss_sum is token_loss.shared_loss_sum
    loss_sum(model, batches[0]).backward()
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
