"""What Anthropic's Messages API refuses, in its words: fields, roles, tool pairs, thinking signatures, cache marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.mock import brain, claude_rules
from penstock.mock.reply import Exchange, Refused

# anthropic 2.10 types/message_create_params.py; temperature, top_p, top_k left its types, older models take them
FIELDS = frozenset(
    "model messages max_tokens cache_control container diagnostics inference_geo metadata output_config service_tier"
    " speed stop_sequences stream system thinking tool_choice tools user_profile_id workspace_id temperature top_p"
    " top_k".split()
)
# types/beta/message_create_params.py, and output_format of the structured-outputs-2025-11-13 beta
BETA_FIELDS = frozenset(
    "billing_policy compaction context_management fallback_credit_token fallbacks mcp_servers thread"
    " output_format".split()
)
COUNT_FIELDS = frozenset(
    "model messages cache_control output_config speed system thinking tool_choice tools user_profile_id"
    " workspace_id".split()
)
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "string"),
    "messages": ((list,), "list"),
    "stream": ((bool,), "boolean"),
    "system": ((str, list), "string"),
    "tools": ((list,), "list"),
    "tool_choice": ((dict,), "dictionary"),
    "thinking": ((dict,), "dictionary"),
    "output_config": ((dict,), "dictionary"),
    "output_format": ((dict,), "dictionary"),
    "cache_control": ((dict,), "dictionary"),
    "metadata": ((dict,), "dictionary"),
    "stop_sequences": ((list,), "list"),
}
_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
_CALLED = re.compile(r"^[a-zA-Z0-9_-]{1,200}$")
_THINKING = ("thinking", "redacted_thinking")
_BLOCKS = {
    "text": "text", "image": "source", "document": "source", "search_result": "content", "thinking": "thinking",
    "redacted_thinking": "data", "tool_use": "id", "tool_result": "tool_use_id", "server_tool_use": "id",
    "container_upload": "file_id",
}  # fmt: skip


def bad(message: str) -> Refused:
    """Make a 400 of type invalid_request_error."""
    return Refused(400, message, "invalid_request_error")


def check(exchange: Exchange, body: dict[str, Any], counting: bool) -> None:
    """Raise Refused for the first thing that the real API would refuse."""
    beta = "anthropic-beta" in exchange.headers or "beta=true" in exchange.query
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise bad(f"{name}: Field required")
    known = (COUNT_FIELDS if counting else FIELDS) | (BETA_FIELDS if beta else frozenset())
    if exchange.rejects_unknown(by_default=True):
        for name in body:
            if name not in known:
                raise bad(f"{name}: Extra inputs are not permitted")
    for name, (types, right) in _TYPES.items():
        if (name in ("model", "messages") or body.get(name) is not None) and not isinstance(body[name], types):
            raise bad(f"{name}: Input should be a valid {right}")
    if not counting:
        _check_max_tokens(body["max_tokens"])
        _check_ranges(body)
    _check_tools(body)
    _check_thinking(body)
    _check_messages(exchange, body)
    _check_cache_marks(body)


def _check_max_tokens(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad("max_tokens: Input should be a valid integer")
    if value < 0:
        raise bad("max_tokens: Input should be greater than or equal to 0")


def _check_ranges(body: dict[str, Any]) -> None:
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise bad(f"{name}: Input should be a valid number")
        if not 0 <= value <= 1:
            raise bad(f"{name}: range: 0..1")
    for at, stop in enumerate(body.get("stop_sequences") or []):
        if not isinstance(stop, str):
            raise bad(f"stop_sequences.{at}: Input should be a valid string")
        if not stop.strip():
            raise bad("stop_sequences: each stop sequence must contain non-whitespace")
    told = claude_rules.refusal_of_model(str(body["model"]), body, body.get("thinking") or {})
    if told:
        raise bad(told)


def _check_tools(body: dict[str, Any]) -> None:
    names: set[str] = set()
    for at, tool in enumerate(body.get("tools") or []):
        kind = tool.get("type") or "custom"
        name = tool.get("name")
        if kind == "custom":
            if not isinstance(name, str):
                raise bad(f"tools.{at}.custom.name: Field required")
            if not _NAME.match(name):
                raise bad(f"tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
            schema = tool.get("input_schema")
            if not isinstance(schema, Mapping):
                raise bad(f"tools.{at}.custom.input_schema: Field required")
            if schema.get("type") != "object":
                raise bad(f"tools.{at}.custom.input_schema.type: Input should be 'object'")
        if name in names:
            raise bad("tools: Tool names must be unique.")
        names.add(str(name))
    choice = body.get("tool_choice")
    if choice is None:
        return
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        raise bad(
            f"tool_choice: Input tag '{choice.get('type')}' found using 'type' does not match any of the expected"
            " tags: 'auto', 'any', 'tool', 'none'"
        )
    if choice["type"] in ("any", "tool") and not body.get("tools"):
        raise bad("tool_choice may only be specified while providing tools.")
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise bad(f"Tool '{choice.get('name')}' not found in provided tools")


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        raise bad(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'enabled',"
            " 'disabled', 'adaptive', 'between_tools'"
        )
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise bad("thinking.enabled.budget_tokens: Field required")
        if budget < 1024:
            raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body.get("max_tokens", budget + 1):
            raise bad(
                "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at"
                " https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size"
            )
    forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    if kind in ("enabled", "adaptive") and forced:
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")


def blocks_of(content: Any) -> list[dict[str, Any]]:
    """Return content as blocks: a string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or [] if isinstance(block, dict)]


