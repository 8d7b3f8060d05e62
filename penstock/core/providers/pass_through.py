"""Pass-through: which provider a path means, and what of a request and its answer is passed on.

``/{provider}/{path}`` goes to the provider's own host as it came. What is taken out are the headers of one connection
(RFC 9110, 7.6.1), the credentials and cookies that are for the gateway, and what tells of the client's own network;
from answers, what would speak for the gateway's host name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote_to_bytes

from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS, get
from penstock.core.providers.google import VERTEX
from penstock.core.providers.names import PROVIDER_ALIASES
from penstock.core.providers.spec import Provider

SPELLINGS: Mapping[str, str] = {"vertex-ai": "vertex_ai", "openai_passthrough": "openai"}
"""LiteLLM's other names of pass-through prefixes."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CREDENTIALS = frozenset(
    b"authorization x-litellm-api-key api-key x-api-key x-goog-api-key ocp-apim-subscription-key".split()
)
_KIN: tuple[frozenset[str], ...] = (
    VERTEX,
    frozenset({"cohere", "cohere_chat"}),
    frozenset({"azure", "azure_text"}),
    frozenset({"openai", "text-completion-openai"}),
    frozenset({"anthropic", "anthropic_text"}),
    frozenset({"ollama", "ollama_chat"}),
)
_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade".split()
)
# Not of the request itself: framing that we make anew, the coding (see ``request_headers``), where it came from.
_NOT_SENT = (
    _HOP
    | CREDENTIALS
    | frozenset(
        b"host content-length expect accept-encoding cookie cookie2 origin referer forwarded via x-real-ip x-client-ip "
        b"cf-connecting-ip true-client-ip x-amz-date x-amz-security-token x-amz-content-sha256".split()
    )
)
PASS = b"x-pass-"
_NOT_SENT_BEGINS = (b"x-forwarded-", b"x-litellm-", b"x-penstock-", b"sec-")
# Of an answer: what a browser would take for the gateway's own word, or what is made anew.
_NOT_TOLD = _HOP | frozenset(
    b"content-length set-cookie set-cookie2 strict-transport-security alt-svc clear-site-data public-key-pins nel "
    b"report-to x-litellm-call-id x-litellm-response-cost".split()
)
_FOREIGN = re.compile(rb"[\x00-\x20\x7f-\xff\\#]")  # in no URL but percent-encoded
_ENCODED = re.compile(rb"[\x00-\x1f\x7f\\]")  # nor there


def provider_at(path: str) -> Provider | None:
    """Find the provider whose pass-through a path is below; None for any other path."""
    name, slash, _ = path[1:].partition("/")
    return get(SPELLINGS.get(name, name)) if slash and path[:1] == "/" else None


def prefixes() -> list[str]:
    """List the first segments of the paths that are passed through."""
    return sorted({*PROVIDERS, *PROVIDER_ALIASES, *SPELLINGS})


def kin(provider: Provider) -> frozenset[str]:
    """Return the names of rows that are the same vendor's API."""
    return next((names for names in _KIN if provider.name in names), frozenset({provider.name}))


def rest_of(raw: bytes) -> str:
    """Return what follows the prefix of a path as it was sent. Raises "bad_request" for a path that an upstream may
    take for another: dot segments in any encoding, empty segments, backslashes, control characters."""
    head, slash, rest = raw[1:].partition(b"/")
    if raw[:1] != b"/" or not slash:
        raise _bad("it does not begin with one segment and a slash")
    if _FOREIGN.search(raw) or b"?" in raw:
        raise _bad("it has a character that must be percent-encoded")
    if b"//" in raw:
        raise _bad("it has an empty segment (//)")
    decoded = raw
    for _ in range(8):
        if _ENCODED.search(decoded):
            raise _bad("it has a backslash or a control character, encoded")
        if any(part.partition(b";")[0] in (b".", b"..") for part in decoded.split(b"/")):
            raise _bad("it has a dot segment (. or ..)")
        again = unquote_to_bytes(decoded)
        if again == decoded:
            return "/" + rest.decode("ascii")
        decoded = again
    raise _bad("it is percent-encoded too many times")


def _bad(why: str) -> GatewayError:
    return GatewayError("bad_request", f"This path is not passed on: {why}.", param="path")


