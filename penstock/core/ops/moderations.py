"""/v1/moderations: is this text or image harmful. ``model`` is optional.

Reference: platform.openai.com/docs/api-reference/moderations. Mistral's answer (docs.mistral.ai, "Moderation") has no
``flagged``; clients branch on it, so it is told here: any category that holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.errors import error_in_answer
from penstock.core.dialects.openai_chat.reading import items, needed, opens, present, wrong
from penstock.core.dialects.openai_chat.usage import read_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage

DEFAULT = "omni-moderation-latest"
WANT = "a text, a list of texts, or a list of parts"


class _Result(Struct, gc=False):
    categories: dict[str, bool | None] | None = None


_TOP = Decoder(dict[str, Raw]).decode
_RESULTS = Decoder(list[dict[str, Raw]]).decode
_RESULT = Decoder(list[_Result]).decode


def check(fields: Mapping[str, Raw]) -> None:
    """Check the input. Raises "bad_request" for nothing to judge."""
    raw = needed(fields, "input", "", WANT)
    if opens(raw, "["):
        if not items(raw, "input"):
            raise GatewayError("bad_request", "'input' is an empty list; it must be " + WANT + ".", param="input")
    elif not opens(raw, '"'):
        raise wrong("input", raw, WANT)


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Rewrite an upstream's answer with the client's name of the model. Raises "broken_answer", and the error of a 200
    that carries one."""
    try:
        fields = _TOP(body)
        if "results" not in fields and (error := present(fields, "error")) is not None:
            raise error_in_answer(error)
        results = _RESULTS(fields.get("results", Raw(b"null")))
        if any("flagged" not in result for result in results):
            for result, read in zip(results, _RESULT(fields["results"]), strict=True):
                flagged = any((read.categories or {}).values())
                result.setdefault("flagged", Raw(b"true" if flagged else b"false"))
            fields["results"] = Raw(encode(results))
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's answer is no moderation: {error}.") from None
    fields["model"] = model
    usage = read_usage(fields["usage"]) if "usage" in fields else None
    return encode(fields), usage
