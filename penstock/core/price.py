"""What an answer costs: the dot product of its counters and a price.

All money is `Decimal` US dollars, exact: a price has at most 15 significant digits, a count at most 12, and the context
of `decimal` keeps 28. The rules are LiteLLM's contract, 8.2, and vendors' price pages: the price map's field names are
the vocabulary. Which entry of the map belongs to a model is decided in `pricelist`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct

from penstock.core.ir import Usage
from penstock.core.money import Rates, number
from penstock.core.offpeak import OffPeak

ZERO = Decimal(0)
NOTHING = Usage()

# The tier that answered -> suffix of the price fields. "fast" is Anthropic's and OpenAI's newer word for priority.
_SUFFIX = {
    "flex": "_flex",
    "priority": "_priority",
    "fast": "_priority",
    "balanced": "_balanced",
    "ultrafast": "_ultrafast",
    "batch": "_batches",
    "batches": "_batches",
}
_BATCH = "_batches"
_HALF = Decimal("0.5")
_ABOVE = re.compile(r"_above_(\d+)(k?)_tokens")
_TIERED_BY_TOKENS = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_", "cache_creation_input_")
_MAIN = ("input_cost_per_", "output_cost_per_", "cost_per_second", "ocr_cost_per_")
# These count a prompt that has exactly the threshold's length as above it (docs.x.ai, "Models and pricing").
_INCLUSIVE = frozenset({"xai"})
# The longer of the two lives of a cache entry: an hour at Anthropic, twelve at OpenAI.
_LONG_WRITES = ("cache_creation_input_token_cost_above_1hr", "cache_creation_input_token_cost_above_12hr")
# Cached input at half the input price where the map gives none (docs.fireworks.ai, "Prompt caching").
_CACHE_READ_SHARE = {"fireworks_ai": Decimal("0.5")}


class Units(Struct, frozen=True, kw_only=True):
    """What is billed by something else than tokens. ``size``: "1024x1024" of an image; ``resolution``: "720p" of a
    video; ``search_context``: low, medium or high."""

    images: int = 0
    size: str = ""
    seconds: Decimal = ZERO
    resolution: str = ""
    characters: int = 0
    queries: int = 0
    searches: int = 0
    search_context: str = "medium"
    pages: int = 0
    annotated_pages: int = 0
    requests: int = 0
    sessions: int = 0


class Cost(Struct, frozen=True, gc=False):
    """US dollars. The parts are disjoint and ``total`` is their sum: ``input`` is what was neither read from nor
    written to a cache, ``output`` is without ``reasoning``, ``units`` is everything that is not tokens."""

    input: Decimal = ZERO
    output: Decimal = ZERO
    cache_read: Decimal = ZERO
    cache_write: Decimal = ZERO
    reasoning: Decimal = ZERO
    units: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return self.input + self.cache_read + self.cache_write + self.output + self.reasoning + self.units


def plain(amount: Decimal) -> str:
    """Write an amount without an exponent and without trailing zeros: "0.00005", "0". (Nothing is kept: the hash of a
    new Decimal takes four times as long as this.)"""
    text = str(amount)
    if "E" in text:
        text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class _Step(NamedTuple):
    """One row of `tiered_pricing`: holds for prompts of more than ``start`` and at most ``end`` tokens."""

    start: Decimal
    end: Decimal
    entry: Mapping[str, Any]


def _as_billed(usage: Usage) -> Usage:
    """Return the tokens that the vendor bills in place of those it counted: caches and thoughts are in them already."""
    fresh, output = usage.billed or (0, 0)
    return Usage(fresh=fresh, output=output, estimated=usage.estimated, tier=usage.tier)


class Price:
    """The price of one model. ``key``: its name in the map; ``entry``: the map's fields, overrides put in."""

    __slots__ = ("_inclusive", "_levels", "_long", "_made", "_off_peak", "_steps", "entry", "key", "provider")

    def __init__(self, key: str, entry: Mapping[str, Any], provider: str = "") -> None:
        self.key = key
        self.entry = entry
        self.provider = str(entry.get("litellm_provider") or provider)
        self._inclusive = self.provider in _INCLUSIVE
        self._levels = _levels(entry)
        self._long = next((field for field in _LONG_WRITES if entry.get(field) is not None), _LONG_WRITES[0])
        self._steps = _steps(entry.get("tiered_pricing"))
        self._off_peak = OffPeak.read(entry.get("off_peak_pricing"))
        self._made: dict[tuple[str, int, bool], Rates] = {}

    @property
    def by_token(self) -> bool:
        """Tell whether tokens cost anything, or are said to cost nothing."""
        return bool(self._steps) or _first(self.entry, "input_cost_per_token", "output_cost_per_token") is not None

    @property
    def known(self) -> bool:
        """Tell whether the entry says what an answer costs; a price for extras alone (web search) does not."""
        fields = self.entry.items()
        return self.by_token or any(field.startswith(_MAIN) and number(value) is not None for field, value in fields)

    @property
    def depends_on_time(self) -> bool:
        """Tell whether ``at`` makes a difference."""
        return self._off_peak is not None

    def rates(self, prompt: int = 0, tier: str = "", at: float = 0.0) -> Rates:
        """Return the rates of a request of ``prompt`` input tokens that was served in ``tier``, at unix time ``at``."""
        suffix = _SUFFIX.get(tier, "") if tier else ""
        level = self._level(prompt) if self._levels or self._steps else 0
        cheap = self._off_peak is not None and self._off_peak.holds(at)
        made = self._made.get((suffix, level, cheap))
        if made is None:
            made = self._made[suffix, level, cheap] = self._make(suffix, level, cheap)
        return made

    def ladder(self) -> Iterator[tuple[int, Rates]]:
        """Yield all rates that there are, each with the length of a prompt, in tokens, from which on it may hold: of
        every threshold, service tier and time of day."""
        starts = [int(step.start) for step in self._steps] or [0, *(limit for limit, _ in self._levels)]
        for level, start in enumerate(starts, 1 if self._steps else 0):
            for suffix in dict.fromkeys(("", *_SUFFIX.values())):
                for cheap in (False,) if self._off_peak is None else (False, True):
                    yield start, self._make(suffix, level, cheap)

    def total(self, usage: Usage, tier: str = "", at: float = 0.0) -> Decimal:
        """Compute ``cost(...).total`` for tokens alone, without making the parts: the hot path's."""
        if usage.billed is not None:
            usage = _as_billed(usage)
        rates = self.rates(usage.fresh + usage.cache_read + usage.cache_write + usage.cache_write_1h, tier, at)
        amount = usage.fresh * rates.fresh + usage.output * rates.output
        if usage.cache_read:
            amount += usage.cache_read * rates.cache_read
        if usage.cache_write or usage.cache_write_1h:
            amount += usage.cache_write * rates.cache_write + usage.cache_write_1h * rates.cache_write_1h
        if usage.reasoning:
            amount += min(usage.reasoning, usage.output) * (rates.reasoning - rates.output)
        if usage.audio_in or usage.audio_out:
            amount += min(usage.audio_in, usage.fresh) * (rates.audio_in - rates.fresh)
            room = max(0, usage.output - usage.reasoning)
            amount += min(usage.audio_out, room) * (rates.audio_out - rates.output)
        return amount

    def cost(self, usage: Usage = NOTHING, tier: str = "", units: Units | None = None, at: float = 0.0) -> Cost:
        """Compute the cost in parts. A model that is billed per character or second is not billed for the same by
        tokens."""
        if usage.billed is not None:
            usage = _as_billed(usage)
        rates = self.rates(usage.input, tier, at)
        audio_in = min(usage.audio_in, usage.fresh)
        reasoning = min(usage.reasoning, usage.output)
        audio_out = min(usage.audio_out, usage.output - reasoning)
        cost = Cost(
            input=(usage.fresh - audio_in) * rates.fresh + audio_in * rates.audio_in,
            cache_read=usage.cache_read * rates.cache_read,
            cache_write=usage.cache_write * rates.cache_write + usage.cache_write_1h * rates.cache_write_1h,
            output=(usage.output - reasoning - audio_out) * rates.output + audio_out * rates.audio_out,
            reasoning=reasoning * rates.reasoning,
        )
        if units is None:
            return cost
        amount = sum(_units(self.entry, units, tier, usage.total > 0 and self.by_token), ZERO)
        if units.characters and number(self.entry.get("input_cost_per_character")) is not None:
            return Cost(output=cost.output, reasoning=cost.reasoning, units=amount)
        return Cost(cost.input, cost.output, cost.cache_read, cost.cache_write, cost.reasoning, amount)

    def _level(self, prompt: int) -> int:
        """Count the thresholds the prompt is above, or find which step of `tiered_pricing` it is on, from 1."""
        if self._steps and prompt > 0:
            for number_, step in enumerate(self._steps, 1):
                if step.start < prompt <= step.end:
                    return number_
            return len(self._steps)
        if self._inclusive:
            return sum(prompt >= limit for limit, _ in self._levels)
        return sum(prompt > limit for limit, _ in self._levels)

    def _make(self, suffix: str, level: int, cheap: bool) -> Rates:
        if self._steps and level:
            rates = self._stepped(self._steps[level - 1].entry)
            if suffix == _BATCH:
                rates = _times(rates, _HALF)
        else:
            rates = self._flat(suffix, [label for _, label in self._levels[:level]])
            if suffix == _BATCH:
                rates = self._halved(rates, level)
        return self._off_peak.over(rates) if cheap and self._off_peak is not None else rates

    def _pick(self, base: str, suffix: str, labels: Sequence[str]) -> Decimal | None:
        """Pick a field for the tier, else without it; beyond each threshold that is passed, the field for that if
        any."""
        entry = self.entry
        found = _first(entry, base + suffix, base)
        for label in labels:
            above = f"{base}_above_{label}_tokens"
            # A batch price that names no threshold holds for every length.
            higher = _first(entry, above + suffix) if suffix == _BATCH else _first(entry, above + suffix, above)
            found = higher if higher is not None else found
        return found

    def _flat(self, suffix: str, labels: Sequence[str]) -> Rates:
        entry = self.entry
        fresh = self._pick("input_cost_per_token", suffix, labels) or ZERO
        output = self._pick("output_cost_per_token", suffix, labels) or ZERO
        if not output:  # an image model that gives its tokens away except for those of images
            output = number(entry.get("output_cost_per_image_token")) or ZERO
        read = self._pick("cache_read_input_token_cost", suffix, labels)
        if read is None:
            read = fresh * _CACHE_READ_SHARE.get(self.provider, 1)
        write = self._pick("cache_creation_input_token_cost", suffix, labels)
        write = fresh if write is None else write
        hour = self._pick(self._long, suffix, labels)
        audio_in = _first(entry, "input_cost_per_audio_token" + suffix, "input_cost_per_audio_token")
        audio_out = _first(entry, "output_cost_per_audio_token" + suffix, "output_cost_per_audio_token")
        return Rates(
            fresh=fresh,
            cache_read=read,
            cache_write=write,
            cache_write_1h=write if hour is None else hour,
            output=output,
            reasoning=self._reasoning(suffix, output),
            audio_in=fresh if audio_in is None else audio_in,
            audio_out=output if audio_out is None else audio_out,
        )

    def _reasoning(self, suffix: str, output: Decimal) -> Decimal:
        entry = self.entry
        own = number(entry.get("output_cost_per_reasoning_token" + suffix))
        if own is not None:
            return own
        if suffix and number(entry.get("output_cost_per_token" + suffix)) is not None:
            return output  # the tier has a price for output and none for reasoning: then it is the same
        usual = number(entry.get("output_cost_per_reasoning_token"))
        return output if usual is None else usual

    def _halved(self, rates: Rates, level: int) -> Rates:
        """Make batch prices where the map has none: half, as OpenAI, Anthropic and Google all bill batches."""
        entry = self.entry
        usual = self.rates(self._levels[level - 1][0] + 1 if level else 0)
        has_input = number(entry.get("input_cost_per_token" + _BATCH)) is not None
        has_output = number(entry.get("output_cost_per_token" + _BATCH)) is not None
        hour = self._long

        def side(field: str, name: str, known: bool) -> Decimal:
            if number(entry.get(field + _BATCH)) is not None:
                return Decimal(getattr(rates, name))
            # Next to a batch price for input, cached tokens without one are plain input.
            return rates.fresh if known else Decimal(getattr(usual, name)) * _HALF

        write = side("cache_creation_input_token_cost", "cache_write", has_input)

        return Rates(
            fresh=rates.fresh if has_input else usual.fresh * _HALF,
            cache_read=side("cache_read_input_token_cost", "cache_read", has_input),
            cache_write=write,
            cache_write_1h=side(hour, "cache_write_1h", False) if number(entry.get(hour)) is not None else write,
            output=rates.output if has_output else usual.output * _HALF,
            reasoning=rates.output if has_output else usual.reasoning * _HALF,
            audio_in=side("input_cost_per_audio_token", "audio_in", has_input),
            audio_out=rates.output if has_output else usual.audio_out * _HALF,
        )

    def _stepped(self, step: Mapping[str, Any]) -> Rates:
        """Read a row of `tiered_pricing`: every token of the request has this row's price; a price that the row leaves
        out is the row's input or output price."""
        fresh = number(step.get("input_cost_per_token")) or ZERO
        output = _or(number(step.get("output_cost_per_token")), number(self.entry.get("output_cost_per_token")) or ZERO)
        write = _or(number(step.get("cache_creation_input_token_cost")), fresh)
        audio_in, audio_out = (self.entry.get(f"{way}_cost_per_audio_token") for way in ("input", "output"))
        return Rates(
            fresh=fresh,
            cache_read=_or(number(step.get("cache_read_input_token_cost")), fresh),
            cache_write=write,
            cache_write_1h=_or(number(step.get("cache_creation_input_token_cost_above_1hr")), write),
            output=output,
            reasoning=_or(number(step.get("output_cost_per_reasoning_token")), output),
            audio_in=_or(number(audio_in), fresh),
            audio_out=_or(number(audio_out), output),
        )


