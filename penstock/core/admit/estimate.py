"""What a request may cost at most, before it is sent: what the ledger sets aside for it.

Input is bounded by bytes and not guessed: a token of a byte-level tokenizer stands for a byte of text or more, and
the JSON around a message is longer than the marks that a vendor puts there. What is not in the body (a picture by its
URL, a file, the turns of an earlier response) counts as a picture's most tokens or the model's whole window. Output is
what the request allows, else what the model can give, else ``DEFAULT_OUTPUT``. Each counts at the dearest rate that may
hold: of every threshold, service tier and time of day, a write to a cache, thoughts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.core.admit.amount import PICO, pico
from penstock.core.capabilities import capabilities
from penstock.core.charge import Terms
from penstock.core.money import number
from penstock.core.price import Price

DEFAULT_OUTPUT = 4096  # tokens, of a model of which nothing is known
DEFAULT_WINDOW = 200_000
MOST_PICTURE = 48_169  # tokens: 2,833 and eight tiles of 5,667, at the maker that counts most for a picture
ADDED_FOR_TOOLS = 1_000  # vendors tell their models how tools are used: 346 tokens at Anthropic, up to 735
LEAST_THOUGHT = 2_048  # a limit below a model's least thinking is raised above it
MOST_ANSWERS = 128
_MOST_SEARCHES = 10
_MOST_PAGES = 1_000
_BYTES_A_SECOND = 1_000  # of speech, at the lowest rate that codecs for it have
_MOST_SECONDS = 60  # of a film that says no length
_MOST_PIXELS = 4096 * 4096

_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample")
_INNER = (("generationConfig", "maxOutputTokens"), ("inferenceConfig", "maxTokens"), ("options", "num_predict"))
_THINKS = frozenset(("reasoning", "reasoning_effort", "thinking"))
_PICTURES = re.compile(
    rb'"(?:image_url|input_image|inline_?[dD]ata|image)"\s*:|"type"\s*:\s*"(?:input_image|image|image_url)"'
)
_SEARCHES = (b"_search", b"Search", b"search_")
_NAMED = (b'"file_id"', b'"file_url"', b'"file_uri"', b'"fileUri"', b'"document"', b"s3Location")
_MCP = (b'"mcp"', b'"mcp_servers"')
_FIELDS = ("previous_response_id", "conversation", "cachedContent", "container", "mcp_servers")  # at the top alone
_TOP = frozenset(_FIELDS)
_ELSEWHERE = (*_NAMED, *_MCP, *(f'"{name}"'.encode() for name in _FIELDS))
# Fields beside which chats have no pictures, no files and no searches but in their messages.
_SAYS_NO_MORE = frozenset(
    """model messages max_tokens max_completion_tokens temperature top_p top_k stream stream_options stop
    stop_sequences n seed user presence_penalty frequency_penalty logprobs top_logprobs response_format
    reasoning_effort metadata""".split()
)
_LETTERS = re.compile(rb"\\u00([3-7][0-9a-fA-F])")
# Of each of these a body has some, if it has one of the words.
_PARTS = (b"earch", b'"file', b'"document"', b"s3Location")
_SEARCHED = "searches"
_INT = msgspec.json.Decoder(int).decode
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode


class Asked(Struct, frozen=True, gc=False):
    """What of a request its cost may depend on. ``size``: bytes of its body. ``output``: tokens that it allows each
    of its ``answers``, None where it says nothing. ``pictures``: how many are in it or named. ``elsewhere``: it may
    name what is not in it. ``searches``: its model may search."""

    size: int
    output: int | None = None
    answers: int = 1
    pictures: int = 0
    elsewhere: bool = False
    searches: bool = False
    tools: bool = False
    thinks: bool = False
    seconds: int = 0


def read_asked(fields: Mapping[str, Raw], size: int, body: bytes = b"") -> Asked:
    """Read a request's top level. ``size``: bytes of its ``body``, also of one that is not at hand."""
    output = None
    for name in _LIMITS:
        if name in fields and (output := _count(fields[name])) is not None:
            break
    answers = max(_count(fields["n"]) or 1, 1) if "n" in fields else 1
    if "best_of" in fields:
        answers = max(answers, _count(fields["best_of"]) or 1)
    for outer, name in _INNER:
        if outer in fields:
            inner = _table(fields[outer])
            output = _count(inner.get(name)) if output is None else output
            answers = max(answers, _count(inner.get("candidateCount")) or 1)
    if fields and _is_text(fields):
        searches, elsewhere, body = False, False, b""
    elif fields:
        body = _spelled_out(body)
        some = _holds(body, _PARTS)  # few bodies have, so this look is all that most cost
        searches = some and _holds(body, _SEARCHES)
        elsewhere = not _TOP.isdisjoint(fields) or (some and _holds(body, _NAMED))
        elsewhere = elsewhere or ("tools" in fields and _holds(body, _MCP))
    else:  # nobody has read the top level
        body = _spelled_out(body)
        searches, elsewhere = _holds(body, _SEARCHES), _holds(body, _ELSEWHERE)
    return Asked(
        size=size,
        output=output,
        answers=min(answers, MOST_ANSWERS),
        pictures=len(_PICTURES.findall(body)) if body.find(b"image") >= 0 or body.find(b"inline") >= 0 else 0,
        elsewhere=searches or elsewhere,  # what is found is input, too
        searches=searches,
        tools="tools" in fields or "toolConfig" in fields,
        thinks=not _THINKS.isdisjoint(fields),
        seconds=_count(fields["seconds"]) or 0 if "seconds" in fields else 0,
    )