def query_for(provider: Provider | None, query: bytes, secret: bytes = b"") -> str:
    """Return the client's query as it was sent; without ``key`` for Google, where the gateway's key may stand in it,
    and without ``secret`` (the gateway's key, if there is one) wherever it stands. Raises "bad_request" for characters
    that no URL has."""
    if _FOREIGN.search(query):
        raise GatewayError("bad_request", "The query has a character that must be percent-encoded.", param="query")
    google = provider is not None and takes_key_in_query(provider)
    if query and (google or secret):

        def ours(part: bytes) -> bool:
            name, _, value = part.partition(b"=")
            if google and unquote_to_bytes(name) == b"key":
                return True
            return bool(secret) and secret in unquote_to_bytes(value)

        query = b"&".join(part for part in query.split(b"&") if not ours(part))
    return query.decode("ascii")


def takes_key_in_query(provider: Provider) -> bool:
    """Tell whether the vendor's own clients may send their credential as ``?key=``."""
    return provider.name == "gemini" or provider.name in VERTEX


def dialect_at(provider: Provider, rest: str) -> str:
    """Tell whose words are spoken at a path: it decides the credential's header and the shape of our own errors."""
    google = provider.name == "gemini" or provider.name in VERTEX
    if "/publishers/anthropic/" in rest:
        return "anthropic"
    if google:
        return "openai_chat" if "/openai/" in rest or "/openapi/" in rest else "gemini"
    speaks = (*provider.dialects, *provider.may_speak)
    if "anthropic" in speaks and (provider.dialects[:1] == ("anthropic",) or re.search(r"/messages(?:[/?]|$)", rest)):
        return "anthropic"
    if "ollama" in speaks and rest.startswith("/api/"):
        return "ollama"
    if "cohere" in speaks:
        return "cohere"
    first = provider.dialects[0] if provider.dialects else "openai_chat"
    return "openai_chat" if first == "ollama" else first


def request_headers(
    headers: Mapping[bytes, bytes], ours: Iterable[bytes] = (), secret: bytes = b""
) -> list[tuple[bytes, bytes]]:
    """Return the client's headers for the upstream. ``ours``: names that we set ourselves. ``secret``: the gateway's
    key, which goes on under no name. ``accept-encoding`` is left out, so that the answer comes uncompressed: what it
    used is read on the way. ``x-pass-NAME`` goes as NAME and before a header of that name
    (docs.litellm.ai/docs/proxy/pass_through)."""
    taken = _NOT_SENT | _named(headers.get(b"connection", b"")) | frozenset(ours)
    sent: dict[bytes, bytes] = {}
    for given, value in headers.items():
        name = given.removeprefix(PASS)
        if given in taken or name in taken or name.startswith(_NOT_SENT_BEGINS) or (secret and secret in value):
            continue
        if name == given:
            sent.setdefault(name, value)
        else:
            sent[name] = value
    return list(sent.items())


def answer_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an upstream's headers for the client, in order, duplicates kept. Whether web pages may read the answer is
    the gateway's to say, so an upstream's CORS headers stay here, too."""
    pairs = list(headers)
    taken = _NOT_TOLD | _named(b",".join(value for name, value in pairs if name == b"connection"))
    return [(name, value) for name, value in pairs if name not in taken and not name.startswith(b"access-control-")]


def _named(connection: bytes) -> frozenset[bytes]:
    return frozenset(name.strip().lower() for name in connection.split(b",")) if connection else frozenset()


SHORTEST_SECRET = 8  # characters; a shorter one ("x" at a local engine) would be found in anything
LONGEST_MODEL = 300  # characters; it would stand in log lines
# Bedrock's /model/ has nothing but a slash behind the name, which may have colons ("...-v1:0").
_MODEL = re.compile(r"/(?:model/(?=([^/?]+))|(?:models|deployments|engines)/(?=([^/:?]+)))")


def model_in(rest: str) -> str:
    """Find the model that a path names (Gemini, Vertex AI, Bedrock, Azure), decoded; else ""."""
    found = _MODEL.findall(rest)
    return unquote_to_bytes("".join(found[-1])).decode("utf-8", "replace")[:LONGEST_MODEL] if found else ""


def with_model(rest: str, model: str) -> str:
    """Put a model's name in the place of the one that a path names."""
    *_, found = _MODEL.finditer(rest)
    start, end = found.span(found.lastindex or 0)
    return rest[:start] + quote(model, safe="") + rest[end:]
