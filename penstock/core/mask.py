"""Takes known secrets out of text that came from elsewhere, letter by letter, in whatever writing they stand there.

``redact.scrub`` knows what keys of the big vendors look like; the key of a small one, or a password, looks like
nothing. But a vendor can only repeat what it was sent, and that is known: so it is looked for as it is,
percent-encoded, escaped for JSON and HTML, and within base64 (HTTP Basic has it behind a name).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

from penstock.core.dialects.redact import MASK, scrub
from penstock.core.errors import GatewayError

SHORTEST = 6
"""Characters. What is shorter is not masked: "none" or "sk-1" would take ordinary words with it."""
WORD = 10
"""Characters. A shorter secret is masked only where no letter or digit adjoins it."""
PLACEHOLDERS = frozenset(
    """dummy dummy-key none null empty anything not-needed not_needed no-key no-key-needed not-used unused ollama vllm
    lm-studio lmstudio llama.cpp llamacpp localai sglang openai anthropic default changeme change-me example secret
    password optional undefined api-key api_key apikey your-api-key your_api_key""".split()
)
"""What people write where a key must stand and none is needed. Not secret, and words of error messages."""
LONGEST = 10_000
"""Characters of an upstream's text that are looked at and kept."""
_CUT = 8  # characters of a secret by which its beginning is known at the end of a text that was cut
_GRAM = SHORTEST
_FEW = 200  # forms that are looked for one by one
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_")
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2}|\\(?:[abfnrtv]|[ux][0-9A-Fa-f]{2,4}))\Z")  # no letter, however it ends
_ENDS = "'\"`.… "  # what stands behind the place where a text was cut


