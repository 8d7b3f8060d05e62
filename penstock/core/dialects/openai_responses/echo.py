"""The response object: what an answer says of itself, and what it repeats of the request.

The API repeats nearly all of the request (platform.openai.com/docs/api-reference/responses/object), with its defaults
filled in; the ``openai`` client's types demand ``tools``, ``tool_choice`` and ``parallel_tool_calls``.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.base import View
from penstock.core.dialects.openai_responses.names import NAME
from penstock.core.dialects.openai_responses.request_out import FORMAT_NAME, put_extra, write_choice
from penstock.core.dialects.openai_responses.usage import write_usage
from penstock.core.ir import OutputFormat, Request, Text, Tool, Usage

_FIELDS = Decoder(dict[str, Raw]).decode
_SECRETS = ("authorization", "headers")  # of an mcp tool: the vendor never repeats them
# Fields of the request that only this dialect knows and that the response repeats.
_REPEATED = frozenset(
    (
        "background",
        "conversation",
        "max_tool_calls",
        "prompt",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "tool_choice",
        "truncation",
    )
)


def response_id(given: str, view: View) -> str:
    """Return the answer's id: a response's own, else a new one; clients ask for it again by this name."""
    return given if given.startswith("resp_") else view.mint("resp_")


class Frame:
    """The response object of one answer, made as often as a stream tells it."""

    __slots__ = ("_created", "_echo", "_model", "_now", "_tier", "id")

    def __init__(self, view: View, id: str, created: int, tier: str) -> None:
        self.id = response_id(id, view)
        self._created = created or view.now
        self._now = view.now
        self._model = view.model
        self._tier = tier
        self._echo = {key: Raw(encode(value)) for key, value in _echo(view.request).items()}

    def make(
        self,
        status: str,
        output: list[Any],
        usage: Usage | None = None,
        error: dict[str, Any] | None = None,
        incomplete: str = "",
    ) -> dict[str, Any]:
        """Make the response object. ``status``: in_progress, completed, incomplete (for the reason ``incomplete``) or
        failed (``error``)."""
        out: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "completed_at": max(self._now, self._created) if status == "completed" else None,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "model": self._model,
            "output": output,
            **self._echo,
            "usage": write_usage(usage),
        }
        if self._tier:
            out["service_tier"] = self._tier
        return out


def _echo(request: Request | None) -> dict[str, Any]:
    if request is None:
        request = Request(model="", messages=())
    kinds = {tool.name: tool.kind for tool in request.tools}
    choice, reasoning = request.tool_choice, request.reasoning
    out: dict[str, Any] = {
        "background": False,
        "instructions": _instructions(request),
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": None,
        "parallel_tool_calls": True if request.parallel_tools is None else request.parallel_tools,
        "previous_response_id": request.previous_id or None,
        "prompt_cache_key": request.cache_key or None,
        "reasoning": {
            "effort": (reasoning.effort or None) if reasoning is not None else None,
            "summary": (reasoning.summary or None) if reasoning is not None else None,
        },
        "safety_identifier": None,
        "service_tier": request.service_tier or "default",
        "store": True if request.store is None else request.store,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": _format(request.output), "verbosity": request.verbosity or "medium"},
        "tool_choice": "auto" if choice is None else write_choice(choice, kinds),
        "tools": [_tool(tool) for tool in request.tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "user": request.user or None,
        "metadata": Raw(request.metadata or b"{}"),
    }
    for opaque in request.extra:
        if opaque.dialect == NAME and (opaque.kind in _REPEATED or opaque.kind.startswith(("reasoning.", "text."))):
            if opaque.kind == "conversation" and opaque.raw[:1] == b'"':
                out["conversation"] = {"id": Raw(opaque.raw)}
            else:
                put_extra(opaque, out)
    return out


def _instructions(request: Request) -> str | None:
    first = request.messages[0] if request.messages else None
    if first is None or first.role != "system" or len(first.blocks) != 1:
        return None
    block = first.blocks[0]
    return block.text if isinstance(block, Text) else None


def _format(output: OutputFormat | None) -> Any:
    if output is not None and output.kind == "json_object":
        return {"type": output.kind}
    if output is None or output.kind != "json_schema":  # an engine's constraint has no name here: the answer is text
        return {"type": "text"}
    return {
        "type": "json_schema",
        "name": output.name or FORMAT_NAME,
        "description": output.description or None,
        "schema": Raw(output.schema or b"{}"),
        "strict": bool(output.strict),
    }


def _tool(tool: Tool) -> Any:
    if tool.opaque is not None and tool.opaque.dialect == NAME:
        if tool.kind != "mcp":
            return Raw(tool.opaque.raw)
        fields = _FIELDS(tool.opaque.raw)
        return {key: value for key, value in fields.items() if key not in _SECRETS}
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": Raw(tool.schema) if tool.schema else None,
        "strict": True if tool.strict is None else tool.strict,
    }
