"""Asks a model the same questions without and with an adapter, in a process of its own.

`python -m tunedeck_cli.answers` reads the request as JSON from standard input and
writes the answers to standard output. It loads the adapter with peft, so it is
also the proof that peft can.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunedeck_cli.errors import CommandFailed

NEW_TOKENS = 40


@dataclass(frozen=True)
class Answers:
    """One answer a question, in the order of the questions."""

    before: list[str]
    after: list[str]


def ask(model: Path, adapter: Path, questions: list[str], *, seconds: float = 300.0) -> Answers:
    """Greedy answers of the model alone and with the adapter. Raises CommandFailed when one does not load."""
    request = json.dumps({"model": str(model), "adapter": str(adapter), "questions": questions})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "tunedeck_cli.answers"],
        input=request,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"peft could not load the adapter in {adapter}:\n{done.stderr[-3000:]}")
    return Answers(**json.loads(done.stdout.splitlines()[-1]))


def _answer_both(model_folder: str, adapter: str, questions: list[str]) -> Answers:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="float32")
    model.eval()
    before = [_answer(model, tokenizer, question) for question in questions]
    tuned = PeftModel.from_pretrained(model, adapter)
    tuned.eval()
    return Answers(before=before, after=[_answer(tuned, tokenizer, question) for question in questions])


def _answer(model: Any, tokenizer: Any, question: str) -> str:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    tokens = model.generate(
        **prompt,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
    )
    answer: str = tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    return answer.strip()


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    answers = _answer_both(asked["model"], asked["adapter"], asked["questions"])
    print(json.dumps(asdict(answers)))
