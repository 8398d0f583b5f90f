"""A model that answers: the one used last stays loaded, and speaks with its adapter or without."""

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jinja2 import TemplateError
from peft import PeftModel
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer
from transformers.utils.logging import disable_progress_bar

from tunedeck_contracts.errors import BadRequest
from tunedeck_contracts.generation import COLDEST, GeneratedToken, GenerateText, GenerationEnd
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.message import Message
from tunedeck_trainer import memory, model_files, row_tokens
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.model_config import positions
from tunedeck_trainer.model_loading import is_in_four_bits, load_frozen
from tunedeck_trainer.precision import compute_dtype
from tunedeck_trainer.speech_pipe import Began, Ended, NoRoom, Said, Speak
from tunedeck_trainer.text_pieces import TextPieces
from tunedeck_trainer.tokenizer_loading import load_tokenizer
from tunedeck_trainer.weight_sizes import weight_bytes

Tell = Callable[[Message], None]

_BESIDE_WEIGHTS = 1.25
"""Memory of an answering model over that of its weights: what it computes, the keys and values it keeps."""

_NO_LENGTH = 10**9
"""transformers gives a tokenizer whose length nobody has said a far larger one."""


@dataclass
class _Loaded:
    folder: Path
    revision: str | None
    """None of a whole model that a job has made: its folder is the job's own."""
    precision: str
    has_four_bits: bool
    model: Any
    tokenizer: Any
    adapter: str | None = None
    """The job whose adapter is in the model."""


class Voice:
    """Answers one question at a time. `is_unwanted` says whether nobody listens to a stream any more."""

    def __init__(self, device: str, tell: Tell, is_unwanted: Callable[[str], bool]) -> None:
        disable_progress_bar()
        self._on_gpu = device.startswith("cuda") and torch.cuda.is_available()
        self._tell = tell
        self._is_unwanted = is_unwanted
        self._threads = torch.get_num_threads()
        self._loaded: _Loaded | None = None

    def forget(self) -> None:
        """Drop the model."""
        self._loaded = None
        if self._on_gpu:
            torch.cuda.empty_cache()

    def answer(self, asked: Speak) -> None:
        """Tell the answer token by token.

        Raises:
            BadRequest: the question does not fit into the model.
            RunFailed: the model or its adapter cannot be loaded.
        """
        torch.set_num_threads(asked.threads or self._threads)
        loaded = self._ready(asked)
        if loaded is None:
            return
        prompt = _prompt(asked.asked, loaded.tokenizer)
        room = _length(loaded) - len(prompt)
        if room < 1:
            raise BadRequest(
                f"The question has {len(prompt)} tokens, and the model reads {_length(loaded)}: shorten it."
            )
        self._tell(Began(stream_id=asked.stream_id))
        started = time.monotonic()
        config = _config(asked.asked, loaded, room)
        telling = _Telling(asked.stream_id, loaded.tokenizer, config.eos_token_id, self._tell)
        until = _Until(
            started + asked.asked.max_seconds, lambda: self._is_unwanted(asked.stream_id), self._on_gpu
        )
        if asked.asked.seed is not None:
            torch.manual_seed(asked.asked.seed)
        ids = torch.tensor([prompt], device=loaded.model.device)
        with torch.inference_mode(), _of(loaded, asked):
            loaded.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                streamer=telling,
                stopping_criteria=StoppingCriteriaList([until]),
            )
        telling.rest()
        reason: Literal["stop", "length", "time"] = "time" if until.is_over else "length"
        end = GenerationEnd(
            reason="stop" if telling.has_stopped else reason,
            tokens=telling.count,
            prompt_tokens=len(prompt),
            seconds=round(time.monotonic() - started, 3),
        )
        self._tell(Ended(stream_id=asked.stream_id, end=end))

    def _ready(self, asked: Speak) -> _Loaded | None:
        """The model that was asked for; None where there is no memory for it."""
        settings = asked.hyperparameters
        is_whole = asked.tuned is not None and settings.method == "full"
        folder = asked.tuned if is_whole else None
        if folder is None:
            folder = model_files.locate(asked.model, asked.models_dir)
        revision = None if is_whole else asked.model.revision
        wanted = (folder, revision, settings.precision, settings.method == "qlora")
        kept = self._loaded
        if kept is None or (kept.folder, kept.revision, kept.precision, kept.has_four_bits) != wanted:
            self.forget()
            compute = _compute(settings, self._on_gpu)
            size = weight_bytes(folder, compute, in_four_bits=is_in_four_bits(settings, self._on_gpu))
            needed = int(size * _BESIDE_WEIGHTS)
            if needed > (free := self._free()):
                self._tell(NoRoom(stream_id=asked.stream_id, needed_bytes=needed, free_bytes=free))
                return None
            model = load_frozen(folder, settings, compute, self._on_gpu)
            kept = _Loaded(*wanted, model.eval(), load_tokenizer(folder))
            self._loaded = kept
        if asked.tuned is not None and not is_whole:
            _put_adapter(kept, asked.job_uid, asked.tuned)
        return kept

    def _free(self) -> int:
        return torch.cuda.mem_get_info()[0] if self._on_gpu else memory.free_bytes()


