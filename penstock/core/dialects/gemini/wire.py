"""The ``generateContent`` wire shapes that both directions use, and the words of this dialect.

Sources: the public REST reference (https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching for
``Content`` and ``Tool``), Vertex AI's (https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference)
and the type package of the ``google-genai`` client 3.3. The strict structs are the fast path: a part with a field that
the neutral form cannot hold fails here and is read key by key, which keeps that field (see ``parts_in``).
"""

from __future__ import annotations

import base64
import binascii
import re

from msgspec import Raw, Struct

from penstock.core.dialects.endings import Words, own_word
from penstock.core.errors import GatewayError
from penstock.core.ir import Seal, unpack_seal

NAME = "gemini"
FAMILY = "gemini"


class _Strict(Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """An object of the wire: unknown fields are refused on the way in, absent ones left out on the way out."""


class Blob(_Strict):
    mime_type: str
    data: str


class FileData(_Strict):
    file_uri: str
    mime_type: str | None = None


class FunctionCall(_Strict):
    name: str
    id: str | None = None
    args: Raw = Raw()


class FunctionResponse(_Strict):
    name: str
    id: str | None = None
    response: Raw = Raw()


class Part(_Strict):
    """A part of a content: exactly one of text, inlineData, fileData, functionCall and functionResponse is set."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None


class Content(_Strict):
    parts: list[Part] | None = None
    role: str | None = None


# Google's JSON is read in two spellings: the reference writes lowerCamelCase, its curl examples also snake_case.
CAMEL = {
    "".join(("_" + c.lower()) if c.isupper() else c for c in name): name
    for name in (
        "generationConfig systemInstruction toolConfig safetySettings cachedContent serviceTier generateContentRequest "
        "inlineData fileData mimeType fileUri displayName functionCall functionResponse executableCode "
        "codeExecutionResult videoMetadata mediaResolution thoughtSignature partMetadata toolCall toolResponse "
        "willContinue partialArgs functionDeclarations parametersJsonSchema responseJsonSchema googleSearch "
        "googleSearchRetrieval codeExecution urlContext googleMaps computerUse fileSearch functionCallingConfig "
        "allowedFunctionNames retrievalConfig topP topK maxOutputTokens stopSequences candidateCount responseMimeType "
        "responseSchema responseLogprobs presencePenalty frequencyPenalty thinkingConfig thinkingBudget thinkingLevel "
        "includeThoughts responseModalities speechConfig imageConfig anyOf minItems maxItems minLength maxLength "
        "taskType outputDimensionality embedContentConfig autoTruncate "
        "minProperties maxProperties propertyOrdering prefixItems additionalProperties"
    ).split()
}

# https://ai.google.dev/api/generate-content#FinishReason. Every way in which an answer is withheld is "filter".
FINISH_IN = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "MODEL_ARMOR",
        ),
        "filter",
    ),
}
# The model, or what reads its tokens, made nothing that can be used. Each has come with no content and, asked again,
# with an answer (vercel/ai#11127, google-gemini/gemini-cli#16747).
_FAILED = (
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "LANGUAGE",
    "OTHER",
    "NO_IMAGE",
    "IMAGE_OTHER",
)
WORDS = Words("finishReason", FINISH_IN, dict.fromkeys(_FAILED, "upstream_error"), frozenset(_FAILED))
FINISH_OUT = {
    "stop": "STOP",
    "tool_use": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "context": "MAX_TOKENS",
    "filter": "SAFETY",
    "refusal": "SAFETY",
}
_UNSAID = ("", "FINISH_REASON_UNSPECIFIED")
_WORD = re.compile(r"[A-Z][A-Z_]+")


def finish_in(word: str, called: bool, said: bool, why: str = "") -> str:
    """Return the neutral reason. "STOP" is also the word for an answer that calls functions. Raises what ``Words.read``
    raises, and "upstream_error" for a STOP with nothing before it, which is no answer either."""
    reason = WORDS.read(word, said, why)
    if reason == "stop" and not said:
        raise GatewayError("upstream_error", f'The upstream\'s answer is empty, with finishReason "{word}".')
    return "tool_use" if reason == "stop" and called else reason


def finish_out(reason: str) -> str:
    """Return the ``finishReason``; words of other vendors are OTHER where they are not shaped as one."""
    known = FINISH_OUT.get(reason)
    if known is not None:
        return known
    word = own_word(reason, WORDS)
    return word if _WORD.fullmatch(word) else "OTHER"


def is_finish(word: str | None) -> bool:
    """Tell whether a ``finishReason`` says that the candidate is complete."""
    return word is not None and word not in _UNSAID


# Signatures. The field is base64, and the vendor's clients decode it: a seal of another family is packed as such.
_FOREIGN = "cGVuc3RvY2su"  # base64 of "penstock."
_REDACTED = "penstock.redacted."
_PLAIN = str.maketrans("-_", "+/")

SKIP = "skip_thought_signature_validator"
"""What the API takes in place of a signature it never gave: history of another model, or a client that lost it.
https://ai.google.dev/gemini-api/docs/thought-signatures ("transferring a conversation trace from a different model").
"""
_SKIPS = frozenset((SKIP, "context_engineering_is_the_way_to_go", base64.b64encode(SKIP.encode()).decode()))


def pack(seal: Seal, redacted: bool = False) -> str:
    """Pack a seal as ``thoughtSignature`` for a client of this dialect."""
    if seal.family == FAMILY and not redacted:
        return seal.data
    text = f"{_REDACTED}{seal.family}.{seal.data}" if redacted else seal.pack(FAMILY)
    return base64.b64encode(text.encode()).decode()


def unpack(text: str) -> tuple[Seal | None, bool]:
    """Return the seal in a ``thoughtSignature``, and whether its thought was redacted."""
    if text in _SKIPS:
        return None, False
    if text.startswith(_FOREIGN):
        try:
            # google-genai sends back in the URL-safe alphabet what it got in the other one.
            inner = base64.b64decode(text.translate(_PLAIN), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return Seal(FAMILY, text), False
        if inner.startswith(_REDACTED):
            family, _, data = inner[len(_REDACTED) :].partition(".")
            return Seal(family, data), True
        return unpack_seal(inner, FAMILY), False
    return unpack_seal(text, FAMILY), False
