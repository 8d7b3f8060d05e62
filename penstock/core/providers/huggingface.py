"""Where Hugging Face embeds texts itself: a URL with the model in it, beside the router's chat.

https://huggingface.co/docs/inference-providers/tasks/feature-extraction. Of the providers behind the router only
Hugging Face's own inference has this form; a model may name it (`model:hf-inference`).
"""

from __future__ import annotations

from penstock.core.providers.paths import in_path

HUB = "huggingface"
OWN = "hf-inference"
NO_RANKING = (
    "Hugging Face's router ranks no documents: run text-embeddings-inference (or an Inference Endpoint of it) and give "
    "its address as api_base in the model's litellm_params"
)


def hub_url(model: str) -> str:
    """Return the URL of a model's embeddings. Raises `LookupError` for another provider's."""
    name, _, via = model.partition(":")
    if via not in ("", OWN):
        raise LookupError(f"Hugging Face's router has embeddings of {OWN} only, not of {via!r}: leave it out")
    return f"https://router.huggingface.co/{OWN}/models/{in_path(name, '/')}/pipeline/feature-extraction"