class _Telling(BaseStreamer):  # type: ignore[misc]  # transformers has no types
    """Gets the question first, then each token of the answer."""

    def __init__(self, stream_id: str, tokenizer: Any, ends: list[int], tell: Tell) -> None:
        self.count = 0
        self.has_stopped = False
        self._stream_id = stream_id
        self._pieces = TextPieces(tokenizer)
        self._ends = ends
        self._tell = tell
        self._has_question = False

    def put(self, value: torch.Tensor) -> None:
        if not self._has_question:
            self._has_question = True
            return
        token = int(value.item())
        if token in self._ends:
            self.has_stopped = True
            return
        self._said(self._pieces.add(token))

    def end(self) -> None:
        """generate's last word."""

    def rest(self) -> None:
        """Tell what was held back."""
        self._said(self._pieces.rest())

    def _said(self, pieces: list[tuple[int, str]]) -> None:
        for number, text in pieces:
            token = GeneratedToken(index=self.count, id=number, text=text)
            self.count += 1
            self._tell(Said(stream_id=self._stream_id, token=token))


class _Until(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer whose time is over, or to which nobody listens."""

    def __init__(self, deadline: float, is_unwanted: Callable[[], bool], on_gpu: bool) -> None:
        self.is_over = False
        self._deadline = deadline
        self._is_unwanted = is_unwanted
        self._device = "cuda" if on_gpu else "cpu"

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        self.is_over = time.monotonic() > self._deadline or self._is_unwanted()
        return torch.full((input_ids.shape[0],), self.is_over, dtype=torch.bool, device=self._device)


def _prompt(asked: GenerateText, tokenizer: Any) -> list[int]:
    """The question exactly as training writes it."""
    messages = [{"role": one.role, "content": one.content} for one in asked.messages or []]
    if asked.prompt is not None:
        messages = [{"role": "user", "content": asked.prompt}]
    if tokenizer.chat_template is None and len(messages) > 1:
        raise BadRequest("The model has no chat template, so it takes one user's message and no more.")
    try:
        return row_tokens.prompt_tokens(row_tokens.prompt_text(messages, tokenizer), tokenizer)
    except TemplateError as error:
        raise BadRequest(f"The model's chat template does not take these messages: {error}") from error


def _config(asked: GenerateText, loaded: _Loaded, room: int) -> GenerationConfig:
    """The model's own settings, with what was asked for in their place."""
    config = copy.deepcopy(loaded.model.generation_config)
    own = config.eos_token_id
    draws = asked.temperature >= COLDEST
    ends = {*(own if isinstance(own, list) else [own]), loaded.tokenizer.eos_token_id} - {None}
    config.update(
        max_length=None,
        max_new_tokens=min(asked.max_new_tokens, room),
        num_beams=1,
        do_sample=draws,
        temperature=asked.temperature if draws else None,
        top_p=asked.top_p if draws else None,
        eos_token_id=sorted(ends),
        pad_token_id=loaded.tokenizer.pad_token_id,
        use_cache=True,
    )
    if not draws:
        config.update(top_k=None)
    elif config.top_k is None:
        # transformers' own default would leave all but 50 tokens out.
        config.update(top_k=0)
    return config


def _of(loaded: _Loaded, asked: Speak) -> contextlib.AbstractContextManager[Any]:
    """The base model speaks, though an adapter is in it."""
    if loaded.adapter is not None and asked.tuned is None:
        off: contextlib.AbstractContextManager[Any] = loaded.model.disable_adapter()
        return off
    return contextlib.nullcontext()


def _put_adapter(loaded: _Loaded, job_uid: str, folder: Path) -> None:
    """One adapter at a time is in the model."""
    if loaded.adapter == job_uid:
        return
    if loaded.adapter is None:
        loaded.model = PeftModel.from_pretrained(loaded.model, folder, adapter_name=job_uid)
    else:
        loaded.model.load_adapter(folder, adapter_name=job_uid)
        loaded.model.set_adapter(job_uid)
        loaded.model.delete_adapter(loaded.adapter)
    loaded.adapter = job_uid
    loaded.model.eval()


def _compute(settings: Hyperparameters, on_gpu: bool) -> torch.dtype:
    """The numbers of training; where this device does not have them, those it would choose."""
    try:
        return compute_dtype(settings, on_gpu)
    except RunFailed:
        return compute_dtype(settings.model_copy(update={"precision": "auto"}), on_gpu)


def _length(loaded: _Loaded) -> int:
    """Tokens that the model reads, question and answer together."""
    return positions(loaded.model.config) or int(min(loaded.tokenizer.model_max_length, _NO_LENGTH))
