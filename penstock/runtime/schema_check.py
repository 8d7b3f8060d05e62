"""Whether a text has the form that was asked for: in this process where that is quick for sure, else in another.

A schema is the client's. With references it can take exponential time, and an extension module that runs it holds the
interpreter's lock all the while: a thread would stop the whole gateway. So such checks, and large ones, run in child
processes of their own (``children``), with a deadline after which the process is killed.

Schemas are checked by ``jsonschema-rs`` (the extra ``validate``): one wheel without dependencies, all drafts, no
look-up over the network, expressions in bounded time. It is imported at the first need.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import Any

import msgspec
from msgspec import Struct

from penstock.core.dialects.wrapped import anchored
from penstock.core.errors import GatewayError
from penstock.core.ir import OutputFormat
from penstock.runtime import children

DEADLINE = 5.0  # seconds of a check in the child
MOST_WORK = 4_000_000  # bytes of the schema times bytes of the text: up to here it is done here
LONGEST = 400  # characters of a message
# What makes the time of a check more than those two lengths: references, expressions that look around or back.
_HEAVY = re.compile(rb'[rR]ef"|\(\?[=!<]|\\\\[1-9]|Properties"|propertyNames"|unique')
_BACKTRACKS = 100_000
_WORDS = {"json_schema": "response schema", "json_object": "JSON object", "choice": "choices", "regex": "expression"}
_JSON = msgspec.json.Decoder().decode


class Check(Struct, frozen=True):
    """How an answer is checked. ``kind``: json_schema, json_object, choice or regex. ``wanted``: the schema (JSON), the
    choices (JSON) or the expression (UTF-8)."""

    kind: str
    wanted: bytes

    @property
    def words(self) -> str:
        return _WORDS[self.kind]


class Bad(Exception):
    """The schema or the expression that the client sent is not valid: the text says why."""


class Slow(Exception):
    """The check took longer than ``DEADLINE``."""


def fault(check: Check, text: str) -> str | None:
    """Tell what is wrong with a text; None when nothing is. Values of the text are not repeated. Raises ``Bad`` for a
    check that is itself wrong."""
    if check.kind == "choice":
        choices = msgspec.json.decode(check.wanted, type=list[str])
        return None if text in choices else f"it is none of the {len(choices)} choices"
    if check.kind == "regex":
        return None if _validator(_expression(check.wanted)).is_valid(text) else "it does not match the expression"
    try:
        value = _JSON(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        return f"it is not JSON: {error}"[:LONGEST]
    except RecursionError:
        return "it is nested too deeply"
    if check.kind == "json_object":
        return None if isinstance(value, dict) else "it is JSON, but not an object"
    try:
        found = next(iter(_validator(check.wanted).iter_errors(value)), None)
    except RecursionError:
        return "it is nested too deeply"
    if found is None:
        return None
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in found.instance_path)
    return f"{('$' + path)[:LONGEST]}: {found.message[:LONGEST]}"


def compile_(check: Check) -> None:
    """Raise ``Bad`` for a schema or an expression that is not valid."""
    if check.kind == "json_schema":
        _validator(check.wanted)
    elif check.kind == "regex":
        _validator(_expression(check.wanted))


def _expression(pattern: bytes) -> bytes:
    return msgspec.json.encode({"pattern": anchored(pattern.decode())})


@lru_cache(256)
def _validator(schema: bytes) -> Any:
    library = import_module("jsonschema_rs")
    options = {"retriever": _refuse, "pattern_options": library.FancyRegexOptions(backtrack_limit=_BACKTRACKS)}
    try:
        made = _JSON(schema)
        library.validator_for(made, **options)  # its message names the client's own value
        return library.validator_for(made, mask="the value", **options)
    except (ValueError, RecursionError) as error:  # its own errors are ValueErrors
        text = getattr(error, "message", None) or str(error)
        path = "".join(f"/{step}" for step in getattr(error, "instance_path", ()))
        raise Bad(f"{text[:LONGEST]}{f' (at {path[:LONGEST]})' if path else ''}") from None


def _refuse(uri: str) -> Any:
    raise ValueError("references to other documents are not followed")


def missing() -> GatewayError | None:
    """Return the error to answer with when the library that checks is not installed; None when it is."""
    try:
        import_module("jsonschema_rs")
    except ImportError:
        text = "Answers are checked with jsonschema-rs, which is not installed: pip install 'penstock[validate]'."
        return GatewayError("not_configured", text, param="validate", status=501)
    return None


class AnswerForm(Struct, frozen=True):
    """What an attempt must see to. ``output``: what vLLM's fields ask for, None when they do not or are ``ignored`` for
    the dialect's own words. ``check``: how the answer is checked."""

    output: OutputFormat | None = None
    ignored: tuple[str, ...] = ()
    check: Check | None = None


async def prepare(output: OutputFormat | None, explicit: bool) -> Check | None:
    """Make the check for a form; None where there is nothing to check. Raises "bad_request" for a schema or an
    expression that is none, and when the client itself (``explicit``) wants checked what cannot be."""
    if output is None or output.kind == "text" or (output.kind == "json_schema" and not output.schema):
        return None
    if output.kind not in ("json_schema", "json_object", "choice", "regex"):
        if not explicit:
            return None
        text = f"'validate' cannot check a {output.kind.replace('_', ' ')}: only schemas, choices and expressions."
        raise GatewayError("bad_request", text, param="validate")
    wanted = output.schema
    if output.kind == "choice":
        wanted = msgspec.json.encode(output.choices)
    elif output.kind == "regex":
        wanted = output.source.encode()
    check = Check(output.kind, wanted)
    if output.kind in ("json_schema", "regex"):
        if (error := missing()) is not None:
            raise error
        what = "schema for the answer" if output.kind == "json_schema" else "expression for the answer"
        try:
            await run(check, None)
        except Bad as bad:
            raise GatewayError("bad_request", f"The {what} is not valid: {bad}.", param=output.kind) from None
        except Slow:
            raise GatewayError("bad_request", f"The {what} takes too long to read.", param=output.kind) from None
    return check


# In the other process -------------------------------------------------------------------------------------------------

CHILDREN = children.Children(2)


async def run(check: Check, text: str | None) -> str | None:
    """Run ``fault`` (``compile_`` when ``text`` is None) without holding up the event loop: small work here, the rest
    in a child process. Raises ``Bad`` and ``Slow``."""
    size = len(check.wanted) * (len(text) if text is not None else len(check.wanted))
    if check.kind == "choice" or (size <= MOST_WORK and not (text is not None and _HEAVY.search(check.wanted))):
        return _here(check, text)
    try:
        bad, told = await CHILDREN.run(_there, check, text, deadline=DEADLINE, wait=2 * DEADLINE)
    except (children.Late, children.Died):
        raise Slow from None
    if bad:
        raise Bad(told)
    found: str | None = told
    return found


def _there(check: Check, text: str | None) -> tuple[bool, str | None]:
    """Run a check in the child: whether the check itself is wrong, and what it says."""
    try:
        return False, _here(check, text)
    except Bad as bad:
        return True, str(bad)


def _here(check: Check, text: str | None) -> str | None:
    if text is None:
        compile_(check)
        return None
    return fault(check, text)
