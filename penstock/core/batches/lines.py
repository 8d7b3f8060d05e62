"""The lines of a batch: those that ask, checked one by one, and those that tell what became of each.

A result has the form of OpenAI's output files (platform.openai.com/docs/guides/batch): what went well stands in one
file, what did not in another, with the ``custom_id`` of who asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from penstock.core.batches.kept import LineError, Used

LONGEST_ID = 512
"""Characters of a ``custom_id``."""
MOST_FAULTS = 100
"""Faults that are told of one file."""
CANCELLED, EXPIRED = "batch_cancelled", "batch_expired"
"""Codes of lines that were not asked."""
_WHY = {
    CANCELLED: "This request was not executed before the batch was cancelled.",
    EXPIRED: "This request could not be executed before the completion window expired.",
}


class Asked(NamedTuple):
    """One request of a batch. ``url`` "": it names none."""

    custom_id: str
    body: bytes
    url: str = ""


class _Line(Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: Raw = Raw(b"null")


_decode = msgspec.json.Decoder(_Line).decode


def digest(custom_id: str) -> bytes:
    """Return what stands for an id among those that are known: fifty thousand long ids need not be held."""
    return hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_line(raw: bytes) -> Asked:
    """Read a line that was checked before."""
    line = _decode(raw)
    return Asked(line.custom_id, bytes(line.body), line.url or "")


class Checker:
    """Checks the lines of an input file one after the other. ``endpoints``: where each may go; of several a line that
    does not say it goes to the first. ``total``: lines that ask so far; ``faults``: what is wrong."""

    def __init__(self, endpoints: Sequence[str], most: int, longest: int) -> None:
        self.total = 0
        self.faults: list[LineError] = []
        self._endpoints, self._most, self._longest = endpoints, most, longest
        self._seen: set[bytes] = set()
        self._over = False

    @property
    def full(self) -> bool:
        """Tell whether nothing more need be looked at."""
        return self._over or len(self.faults) >= MOST_FAULTS

    def check(self, number: int, raw: bytes) -> None:
        """Look at a line. ``number``: from 1. An empty line is none."""
        if not raw.strip():
            return
        self.total += 1
        if self.total > self._most:
            self._over = True
            self._tell("too_many_requests", f"A batch has at most {self._most} requests.", None, number)
            return
        if len(raw) > self._longest:
            text = f"The line has {len(raw)} bytes; no request here is over {self._longest}."
            self._tell("line_too_long", text, None, number)
            return
        try:
            line = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"This line is not parseable as valid JSON: {error}"
            self._tell("invalid_json_line", text, None, number)
            return
        self._check_fields(line, number)

    def close(self) -> None:
        """Look at the file as a whole."""
        if not self.total and not self.faults:
            self._tell("empty_file", "The input file is empty: each of its lines must be a request.", None, None)

    def _check_fields(self, line: _Line, number: int) -> None:
        id_ = line.custom_id
        if not isinstance(id_, str) or not 1 <= len(id_) <= LONGEST_ID:
            text = f"'custom_id' must be a text of 1 to {LONGEST_ID} characters, not {_shown(id_)}."
            self._tell("invalid_custom_id", text, "custom_id", number)
        else:
            known = digest(id_)
            if known in self._seen:
                text = f"The custom_id {_shown(id_)} for this request is a duplicate of another request."
                self._tell("duplicate_custom_id", text, "custom_id", number)
            self._seen.add(known)
        if line.method not in ("POST", None):
            self._tell("invalid_method", f"'method' must be 'POST', not {_shown(line.method)}.", "method", number)
        if line.url not in self._endpoints and (len(self._endpoints) == 1 or line.url is not None):
            wanted = " or ".join(repr(one) for one in self._endpoints)
            text = f"'url' must be the endpoint of the batch, {wanted}, not {_shown(line.url)}."
            self._tell("mismatched_url" if line.url else "missing_required_parameter", text, "url", number)
        body = memoryview(line.body)
        if bytes(body[:1]) != b"{":
            text = f"'body' must be an object, not {str(body[:40], 'utf-8', 'replace')}."
            self._tell("invalid_request_body", text, "body", number)

    def _tell(self, code: str, text: str, param: str | None, line: int | None) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(LineError(code, text, param, line))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Results --------------------------------------------------------------------------------------------------------------


class _Response(Struct):
    status_code: int = 0
    request_id: str = ""
    body: Raw = Raw(b"null")


class Result(Struct):
    """A line of an output or error file. ``response`` None: it was never asked; ``error`` says why."""

    id: str
    custom_id: str
    response: _Response | None = None
    error: dict[str, str] | None = None


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_result = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


def write_answer(id_: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """Write the line of a request that was answered, well or not, with its line break."""
    try:
        flat = msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        flat = _encode({"text": body.decode("utf-8", "replace")})  # what is no JSON stays what it says
    return _encode(Result(id_, custom_id, _Response(status, request_id, Raw(flat)))) + b"\n"


def write_unasked(id_: str, custom_id: str, code: str) -> bytes:
    """Write the line of a request that was not sent, with its line break. ``code``: ``CANCELLED`` or ``EXPIRED``."""
    return _encode(Result(id_, custom_id, None, {"code": code, "message": _WHY[code]})) + b"\n"


def read_result(raw: bytes) -> Result:
    """Read a line that one of these wrote."""
    return _decode_result(raw)


class _Details(Struct):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Usage(Struct):
    """What Chat Completions and Embeddings, Responses and Messages call their tokens."""

    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cache_read_input_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Body(Struct):
    usage: _Usage | None = None


_decode_usage = msgspec.json.Decoder(_Body).decode


def usage_of(body: bytes) -> Used:
    """Read the tokens that an answer tells of, in the words of whichever vendor; none where it tells nothing."""
    try:
        usage = _decode_usage(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Used()
    if usage is None:
        return Used()
    ins, outs = usage.prompt_tokens_details or usage.input_tokens_details, None
    outs = usage.completion_tokens_details or usage.output_tokens_details
    beside = usage.cache_read_input_tokens or 0  # Anthropic counts these beside its input
    written = usage.cache_creation_input_tokens or 0
    return Used(
        (usage.prompt_tokens or usage.input_tokens or 0) + beside + written,
        usage.completion_tokens or usage.output_tokens or 0,
        beside or (ins.cached_tokens or 0 if ins is not None else 0),
        outs.reasoning_tokens or 0 if outs is not None else 0,
    )
