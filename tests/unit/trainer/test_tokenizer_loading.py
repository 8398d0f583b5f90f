"""Tokenizers as models bring them."""

import io
import json
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceTrainer

from tunedeck_trainer.row_tokens import Row, encode
from tunedeck_trainer.tokenizer_loading import load_tokenizer

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "What does the fox do? It jumps.",
    "Who is lazy?",
]


def sentencepiece(folder: Path) -> Any:
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=64, model_type="bpe"
    )
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return load_tokenizer(folder)


def test_an_answer_has_the_tokens_that_it_has_behind_its_question(tmp_path: Path) -> None:
    tokenizer = sentencepiece(tmp_path)
    example = encode([Row(1, "Is the dog quick?", "The fox is.")], tokenizer, 64)[0]
    together = tokenizer("Is the dog quick?\nThe fox is.")["input_ids"]
    assert example.input_ids == [*together, tokenizer.eos_token_id]
    alone = tokenizer("The fox is.", add_special_tokens=False)["input_ids"]
    assert together[-len(alone) :] != alone, "it begins by a blank"


def test_a_tokenizer_that_is_a_sentencepiece_model_alone_is_read(tmp_path: Path) -> None:
    tokenizer = sentencepiece(tmp_path)
    tokens = tokenizer("Is the dog quick?")["input_ids"]
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "Is the dog quick?"
    assert tokenizer.unk_token_id not in tokens