def _check_messages(exchange: Exchange, body: dict[str, Any]) -> None:
    messages = body["messages"]
    if not messages:
        raise bad("messages: at least one message is required")
    for at, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant", "system"):
            raise bad(f"messages.{at}.role: Input should be 'user', 'assistant' or 'system'")
        if at == 0 and role != "user":
            raise bad('messages: first message must use the "user" role')
        if "content" not in message:
            raise bad(f"messages.{at}.content: Field required")
        if not message["content"] and not (role == "assistant" and at == len(messages) - 1):
            raise bad(
                f"messages.{at}: all messages must have non-empty content except for the optional final assistant"
                " message"
            )
        _check_blocks(exchange, message["content"], role, f"messages.{at}.content")
    last = messages[-1]
    if last["role"] == "assistant" and claude_rules.refuses_prefill(str(body["model"])):
        raise bad(claude_rules.PREFILL)
    if last["role"] == "assistant":
        tail = blocks_of(last["content"])
        if tail and tail[-1].get("type") == "text" and tail[-1]["text"] != tail[-1]["text"].rstrip():
            raise bad("messages: final assistant content cannot end with trailing whitespace")
    _check_tool_pairs(messages)
    _check_thinking_first(body, messages)


def _check_blocks(exchange: Exchange, content: Any, role: str, where: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise bad(f"{where}: Input should be a valid list")
    for at, block in enumerate(content):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in _BLOCKS and not str(kind).endswith("_tool_result"):
            tags = ", ".join(f"'{name}'" for name in _BLOCKS)
            raise bad(
                f"{where}.{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}"
            )
        needed = _BLOCKS.get(str(kind), "tool_use_id")
        if needed not in block:
            raise bad(f"{where}.{at}.{kind}.{needed}: Field required")
        if kind == "text" and not block["text"]:
            raise bad("messages: text content blocks must be non-empty")
        if kind == "text" and not block["text"].strip():
            raise bad("messages: text content blocks must contain non-whitespace text")
        if kind in _THINKING:
            _check_seal(exchange, block, role, f"{where}.{at}")
        if kind == "tool_use":
            _check_use(block, role, f"{where}.{at}")
        if kind == "tool_result":
            _check_result(block, f"{where}.{at}.tool_result")


def _check_use(block: dict[str, Any], role: str, where: str) -> None:
    if role != "assistant":
        raise bad(f"{where}: `tool_use` blocks can only be in `assistant` messages")
    if not _ID.match(str(block["id"])):
        raise bad(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not _CALLED.match(str(block.get("name", ""))):
        raise bad(f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'")
    if not isinstance(block.get("input"), Mapping):
        raise bad(f"{where}.tool_use.input: Input should be a valid dictionary")


def _check_seal(exchange: Exchange, block: dict[str, Any], role: str, where: str) -> None:
    kind = block["type"]
    if role != "assistant":
        raise bad(f"{where}: `{kind}` blocks can only be in `assistant` messages")
    if "cache_control" in block:
        raise bad(f"{where}.{kind}.cache_control: Extra inputs are not permitted")
    seed = exchange.script.seed
    if kind == "redacted_thinking":
        if not brain.seal_fits(seed, "redacted", "", block["data"]):
            raise bad(f"{where}: Invalid `data` in `redacted_thinking` block")
        return
    if "signature" not in block:
        raise bad(f"{where}.thinking.signature: Field required")
    if not brain.seal_fits(seed, "thinking", block["thinking"], block["signature"]):
        raise bad(f"{where}: Invalid `signature` in `thinking` block")


def _check_result(block: dict[str, Any], where: str) -> None:
    content = block.get("content", "")
    for at, inner in enumerate(content if isinstance(content, list) else []):
        kind = inner.get("type")
        if kind not in ("text", "image", "search_result", "document", "tool_reference", "browser_state"):
            raise bad(
                f"{where}.content.{at}: Input tag '{kind}' found using 'type' does not match any of the expected"
                " tags: 'text', 'image', 'search_result', 'document', 'tool_reference', 'browser_state'"
            )


def turns(messages: list[Any]) -> Iterator[tuple[int, str, list[dict[str, Any]]]]:
    """Yield the turns as the API sees them, neighbours of one role joined: (index of the first, role, blocks)."""
    start, role, blocks = 0, "", list[dict[str, Any]]()
    for at, message in enumerate(messages):
        if message["role"] == role:
            blocks.extend(blocks_of(message["content"]))
            continue
        if role:
            yield start, role, blocks
        start, role, blocks = at, message["role"], list(blocks_of(message["content"]))
    if role:
        yield start, role, blocks


def _check_tool_pairs(messages: list[Any]) -> None:
    spoken = [turn for turn in turns(messages) if turn[1] != "system"]
    used: list[str] = []
    for at, (index, role, blocks) in enumerate(spoken):
        results = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
        for place, block in enumerate(blocks):
            if block.get("type") == "tool_result" and block["tool_use_id"] not in used:
                raise bad(
                    f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks:"
                    f" {block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block"
                    " in the previous message."
                )
        first = [block.get("type") for block in blocks[: len(results)]]
        missing = [one for one in used if one not in results] or (used if set(first) - {"tool_result"} and used else [])
        if missing:
            raise bad(
                f"messages.{spoken[at - 1][0]}: `tool_use` ids were found without `tool_result` blocks immediately"
                f" after: {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block"
                " in the next message."
            )
        if len(set(results)) != len(results):
            raise bad(
                f"messages.{index}.content: each tool_use must have a single result. Found multiple `tool_result`"
                f" blocks with id: {results[0]}"
            )
        used = [block["id"] for block in blocks if block.get("type") == "tool_use"] if role == "assistant" else []
    if used:
        raise bad(
            f"messages.{spoken[-1][0]}: `tool_use` ids were found without `tool_result` blocks immediately after:"
            f" {', '.join(used)}. Each `tool_use` block must have a corresponding `tool_result` block in the next"
            " message."
        )


def _check_thinking_first(body: dict[str, Any], messages: list[Any]) -> None:
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    spoken = [turn for turn in turns(messages) if turn[1] != "system"]
    for at, (index, role, blocks) in enumerate(spoken):
        pending = at == len(spoken) - 2 and any(block.get("type") == "tool_result" for block in spoken[-1][2])
        if role == "assistant" and pending and blocks and blocks[0].get("type") not in _THINKING:
            raise bad(
                f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found"
                f" `{blocks[0].get('type')}`. When `thinking` is enabled, a final `assistant` message must start"
                " with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
            )


def cached_blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield everything that may carry cache_control, in prompt order: tools, system, messages."""
    yield from (tool for tool in body.get("tools") or [] if isinstance(tool, dict))
    yield from blocks_of(body.get("system"))
    for message in body["messages"]:
        for block in blocks_of(message["content"]):
            yield block
            if block.get("type") == "tool_result":
                yield from (inner for inner in blocks_of(block.get("content")) if "cache_control" in inner)


def _check_cache_marks(body: dict[str, Any]) -> None:
    marks = [block["cache_control"] for block in cached_blocks(body) if block.get("cache_control")]
    if len(marks) > 4:
        raise bad(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    short = False
    for mark in marks:
        ttl = mark.get("ttl", "5m")
        if mark.get("type") != "ephemeral" or ttl not in ("5m", "1h"):
            raise bad("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
        if ttl == "1h" and short:
            raise bad("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
        short = short or ttl == "5m"
