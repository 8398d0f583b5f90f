"""By which rows a merged model is compared with its adapter."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import merging, row_tokens
from tunedeck_trainer.model_loading import add_lora, load_model
from tunedeck_trainer.tokenizer_loading import load_tokenizer
from tunedeck_trainer.whole_model import save_whole

READS = 128


def held_out(lengths: range) -> list[row_tokens.Example]:
    """Rows of prompts of these lengths, with an answer of one token."""
    return [
        row_tokens.Example(n, [5] * length + [6], [row_tokens.IGNORED] * length + [6], truncated=False)
        for n, length in enumerate(lengths, start=1)
    ]


def test_a_model_whose_generation_settings_contradict_each_other_is_saved_all_the_same(
    gpt2_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "published"
    shutil.copytree(gpt2_dir / GPT2, folder)
    published = {"temperature": 0.7, "top_p": 0.9, "pad_token_id": -1, "repetition_penalty": 1.1}
    (folder / "generation_config.json").write_text(json.dumps(published))
    model = load_model(folder, torch.float32)
    # As a Trainer does where the tokenizer has another.
    model.generation_config.eos_token_id = 2
    save_whole(model, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert (saved["eos_token_id"], saved["repetition_penalty"]) == (2, 1.1)
    assert not {"temperature", "top_p", "pad_token_id"} & saved.keys()
    load_model(tmp_path / "saved", torch.float32)


@pytest.mark.parametrize("count", [1, 3, 16, 17, 31, 32, 100])
def test_of_rows_sorted_by_length_every_length_has_its_part(count: int) -> None:
    rows = [one.row for one in merging.evenly_spaced(held_out(range(1, count + 1)))]
    assert len(rows) == min(16, count)
    steps = {after - before for before, after in pairwise(rows)}
    assert rows[0] == 1 and rows[-1] > count - max(1, count / 16) - 1
    assert steps <= {count // 16, count // 16 + 1}


def test_a_merge_asks_short_and_long_rows_up_to_the_models_own_length(gpt2_dir: Path, tmp_path: Path) -> None:
    model = add_lora(load_model(gpt2_dir / GPT2, torch.float32), Hyperparameters())
    asked: list[tuple[int, int]] = []
    own = model.generate

    def generate(**options: object) -> object:
        length = options["input_ids"].shape[1]  # type: ignore[attr-defined]
        asked.append((length, options["max_new_tokens"]))  # type: ignore[arg-type]
        return own(**options)

    model.generate = generate
    found = merging.save_merged(
        model, load_tokenizer(gpt2_dir / GPT2), held_out(range(97, READS)), tmp_path, lambda: None
    )
    # An answer may not go on behind the last position.
    assert [length for length, _ in asked] == [97 + place * 31 // 16 for place in range(16)]
    assert [new for _, new in asked] == [min(merging.NEW_TOKENS, READS - length) for length, _ in asked]
    assert (found.prompts, found.equal_answers) == (16, 1.0)
