"""Mean cross-entropy per trained token, in nats, for training and evaluation alike.

Only the positions that predict an answer's token go through the output layer: with a vocabulary of
49,152 it is a quarter of the work, and on a question's tokens its result would be thrown away. Nor is what
all rows of a batch begin with computed for each of them.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional

from tunedeck_trainer.head_loss import head_loss_sum
from tunedeck_trainer.row_tokens import IGNORED
from tunedeck_trainer.shared_prefix import attend_shared, packed

LossSum = Callable[[Any, dict[str, torch.Tensor]], torch.Tensor]

log = logging.getLogger("tunedeck")

_AGREEMENT = 1e-4
_AGREEMENT_OF_16_BITS = 2e-2
_OF_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Settings of models that cap or scale what their output layer gives."""


def whole_loss_sum(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed loss by the model's own forward over every position; a scalar."""
    output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
    targets = inputs["labels"][:, 1:]
    return functional.cross_entropy(
        output.logits[:, :-1].float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


def answer_loss_sum(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed loss with the output layer run only where it is needed; a scalar."""
    causal = _causal(model)
    decoded = causal.base_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    )
    return _at_answers(causal, decoded.last_hidden_state, inputs["labels"])


def shared_loss_sum(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed loss with what the rows begin with computed once, where that saves enough; a scalar.

    The model's attention has to be `shared_prefix.ATTENTION`.
    """
    batch = packed(inputs)
    if batch is None:
        return answer_loss_sum(model, inputs)
    causal = _causal(model)
    decoded = causal.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.mask,
        use_cache=False,
    )
    return _at_answers(causal, batch.of_rows(decoded.last_hidden_state), batch.labels)


def _causal(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _at_answers(causal: Any, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    targets = labels[:, 1:]
    counted = targets != IGNORED
    return head_loss_sum(causal.get_output_embeddings(), hidden[:, :-1][counted], targets[counted])


def fastest_loss_sum(
    model: Any, shortest: dict[str, torch.Tensor], longest: dict[str, torch.Tensor]
) -> LossSum:
    """The loss that saves the most of those that agree with the model's own on a sample of rows.

    What is to be shared among rows is not seen to agree on a single one: take two at least. It has to agree
    on the longest rows too, with the loss that skips the questions.
    """
    if not can_skip_questions(model, shortest):
        return whole_loss_sum
    causal = _causal(model)
    former = attend_shared(causal) if packed(shortest) is not None else None
    if former is not None:
        if agree(shared_loss_sum, whole_loss_sum, model, shortest) and agree(
            shared_loss_sum, answer_loss_sum, model, longest
        ):
            return shared_loss_sum
        causal.set_attn_implementation(former)
    return answer_loss_sum


def can_skip_questions(model: Any, inputs: dict[str, torch.Tensor]) -> bool:
    """Whether both ways agree on a sample: not for models that scale or cap their logits afterwards.

    Of a cap that bites seldom a sample in 16 bits may show nothing: the model's settings tell of it.
    """
    config = _causal(model).config.get_text_config()
    if any(getattr(config, name, None) not in (None, 1.0) for name in _OF_LOGITS):
        return False
    return agree(answer_loss_sum, whole_loss_sum, model, inputs)


def agree(quicker: LossSum, slower: LossSum, model: Any, inputs: dict[str, torch.Tensor]) -> bool:
    """Whether two losses are the same on a sample."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            wanted, given = slower(model, inputs).item(), quicker(model, inputs).item()
    except (AttributeError, TypeError, NotImplementedError, RuntimeError) as error:
        # The model has no such parts, takes other arguments or has no room for both: the slower way stays.
        log.info("The losses are computed the slower way: %s does not work here: %r", quicker.__name__, error)
        return False
    finally:
        model.train(was_training)
    tolerance = _AGREEMENT if model.dtype == torch.float32 else _AGREEMENT_OF_16_BITS
    return bool(abs(wanted - given) <= tolerance * max(1.0, abs(wanted)))


def count_targets(inputs: dict[str, torch.Tensor]) -> int:
    """Tokens that the loss counts in a batch."""
    return int((inputs["labels"][:, 1:] != IGNORED).sum())
