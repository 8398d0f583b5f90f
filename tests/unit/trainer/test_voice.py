"""The model that answers: base, adapters and whole models in turn, each as transformers has it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationMixin

from tests.unit.trainer.child_runs import MODEL
from tunedeck_contracts.errors import BadRequest
from tunedeck_contracts.generation import GenerateText, GenerationEnd
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.message import Message
from tunedeck_contracts.models import ResolvedModel
from tunedeck_trainer import memory, voice
from tunedeck_trainer.model_loading import load_frozen
from tunedeck_trainer.speech_pipe import Began, Ended, NoRoom, Said, Speak
from tunedeck_trainer.voice import Voice

LORA = Hyperparameters()
FULL = Hyperparameters(method="full")
QLORA = Hyperparameters(method="qlora")
QUESTION = "What is 1 plus 1?"
COUNT = 12


def an_adapter(folder: Path, base: Path, seed: int) -> Path:
    """LoRA matrices that change what the base says."""
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def a_whole_model(folder: Path, base: Path) -> Path:
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def said_by_transformers(folder: Path, adapter: Path | None = None) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    asked = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    said = model.generate(**asked, do_sample=False, max_new_tokens=COUNT)[0, asked["input_ids"].shape[1] :]
    return [token for token in said.tolist() if token != tokenizer.eos_token_id]


class Told:
    """A voice, and what it has told of its last answer."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self.messages: list[Message] = []
        self.unwanted_after = 10**6
        self.voice = Voice("cpu", self.messages.append, lambda _: len(self.tokens) >= self.unwanted_after)

    @property
    def tokens(self) -> list[int]:
        return [message.token.id for message in self.messages if isinstance(message, Said)]

    @property
    def end(self) -> GenerationEnd:
        last = self.messages[-1]
        assert isinstance(last, Ended)
        return last.end

    def say(
        self,
        tuned: Path | None = None,
        settings: Hyperparameters = LORA,
        job: str = "job_1",
        revision: str = "sha256:0",
        **asked: Any,
    ) -> list[int]:
        self.messages.clear()
        self.voice.answer(
            Speak(
                stream_id="s",
                job_uid=job,
                model=ResolvedModel(uid=MODEL, name="tiny", revision=revision, source="folder"),
                hyperparameters=settings,
                models_dir=self.models_dir,
                tuned=tuned,
                asked=GenerateText(**{"prompt": QUESTION, "max_new_tokens": COUNT, **asked}),
                threads=1,
            )
        )
        return self.tokens


@pytest.fixture
def told(models_dir: Path) -> Told:
    return Told(models_dir)


def test_base_adapters_and_whole_models_take_turns(told: Told, models_dir: Path, tmp_path: Path) -> None:
    base = models_dir / MODEL
    one, two = an_adapter(tmp_path / "one", base, 1), an_adapter(tmp_path / "two", base, 2)
    whole = a_whole_model(tmp_path / "whole", base)
    plain = said_by_transformers(base)
    expected = {
        "one": said_by_transformers(base, one),
        "two": said_by_transformers(base, two),
        "whole": said_by_transformers(whole),
    }
    assert len({tuple(said) for said in (plain, *expected.values())}) == 4
    assert told.say() == plain
    for adapter in (one, two, one):
        assert told.say(adapter, job=adapter.name) == expected[adapter.name]
        assert told.say() == plain
    assert told.say(whole, FULL) == expected["whole"]
    assert told.say(None, FULL) == plain
    assert told.say(two, job="two") == expected["two"]


def test_a_model_in_four_bits_is_another_than_the_same_in_its_own(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(folder: Path, settings: Hyperparameters, *where: Any) -> Any:
        loaded.append(settings.method)
        # A CPU has no weights in 4 bits.
        return load_frozen(folder, LORA, *where)

    monkeypatch.setattr(voice, "load_frozen", load)
    for settings in (LORA, LORA, QLORA, QLORA, LORA):
        told.say(settings=settings, max_new_tokens=1)
    assert loaded == ["lora", "qlora", "lora"]
    # Other weights in the same folder are another model too.
    told.say(revision="sha256:1", max_new_tokens=1)
    assert loaded == ["lora", "qlora", "lora", "lora"]


def test_an_answer_to_which_nobody_listens_is_given_up(told: Told) -> None:
    told.unwanted_after = 3
    # transformers asks before it hands over the token that it has.
    assert len(told.say(max_new_tokens=400)) in (3, 4)


def test_the_models_own_length_ends_an_answer_and_a_longer_question_is_refused(told: Told) -> None:
    tokens = told.say(max_new_tokens=4096)
    assert (told.end.reason, told.end.tokens) == ("length", len(tokens))
    assert told.end.tokens + told.end.prompt_tokens == 512
    with pytest.raises(BadRequest, match=r"has \d+ tokens, and the model reads 512"):
        told.say(prompt="x" * 600)


def test_the_token_that_ends_the_turn_is_not_told(told: Told, models_dir: Path, tmp_path: Path) -> None:
    said = said_by_transformers(models_dir / MODEL)
    # The same model for whom its own third token ends the turn.
    folder = tmp_path / MODEL
    folder.mkdir(parents=True)
    for file in (models_dir / MODEL).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    generation = {"eos_token_id": [2, said[2]]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    ended = Told(tmp_path)
    before = said[: said.index(said[2])]
    assert ended.say() == before
    assert (ended.end.reason, ended.end.tokens) == ("stop", len(before))


def test_drawing_leaves_no_token_out_but_what_the_models_own_settings_leave_out(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    heeded: list[int | None] = []
    own = GenerationMixin._get_logits_processor

    def noted(self: Any, generation_config: Any, *args: Any, **options: Any) -> Any:
        heeded.append(generation_config.top_k)
        return own(self, generation_config, *args, **options)

    monkeypatch.setattr(GenerationMixin, "_get_logits_processor", noted)
    told.say(temperature=1.0, top_p=1.0, max_new_tokens=2)
    assert heeded == [0]


def test_a_model_for_which_there_is_no_memory_is_not_loaded(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    told.say()
    [found] = told.messages
    assert isinstance(found, NoRoom)
    assert (found.free_bytes, found.needed_bytes > 4 * 10_000) == (1000, True)
    monkeypatch.undo()
    told.say()
    assert isinstance(told.messages[0], Began)


def test_a_model_without_a_template_takes_one_question_alone(
    told: Told, models_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / MODEL
    folder.mkdir(parents=True)
    for file in (models_dir / MODEL).iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).write_bytes(file.read_bytes())
    plain = Told(tmp_path)
    plain.say(max_new_tokens=1)
    # "What is 1 plus 1?" and a line break, a token for each byte.
    assert plain.end.prompt_tokens == len(QUESTION) + 1
    user = {"role": "user", "content": "Hi"}
    with pytest.raises(BadRequest, match="no chat template"):
        plain.say(prompt=None, messages=[{"role": "system", "content": "x"}, user])
