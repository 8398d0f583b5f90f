"""The model that is trained: loaded from safetensors alone, and made ready by its method."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed, of_exception
from tunedeck_trainer.precision import weight_dtype

_TO_A_LAYER = re.compile(r"^.*?\.\d+\.")
"""Of a module's name, up to the number of its layer."""


def check_method(settings: Hyperparameters, on_gpu: bool) -> None:
    """Refuse early what cannot be done here.

    Raises:
        RunFailed: the method is qlora, and there is no CUDA GPU or no bitsandbytes.
    """
    if settings.method != "qlora":
        return
    if not on_gpu:
        raise RunFailed(
            FailureCode.BAD_SETTINGS,
            "method: qlora keeps the model in 4 bits, which needs a CUDA GPU, and this trainer runs on a "
            "CPU; choose lora.",
        )
    if find_spec("bitsandbytes") is None:
        raise RunFailed(
            FailureCode.BAD_SETTINGS,
            "method: qlora needs the package bitsandbytes, which is not installed beside this trainer; "
            "install it there or choose lora.",
        )


def prepare_model(folder: Path, settings: Hyperparameters, compute: torch.dtype, on_gpu: bool) -> Any:
    """The model with the weights that its method trains as the only ones with a gradient.

    Raises:
        RunFailed: it cannot be loaded, or target_modules do not fit it.
    """
    if settings.method == "qlora":
        model = load_model(folder, compute, on_gpu, quantization_config=_four_bits(compute))
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        return add_lora(model, settings)
    model = load_model(folder, weight_dtype(settings, compute), on_gpu)
    return model if settings.method == "full" else add_lora(model, settings)


def is_in_four_bits(settings: Hyperparameters, on_gpu: bool) -> bool:
    """Whether a model that only speaks is loaded so."""
    return settings.method == "qlora" and on_gpu and find_spec("bitsandbytes") is not None


def load_frozen(folder: Path, settings: Hyperparameters, compute: torch.dtype, on_gpu: bool) -> Any:
    """The model to be asked and not trained: of qlora in 4 bits, where this device can.

    Raises:
        RunFailed: it cannot be loaded.
    """
    if is_in_four_bits(settings, on_gpu):
        return load_model(folder, compute, on_gpu, quantization_config=_four_bits(compute))
    return load_model(folder, compute, on_gpu)


def load_model(folder: Path, dtype: torch.dtype, on_gpu: bool = False, **options: Any) -> Any:
    """The causal language model of a folder, from safetensors alone; straight onto the GPU, past the host's
    memory, which may be less."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            device_map={"": 0} if on_gpu else None,
            **options,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise RunFailed(FailureCode.MODEL_NOT_FOUND, f"The model cannot be loaded: {error}") from error
    except RuntimeError as error:
        # Of weights in other shapes than the configuration says; what finds no memory is another matter.
        if of_exception(error).code is FailureCode.OUT_OF_MEMORY:
            raise
        raise RunFailed(FailureCode.MODEL_NOT_FOUND, f"The model cannot be loaded: {error}") from error


def add_lora(model: Any, settings: Hyperparameters) -> Any:
    """The model with fresh LoRA matrices as the only weights that are trained."""
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        target_modules=settings.target_modules,
    )
    try:
        return get_peft_model(model, lora)
    except (ValueError, re.error) as error:
        raise RunFailed(FailureCode.BAD_SETTINGS, f"target_modules do not fit this model: {error}") from error


def in_any_layer(config: PretrainedConfig, settings: Hyperparameters) -> Hyperparameters:
    """The settings for a model of fewer layers: what target_modules match in some layer, they match in all.

    Raises:
        RunFailed: they do not fit the whole model.
    """
    if settings.method == "full" or settings.target_modules == "all-linear":
        return settings
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config)
        tuned = add_lora(whole, settings.model_copy(update={"use_dora": False}))
    matched = [
        name for name, one in tuned.get_base_model().named_modules() if isinstance(one, BaseTunerLayer)
    ]
    parts = sorted({_TO_A_LAYER.sub("", name) for name in matched})
    return settings.model_copy(update={"target_modules": parts})


def _four_bits(compute: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