def _is_text(fields: Mapping[str, Raw]) -> bool:
    """Tell whether a chat says nothing but text, as most do: then there is nothing in its body to look for, which takes
    ten times as long as this. Pictures and files stand in lists, and its only list is that of its messages. One of
    which this is not told may still say nothing but text."""
    if "messages" not in fields or not _SAYS_NO_MORE.issuperset(fields):
        return False
    if "model" in fields and bytes(fields["model"]).find(b"earch") >= 0:
        return False
    return bytes(fields["messages"]).find(b"[", 1) < 0


class Dearest(Struct, frozen=True):
    """The dearest that a model may be. ``rates``: (tokens of a prompt from which on, picodollars of a token of input,
    of output), ascending in all three. ``units``: what else it is paid by, in picodollars. ``known``: its price is."""

    rates: tuple[tuple[int, int, int], ...] = ()
    units: tuple[tuple[str, int], ...] = ()
    window: int | None = None
    most_output: int | None = None
    terms: Terms | None = None
    known: bool = True

    @property
    def free(self) -> bool:
        """Tell whether nothing that it does costs anything."""
        if self.units or self.terms is not None or not self.known:
            return False
        for _, of_input, of_output in self.rates:
            if of_input or of_output:
                return False
        return True

    def cost(self, asked: Asked, default_output: int | None = None) -> int:
        """Return the picodollars that a request costs at most; 0 where no price is known."""
        if not self.known:
            return 0
        prompt = self._input(asked)
        each = asked.output if asked.output is not None else default_output or self.most_output or DEFAULT_OUTPUT
        if asked.thinks:
            each = max(each, LEAST_THOUGHT)
        amount = 0
        for start, of_input, of_output in self.rates:
            if start <= prompt:
                amount = prompt * of_input + asked.answers * each * of_output
        for unit, price in self.units:
            if unit != _SEARCHED or asked.searches:  # most models could search, and hardly a request asks for it
                amount += price * _most(unit, asked)
        if self.terms is not None:
            amount = pico(self.terms.charge(Decimal(amount) / PICO).total) + 1
        return amount

    def _input(self, asked: Asked) -> int:
        tokens = asked.size + (ADDED_FOR_TOOLS if asked.tools else 0)
        if not asked.pictures and not asked.elsewhere:
            return tokens
        window = self.window or DEFAULT_WINDOW
        if asked.pictures and not asked.elsewhere:
            return min(tokens + asked.pictures * MOST_PICTURE, max(window, tokens))
        return max(tokens, window)


