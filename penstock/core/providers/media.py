"""Providers without chat: embeddings, rerank, speech, images, video, OCR. Names, URLs and keys; formats come with the
operations."""

from __future__ import annotations

from penstock.core.providers.spec import Provider, row

_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION_NAME", "AWS_PROFILE_NAME")
_REGION = "{AWS_REGION_NAME|AWS_REGION|AWS_DEFAULT_REGION}"

EMBEDDINGS: tuple[Provider, ...] = (
    row(
        "jina_ai",
        "https://api.jina.ai/v1",
        "JINA_AI_API_KEY",
        "JINA_API_KEY",
        dialects=(),
        docs="https://jina.ai/embeddings",
    ),
    row(
        "voyage",
        "https://api.voyageai.com/v1",
        "VOYAGE_API_KEY",
        "VOYAGE_AI_API_KEY",
        dialects=(),
        docs="https://docs.voyageai.com",
    ),
)

ENGINES: tuple[Provider, ...] = (
    row(
        "tei",
        "http://localhost:8080/v1",
        "TEI_API_KEY",
        dialects=(),
        local=True,
        owner="huggingface",
        docs="https://huggingface.github.io/text-embeddings-inference",
    ),
)

MEDIA: tuple[Provider, ...] = (
    row("aws_polly", f"https://polly.{_REGION}.amazonaws.com", env=_AWS, dialects=(), auth="sigv4", version=""),
    row("aws_textract", f"https://textract.{_REGION}.amazonaws.com", env=_AWS, dialects=(), auth="sigv4", version=""),
    row("transcribe", f"https://transcribe.{_REGION}.amazonaws.com", env=_AWS, dialects=(), auth="sigv4", version=""),
    row("azure_speech", None, "AZURE_API_KEY", dialects=(), auth="api-key", version=""),
    row("black_forest_labs", "https://api.bfl.ai", "BLACK_FOREST_LABS_API_KEY", "BFL_API_KEY", dialects=(), version=""),
    row("deepgram", "https://api.deepgram.com/v1", "DEEPGRAM_API_KEY", dialects=()),
    row("elevenlabs", "https://api.elevenlabs.io", "ELEVENLABS_API_KEY", dialects=(), version=""),
    row("fal_ai", "https://fal.run", "FAL_AI_API_KEY", dialects=(), version=""),
    row("nvidia_riva", None, "NVIDIA_RIVA_API_KEY", dialects=(), version=""),
    row("recraft", "https://external.api.recraft.ai/v1", "RECRAFT_API_KEY", dialects=()),
    row("reducto", None, "REDUCTO_API_KEY", dialects=(), version=""),
    row("runwayml", "https://api.dev.runwayml.com", "RUNWAYML_API_KEY", dialects=(), version=""),
    row("soniox", "https://api.soniox.com", "SONIOX_API_KEY", dialects=(), version=""),
    row("stability", "https://api.stability.ai", "STABILITY_API_KEY", dialects=(), version=""),
    row("topaz", "https://api.topazlabs.com", "TOPAZ_API_KEY", dialects=(), version=""),
)

ROWS: tuple[Provider, ...] = EMBEDDINGS + ENGINES + MEDIA
