"""What a model's id says: whether it is one, who made the model, what it is called."""

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, not in __all__

from tunedeck_contracts.errors import FieldProblem, ValidationFailed

LOCAL = "local"

_PROVIDERS = {
    LOCAL: "Local",
    "allenai": "Ai2",
    "bigscience": "BigScience",
    "cohereforai": "Cohere",
    "deepseek-ai": "DeepSeek",
    "distilbert": "Hugging Face",
    "eleutherai": "EleutherAI",
    "facebook": "Meta",
    "google": "Google",
    "huggingfaceh4": "Hugging Face",
    "huggingfacetb": "Hugging Face",
    "ibm-granite": "IBM",
    "meta-llama": "Meta",
    "microsoft": "Microsoft",
    "mistralai": "Mistral AI",
    "nvidia": "NVIDIA",
    "openai": "OpenAI",
    "openai-community": "OpenAI",
    "qwen": "Qwen",
    "stabilityai": "Stability AI",
    "tiiuae": "TII",
    "tinyllama": "TinyLlama",
}


def checked_model_id(value: str) -> str:
    """The id, if it is one by the Hub's rule; `local/<name>` is one too. It can never climb out of a folder.

    Raises:
        ValidationFailed: it is none.
    """
    try:
        validate_repo_id(value)
    except HFValidationError:
        sentence = (
            "a model id is 'name' or 'owner/name' of letters, digits, '-', '_' and '.', at most 96 long; "
            "a folder of your own is 'local/<name>'"
        )
        raise ValidationFailed(f"id: {sentence}.", [FieldProblem(loc="id", message=sentence)]) from None
    return value


def provider_of(model_id: str) -> str:
    """Who made it: by the owner in the id, which stands for itself when it is not known."""
    owner, slash, _ = model_id.partition("/")
    if not slash:
        return "Unknown"
    return _PROVIDERS.get(owner.lower(), owner)


def name_of(model_id: str) -> str:
    """`meta-llama/Llama-3.1-70B-Instruct` -> `Llama 3.1 70B Instruct`."""
    return model_id.rpartition("/")[2].replace("-", " ").replace("_", " ").strip() or model_id
