"""In what numbers a run computes: what was asked for, where the device can."""

import torch

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed


def is_gpu(device: str) -> bool:
    """Whether a run for this device ('cpu' or 'cuda:<index>') computes on a GPU.

    Raises:
        RunFailed: the device is a GPU that torch cannot use; on the CPU nobody would expect it.
    """
    if not device.startswith("cuda"):
        return False
    if not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise RunFailed(
            FailureCode.DEVICE_UNAVAILABLE,
            f"The trainer's device is {device}, but its torch {torch.__version__}, which was built {built}, "
            "finds no GPU that it can use: install torch's build for CUDA or a driver that is new enough, or "
            'train on the CPU with TUNEDECK_DEVICES=["cpu"].',
        )
    return True


def compute_dtype(settings: Hyperparameters, on_gpu: bool) -> torch.dtype:
    """The numbers of the forward and backward pass.

    Raises:
        RunFailed: the device cannot compute in what was asked for.
    """
    match settings.precision:
        case "fp32":
            return torch.float32
        case "bf16":
            if on_gpu and not _gpu_has_bf16():
                raise RunFailed(
                    FailureCode.BAD_SETTINGS,
                    f"precision: {torch.cuda.get_device_name()} has no bf16; choose fp16 or fp32.",
                )
            return torch.bfloat16
        case "fp16":
            if not on_gpu:
                raise RunFailed(
                    FailureCode.BAD_SETTINGS,
                    "precision: fp16 is trained with scaled gradients, which need a CUDA GPU, and this "
                    "trainer runs on a CPU; choose fp32 or bf16.",
                )
            return torch.float16
        case _:
            return torch.bfloat16 if on_gpu and _gpu_has_bf16() else torch.float32


def weight_dtype(settings: Hyperparameters, compute: torch.dtype) -> torch.dtype:
    """The numbers in which the model is loaded: small steps are lost in less than fp32, so what is trained
    is kept in it, and LoRA's matrices are so beside a model of any numbers."""
    return torch.float32 if settings.method == "full" else compute


def _gpu_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