def _times(rates: Rates, factor: Decimal) -> Rates:
    return Rates(*(getattr(rates, field) * factor for field in Rates.__struct_fields__))


def _or(value: Decimal | None, instead: Decimal) -> Decimal:
    return instead if value is None else value  # an explicit 0 stays a price


def _first(entry: Mapping[str, Any], *fields: str) -> Decimal | None:
    for field in fields:
        found = number(entry.get(field))
        if found is not None:
            return found
    return None


def _levels(entry: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    """Return the thresholds of an entry, ascending: tokens, and the label in the field's name."""
    found = set()
    for field, value in entry.items():
        if "_above_" in field and field.startswith(_TIERED_BY_TOKENS) and value is not None:
            for digits, thousands in _ABOVE.findall(field):
                found.add((int(digits) * (1000 if thousands else 1), digits + thousands))
    return tuple(sorted(found))


def _steps(rows: object) -> tuple[_Step, ...]:
    """Return the rows of `tiered_pricing` in order; those without a range or an input price are none."""
    if not isinstance(rows, list):
        return ()
    found = []
    for row in rows:
        if isinstance(row, dict) and isinstance(bounds := row.get("range"), list) and len(bounds) == 2:
            start, end = number(bounds[0]), number(bounds[1])
            if start is not None and end is not None and number(row.get("input_cost_per_token")) is not None:
                found.append(_Step(start, end, row))
    return tuple(sorted(found, key=lambda step: step.start))


# Not tokens -----------------------------------------------------------------------------------------------------------


def _units(entry: Mapping[str, Any], units: Units, tier: str, tokens_paid: bool) -> Iterator[Decimal]:
    """Yield what each kind of unit costs; a kind that the model has no price for costs nothing."""
    batch = _BATCH if _SUFFIX.get(tier) == _BATCH else ""
    if units.images:
        yield units.images * _image(entry, units.size)
    if units.seconds and not tokens_paid:
        yield units.seconds * _second(entry, units.resolution)
    yield units.characters * (_first(entry, "input_cost_per_character", "output_cost_per_character") or ZERO)
    yield units.queries * (number(entry.get("input_cost_per_query")) or ZERO)
    yield units.pages * (_first(entry, "ocr_cost_per_page" + batch, "ocr_cost_per_page") or ZERO)
    noted = _first(entry, "annotation_cost_per_page" + batch, "annotation_cost_per_page")
    yield units.annotated_pages * (noted or ZERO)
    yield units.requests * (number(entry.get("input_cost_per_request")) or ZERO)
    yield units.sessions * (number(entry.get("code_interpreter_cost_per_session")) or ZERO)
    searches = entry.get("search_context_cost_per_query")
    if units.searches and isinstance(searches, Mapping):
        yield units.searches * (number(searches.get(f"search_context_size_{units.search_context}")) or ZERO)


def _image(entry: Mapping[str, Any], size: str) -> Decimal:
    """Price one image: by its size where the model tells that apart (1K, 2K, 512), else flat, else by the pixel."""
    flat = _first(entry, f"output_cost_per_image_{size}", "output_cost_per_image", "input_cost_per_image")
    wide, _, high = size.lower().partition("x")
    if flat is not None or not (wide.isdigit() and high.isdigit()):
        return flat or ZERO
    pixel = (number(entry.get("input_cost_per_pixel")) or ZERO) + (number(entry.get("output_cost_per_pixel")) or ZERO)
    return int(wide) * int(high) * pixel


# A second is billed once, though the map gives some models the same price under two names (whisper-1).
_SECOND = (
    "cost_per_second",
    "output_cost_per_second",
    "output_cost_per_video_per_second",
    "input_cost_per_second",
    "input_cost_per_audio_per_second",
    "input_cost_per_video_per_second",
)


def _second(entry: Mapping[str, Any], resolution: str) -> Decimal:
    fields = (f"output_cost_per_second_{resolution.lower()}", *_SECOND) if resolution else _SECOND
    prices = (number(entry.get(field)) for field in fields)
    return next((price for price in prices if price), ZERO)


FREE = Price("", {"input_cost_per_token": ZERO, "output_cost_per_token": ZERO})
"""The price of what runs on the user's own side."""