UNKNOWN = Dearest(known=False)


def dearest_of(price: Price | None, entry: Mapping[str, Any], terms: Terms | None = None) -> Dearest:
    """Work out the dearest that a model may be. ``entry``: what is known of it."""
    if price is None:
        return UNKNOWN
    rates: list[tuple[int, int, int]] = []
    by_start: dict[int, tuple[int, int]] = {}
    for start, row in price.ladder():
        of_input = max(row.fresh, row.cache_read, row.cache_write, row.cache_write_1h, row.audio_in)
        of_output = max(row.output, row.reasoning, row.audio_out)
        before = by_start.get(start, (0, 0))
        by_start[start] = max(before[0], _whole(of_input)), max(before[1], _whole(of_output))
    most = (0, 0)
    for start in sorted(by_start):
        most = max(most[0], by_start[start][0]), max(most[1], by_start[start][1])
        rates.append((start, *most))
    able = capabilities("", entry)
    return Dearest(tuple(rates), tuple(_units(entry)), able.max_input_tokens, able.max_output_tokens, terms)


_UNITS = (
    ("images", ("_per_image",)),
    ("pixels", ("_per_pixel",)),
    ("seconds", ("_per_second", "cost_per_second_")),
    ("characters", ("_per_character",)),
    ("queries", ("input_cost_per_query",)),
    ("pages", ("_cost_per_page",)),
    ("requests", ("input_cost_per_request", "code_interpreter_cost_per_session")),
)


def _units(entry: Mapping[str, Any]) -> list[tuple[str, int]]:
    """List what a model is paid by beside tokens, each at its dearest price."""
    found: dict[str, Decimal] = {}
    for field, value in entry.items():
        if "_token" in field:
            continue
        for unit, parts in _UNITS:
            amount = number(value) if any(part in field for part in parts) else None
            if amount:
                found[unit] = max(found.get(unit, Decimal(0)), amount)
    searches = entry.get("search_context_cost_per_query")
    if isinstance(searches, Mapping):
        found[_SEARCHED] = max((number(value) or Decimal(0) for value in searches.values()), default=Decimal(0))
    return [(unit, _whole(amount)) for unit, amount in found.items() if amount]


def _most(unit: str, asked: Asked) -> int:
    """Return how many of a unit a request may take at most."""
    if unit == "images":
        return asked.answers + asked.pictures
    if unit == "pixels":
        return asked.answers * _MOST_PIXELS
    if unit == "seconds":
        return asked.seconds or max(asked.size // _BYTES_A_SECOND, _MOST_SECONDS)
    if unit == "characters":
        return asked.size
    if unit == "queries":
        return 1 + asked.size // 300  # one for each hundred documents, and a document is three bytes or more
    if unit == "pages":
        return _MOST_PAGES
    if unit == _SEARCHED:
        return _MOST_SEARCHES
    return 1


def _whole(rate: Decimal) -> int:
    return int((rate * PICO).to_integral_value(ROUND_CEILING))


def _spelled_out(body: bytes) -> bytes:
    """Write the letters of a body that stand there by their numbers (``\\u0069mage_url``): so written, no word would be
    found, and a client could have less set aside for it than it costs."""
    return _LETTERS.sub(_letter, body) if body.find(b"\\u00") >= 0 else body


def _letter(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


def _holds(body: bytes, words: tuple[bytes, ...]) -> bool:
    """Tell whether a body has one of the words. ``in`` takes what it looks for for a number first, and raises within:
    that costs more than the look."""
    return max(map(body.find, words)) >= 0


def _count(raw: Raw | None) -> int | None:
    """Read a whole number of a request's; None where there is none: who is asked says what is wrong with it."""
    if raw is None:
        return None
    try:
        found = _INT(raw)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return found if 0 < found < 1 << 40 else None


def _table(raw: Raw) -> Mapping[str, Raw]:
    try:
        return _OBJECT(raw)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {}
