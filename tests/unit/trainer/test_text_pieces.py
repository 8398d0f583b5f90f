"""The text of tokens, one after the other: together it is the text of all, and no character is torn."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tunedeck_trainer.text_pieces import TextPieces
from tunedeck_trainer.tokenizer_loading import load_tokenizer

BROKEN = "\N{REPLACEMENT CHARACTER}"


def byte_fallback() -> PreTrainedTokenizerFast:
    """As SentencePiece's: a word begins with ▁, and what has no token of its own is a token for each byte."""
    words = ["<unk>", "▁", "▁Hello", "▁world", "!", "a", "é"]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def spoken(tokenizer: Any, tokens: list[int]) -> list[tuple[int, str]]:
    pieces = TextPieces(tokenizer)
    return [one for token in tokens for one in pieces.add(token)] + pieces.rest()


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters=BROKEN)))
def test_the_pieces_of_a_text_of_bytes_are_the_text(models_dir: Path, text: str) -> None:
    tokenizer = load_tokenizer(models_dir / "local/tiny")
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    told = spoken(tokenizer, tokens)
    assert [token for token, _ in told] == tokens
    assert "".join(piece for _, piece in told) == tokenizer.decode(tokens, skip_special_tokens=True)
    assert not any(BROKEN in piece for _, piece in told)


def test_a_character_comes_whole_with_its_last_token(models_dir: Path) -> None:
    tokenizer = load_tokenizer(models_dir / "local/tiny")
    tokens = tokenizer("a€🙂", add_special_tokens=False)["input_ids"]
    assert [piece for _, piece in spoken(tokenizer, tokens)] == ["a", "", "", "€", "", "", "", "🙂"]


def test_words_keep_their_spaces_and_bytes_are_joined() -> None:
    tokenizer = byte_fallback()
    tokens = [2, 3, 4, *(7 + byte for byte in "🙂".encode()), *(7 + byte for byte in "€".encode()), 2]
    told = [piece for _, piece in spoken(tokenizer, tokens)]
    assert told == ["Hello", " world", "!", "", "", "", "🙂", "", "", "€", " Hello"]
    assert "".join(told) == tokenizer.decode(tokens)


@pytest.mark.parametrize("make", [byte_fallback, None])
def test_what_is_no_text_is_held_back_for_a_while_and_not_for_ever(models_dir: Path, make: Any) -> None:
    tokenizer = make() if make else load_tokenizer(models_dir / "local/tiny")
    half = tokenizer("€", add_special_tokens=False)["input_ids"][0]
    pieces = TextPieces(tokenizer)
    told = [one for _ in range(20) for one in pieces.add(half)]
    assert len(told) == 17
    told += pieces.rest()
    assert "".join(piece for _, piece in told) == BROKEN * 20
    assert [token for token, _ in told] == [half] * 20


def test_special_tokens_are_no_text(models_dir: Path) -> None:
    tokenizer = load_tokenizer(models_dir / "local/tiny")
    tokens = [*tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer.bos_token_id]
    assert spoken(tokenizer, tokens) == [(tokens[0], "a"), (tokens[1], "")]
