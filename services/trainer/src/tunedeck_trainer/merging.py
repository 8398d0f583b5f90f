"""The adapter merged into its base model: a whole model beside it, and how alike both answer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tunedeck_contracts.artifacts import MergeAgreement
from tunedeck_trainer.model_config import positions
from tunedeck_trainer.row_tokens import IGNORED, Example
from tunedeck_trainer.whole_model import save_whole

MERGED_FOLDER = "merged"
PROMPTS = 16
NEW_TOKENS = 32

Answer = list[int]


def save_merged(
    model: Any, tokenizer: Any, held_out: Sequence[Example], folder: Path, between: Callable[[], None]
) -> MergeAgreement:
    """Write the merged model into `folder`; the adapter in `model` is gone then.

    The weights are merged in the numbers in which they were loaded. `between` is called between two answers,
    and may raise what ends it.
    """
    prompts = [_prompt(one) for one in evenly_spaced(held_out)]
    model.eval()
    of_adapter = [_answered(model, tokenizer, prompt, between) for prompt in prompts]
    merged = model.merge_and_unload()
    of_merged = [_answered(merged, tokenizer, prompt, between) for prompt in prompts]
    save_whole(merged, folder)
    tokenizer.save_pretrained(folder)
    return agreement(of_adapter, of_merged)


def evenly_spaced(held_out: Sequence[Example]) -> list[Example]:
    """PROMPTS of them or all: they come sorted by length, and each length has its part."""
    count = min(PROMPTS, len(held_out))
    return [held_out[place * len(held_out) // count] for place in range(count)]


def agreement(one: Sequence[Answer], other: Sequence[Answer]) -> MergeAgreement:
    """How alike two answers to each prompt are. A token that one of them lacks is not the same."""
    pairs = list(zip(one, other, strict=True))
    places = sum(max(len(a), len(b)) for a, b in pairs)
    same = sum(x == y for a, b in pairs for x, y in zip(a, b, strict=False))
    return MergeAgreement(
        prompts=len(pairs),
        new_tokens=NEW_TOKENS,
        equal_answers=sum(a == b for a, b in pairs) / len(pairs),
        equal_tokens=same / places if places else 1.0,
    )


def _prompt(example: Example) -> list[int]:
    """The tokens before the answer."""
    answer_at = next(place for place, label in enumerate(example.labels) if label != IGNORED)
    return example.input_ids[:answer_at]


def _answered(model: Any, tokenizer: Any, prompt: list[int], between: Callable[[], None]) -> Answer:
    between()
    room = (positions(model.config) or len(prompt) + NEW_TOKENS) - len(prompt)
    asked = torch.tensor([prompt], device=model.device)
    with torch.no_grad():
        tokens = model.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=min(NEW_TOKENS, room),
            do_sample=False,
            num_beams=1,
            # What only sampling heeds, and a model's own generation_config may have set.
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id,
        )
    answer: Answer = tokens[0, len(prompt) :].tolist()
    return answer
