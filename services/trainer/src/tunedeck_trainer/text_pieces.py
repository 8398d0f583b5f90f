"""The text of tokens that come one after the other.

A token is not always a text: a character may take several, and how a tokenizer writes one depends on
those before it. So each is decoded behind its predecessors, and only what it adds is told. transformers'
own streamer waits for the end of a word.
"""

from typing import Any

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 4
"""Bytes in UTF-8, and so the most tokens that one takes."""


class TextPieces:
    """Takes tokens, gives back each with its text as soon as that is certain.

    A special token has a text only `with_special`.
    """

    def __init__(self, tokenizer: Any, *, with_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._with_special = with_special
        self._before: list[int] = []
        self._held: list[int] = []

    def add(self, token: int) -> list[tuple[int, str]]:
        """The tokens whose text is certain now: none while a character is not whole."""
        self._held.append(token)
        text = self._text([*self._before, *self._held])
        if not text.endswith(_BROKEN):
            return self._released(len(self._held))
        # The first of so many can be no part of a character any more: it is none.
        return self._released(1) if len(self._held) >= _LONGEST_CHARACTER else []

    def rest(self) -> list[tuple[int, str]]:
        """What is left at the end, with a replacement character where one is not whole."""
        return self._released(len(self._held)) if self._held else []

    def _released(self, count: int) -> list[tuple[int, str]]:
        released, self._held = self._held[:count], self._held[count:]
        added = self._text([*self._before, *released])[len(self._text(self._before)) :]
        self._before = released
        return [*((token, "") for token in released[:-1]), (released[-1], added)]

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=not self._with_special))