class Mask:
    """Known secrets, each in all its writings. ``names``: of models, which are spared even where they look like keys.
    A secret under ``SHORTEST`` characters, a placeholder and the name of a model are not masked."""

    __slots__ = ("_forms", "_grams", "_heads", "_names", "_odd", "_spared")

    def __init__(self, secrets: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        self._names = {name for name in names if name}
        # Only names that would not survive the search for patterns are looked for.
        self._odd = _any_of(name for name in self._names if scrub(name) != name)
        self._spared = PLACEHOLDERS | {name.lower() for name in self._names}
        self._forms: dict[str, bool] = {}  # -> it stands in base64
        self._grams: dict[str, list[str]] = {}
        self._heads: dict[str, list[str]] = {}
        for secret in sorted({secret.strip() for secret in secrets}):
            if len(secret) >= SHORTEST and secret.lower() not in self._spared:
                self._add(_forms_of(secret).items())

    def _add(self, forms: Iterable[tuple[str, bool]]) -> None:
        for form, inside in forms:
            if form not in self._forms:
                self._forms[form] = inside
                # From the middle: the beginnings of keys are alike.
                at = (len(form) - _GRAM) // 2
                self._grams.setdefault(form[at : at + _GRAM], []).append(form)
                self._heads.setdefault(form[:_CUT], []).append(form)

    @classmethod
    def of_lines(cls, lines: bytes) -> Mask:
        """Make the mask of what a signer added to a request's head: a token that was fetched."""
        found = []
        for line in lines.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "authorization":
                found += [value, value.partition(" ")[2]]
            elif name.endswith("token"):
                found.append(value)
        return cls(found)

    def also(self, other: Mask) -> Mask:
        """Return the mask of this one's secrets and another's."""
        both = Mask((), self._names)
        both._add([*self._forms.items(), *other._forms.items()])
        return both

    def grown(self, secrets: Iterable[str], names: Iterable[str]) -> Mask:
        """Return the mask of this one's secrets and names and of more, for what it costs to make that of the new ones:
        a gateway of 5,000 models must not stop for a quarter of a second because of one more."""
        more = Mask((), names)
        grown = Mask()
        grown._names = self._names | more._names
        grown._spared = self._spared | more._spared
        fresh = Mask(secret for secret in secrets if secret.strip().lower() not in grown._spared)
        odd = more._odd is not None
        grown._odd = _any_of(name for name in grown._names if scrub(name) != name) if odd else self._odd
        grown._forms = self._forms.copy()
        grown._grams = self._grams.copy()
        grown._heads = self._heads.copy()
        for form in fresh._forms.keys() - self._forms.keys():
            at = (len(form) - _GRAM) // 2
            grown._forms[form] = fresh._forms[form]
            # The lists are those of the mask that it grew from.
            for table, key in ((grown._grams, form[at : at + _GRAM]), (grown._heads, form[:_CUT])):
                table[key] = [*table.get(key, ()), form]
        return grown

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __repr__(self) -> str:
        return f"Mask({len(self._forms)} forms)"

    def text(self, text: str) -> str:
        """Replace every known secret in ``text`` by ``[redacted]``."""
        spans = sorted(span for form in self._present(text) for span in self._spans(form, text))
        if not spans:
            return text
        parts: list[str] = []
        at = 0
        for begin, end in spans:
            if begin >= at:
                parts += (text[at:begin], MASK)
            at = max(at, end)
        return "".join(parts) + text[at:]

    def data(self, data: bytes) -> bytes:
        """Replace every known secret in ``data``, a body or the value of a header."""
        text = data.decode("utf-8", "surrogateescape")
        masked = self.text(text)
        return data if masked is text else masked.encode("utf-8", "surrogateescape")

    def clean(self, text: str, names: Iterable[str] = ()) -> str:
        """Replace in a message every known secret, also one that the message's end cuts off, and all that looks like a
        credential but is the name of a model: one of the mask's own, or of ``names``."""
        text = self._without_tail(self.text(text))
        more = [name for name in names if name and name not in self._names and scrub(name) != name]
        odd = self._odd if not more else _any_of([*more, *(name for name in self._names if scrub(name) != name)])
        if odd is None:
            return scrub(text)
        return "".join([part if at % 2 else scrub(part) for at, part in enumerate(odd.split(text))])

    def _present(self, text: str) -> Iterable[str]:
        if len(self._forms) <= _FEW:
            return [form for form in self._forms if form in text]
        grams = self._grams
        hit = {gram for at in range(len(text) - _GRAM + 1) if (gram := text[at : at + _GRAM]) in grams}
        return [form for gram in hit for form in grams[gram] if form in text]

    def _spans(self, form: str, text: str) -> Iterator[tuple[int, int]]:
        inside, whole_word = self._forms[form], len(form) < WORD and not self._forms[form]
        at = text.find(form)
        while at >= 0:
            begin, end = at, at + len(form)
            if inside:
                while begin and text[begin - 1] in _BASE64:
                    begin -= 1
                while end < len(text) and text[end] in _BASE64:
                    end += 1
            if not whole_word or not (_adjoins(text, begin) or text[end : end + 1].isalnum()):
                yield begin, end
            at = text.find(form, end)

    def _without_tail(self, text: str) -> str:
        """Mask the beginning of a secret at the end of a text: where it was cut, the rest of the secret is missing."""
        body = text.rstrip(_ENDS)
        for at in range(max(0, len(body) - LONGEST), len(body) - _CUT + 1):
            for form in self._heads.get(body[at : at + _CUT], ()):
                if form.startswith(body[at:]):
                    return f"{body[:at]}{MASK}{text[len(body) :]}"
        return text


def hide(error: GatewayError, masks: Iterable[Mask], names: Iterable[str] = ()) -> None:
    """Take every secret out of all that an error tells: its message, parameter, type, code and details. ``names``: of
    models that look like keys. ``masks``: the last of them also looks for patterns."""
    *others, last = masks

    def clean(text: str) -> str:
        text = text[:LONGEST]
        for mask in others:
            text = mask.text(text)
        return last.clean(text, names)

    error.message = clean(error.message)
    error.args = (error.message,)
    if error.param:
        error.param = clean(error.param)
    error.upstream_type, error.upstream_code = clean(error.upstream_type), clean(error.upstream_code)
    if error.details:
        details = clean(error.details.decode("utf-8", "replace"))
        error.details = details.encode() if _is_object(details) else b""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


class Lines:
    """Masks a stream that is passed through, from the first line on that speaks of an error. What comes before is an
    answer, which no vendor puts our key into; it passes as it is."""

    __slots__ = ("_held", "_latched", "_mask")

    HELD = 64 * 1024  # bytes of a line without an end: of a JSON object in it nobody can read a part

    def __init__(self, mask: Callable[[], Mask]) -> None:
        self._mask = mask  # asked for at the first error
        self._held = b""
        self._latched = False

    def feed(self, data: bytes) -> bytes:
        """Return what may go on of the next bytes: all but a JSON object on a line that is not complete."""
        if self._held:
            data = self._held + data
        cut = data.rfind(b"\n") + 1
        if data.find(b"{", cut) < 0 or len(data) - cut > self.HELD:
            cut = len(data)
        self._held, data = data[cut:], data[:cut]
        return self._masked(data)

    def close(self) -> bytes:
        """Return the rest: a line without an end."""
        data, self._held = self._held, b""
        return self._masked(data)

    def _masked(self, data: bytes) -> bytes:
        if not self._latched and data.find(b"rror") < 0:
            return data
        self._latched = True
        return self._mask().data(data)


def _adjoins(text: str, begin: int) -> bool:
    before = text[max(0, begin - 6) : begin]
    return before[-1:].isalnum() and _ESCAPED.search(before) is None


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    found = sorted(set(names), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, found))})(?![\w-])") if found else None


def _forms_of(secret: str) -> dict[str, bool]:
    """Return the writings of a secret, and of each whether it is a part of something in base64."""
    percent, marked = quote(secret, safe=""), html.escape(secret)
    plain = {secret, percent, quote(secret, safe="/"), quote(secret, safe="!'()*"), quote_plus(secret)}
    plain |= {re.sub("%..", lambda found: found[0].lower(), percent), marked, marked.replace("&#x27;", "&#39;")}
    plain.add(html.escape(secret, quote=False))
    for text in [*plain]:
        once = json.dumps(text)[1:-1]
        plain |= {once, json.dumps(text, ensure_ascii=False)[1:-1], once.replace("/", "\\/"), json.dumps(once)[1:-1]}
    forms = dict.fromkeys(plain, False)
    for text in (secret, percent):
        forms.update(dict.fromkeys(_in_base64(text.encode("utf-8", "surrogateescape")), True))
    return forms


def _in_base64(data: bytes) -> Iterator[str]:
    """Yield how base64 of anything with ``data`` in it has it: by where it stands, in three ways, without the letters
    that its neighbours have a part in."""
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + data).decode()
        begin = (offset * 8 + 5) // 6
        found = text[begin : (offset + len(data)) * 8 // 6]
        if len(found) >= _CUT:
            yield found
            if "+" in found or "/" in found:
                yield found.translate({43: "-", 47: "_"})


NO_SECRETS = Mask()
"""Masks nothing."""
