"""Mean cross-entropy per trained token, in nats, for training and evaluation alike.

Only the positions that predict an answer's token go through the output layer: with a vocabulary of
49,152 it is a quarter of the work, and on a question's tokens its result would be thrown away.
"""

from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional

from tunedeck_trainer.data import IGNORED

_AGREEMENT = 1e-4
_AGREEMENT_OF_16_BITS = 2e-2


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
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    decoded = causal.base_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    )
    targets = inputs["labels"][:, 1:]
    counted = targets != IGNORED
    hidden = decoded.last_hidden_state[:, :-1][counted]
    logits = causal.get_output_embeddings()(hidden).float()
    return functional.cross_entropy(logits, targets[counted], reduction="sum")


def can_skip_questions(model: Any, inputs: dict[str, torch.Tensor]) -> bool:
    """Whether both ways agree on a sample: not for models that scale or cap their logits afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole, answers = whole_loss_sum(model, inputs).item(), answer_loss_sum(model, inputs).item()
    except (AttributeError, TypeError, NotImplementedError):
        # The model has no such parts, or takes other arguments: its own forward is the way that always is.
        return False
    finally:
        model.train(was_training)
    tolerance = _AGREEMENT if model.dtype == torch.float32 else _AGREEMENT_OF_16_BITS
    return bool(abs(whole - answers) <= tolerance * max(1.0, abs(whole)))


def count_targets(inputs: dict[str, torch.Tensor]) -> int:
    """Tokens that the loss counts in a batch."""
    return int((inputs["labels"][:, 1:] != IGNORED).sum())
