"""docs/config.md, generated from the key table. `python -m penstock.config.docs > docs/config.md` writes it."""

from __future__ import annotations

from penstock.config import keys
from penstock.config.spec import MEANING

_INTRO = """\
# Config keys

<!-- Generated from the key table: python -m penstock.config.docs > docs/config.md -->

Penstock reads the YAML of the LiteLLM proxy as it is. This page lists every key. **acted** keys have their effect.
**known** keys are keys of LiteLLM 1.109 that have no effect in Penstock yet: using one is a warning that says why, and what
to write instead. **moot** keys have no effect and need none: what they ask for is so anyway, as their rows and a warning say.
A key that is on none of these lists is a warning with the nearest name. `penstock check FILE` prints all errors and warnings at
once.

```yaml
model_list:
  - model_name: fast                        # what clients send; entries with one name form a group
    litellm_params:
      model: openai/gpt-4o-mini             # provider/model
      api_key: os.environ/OPENAI_API_KEY
      timeout: 60
  - model_name: fallback
    litellm_params:
      model: openai/local-model
      api_base: http://localhost:8080/v1
router_settings:
  num_retries: 2
  fallbacks:
    - fast: [fallback]
litellm_settings:
  drop_params: true
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
```

## Values

- `os.environ/NAME` as a whole value, or `${NAME}` and `${NAME:-default}` inside one, put an environment variable in, at any
  depth and in lists too. `$${NAME}` is the literal text. An unset variable makes the value absent and is a warning.
- `environment_variables` is applied before that. It may not set variables that steer the process, such as `PATH`.
- `.env` in the working directory is read; the real environment wins.
- Numbers and booleans may be text: `"60"`, `"True"`. Null is absent. Keys that start with `x-` at the top level are yours,
  for anchors.
- `include: [a.yaml]` adds files, relative to the including file: lists are appended, other values replaced.
- The limits of one file are 4 MB, 60 levels and 200,000 values, aliases counted.
"""

_ENTRY = """\
<!-- doctest: parse -->
```yaml
model_list:
  - model_name: careful
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      max_tokens: 2000
      reasoning_effort: low                # thinking.budget_tokens, beside which no temperature of the entry's is sent
      stop: ["END"]                        # stop_sequences
      parallel_tool_calls: false           # tool_choice.disable_parallel_tool_use, where there are tools
      additional_drop_params: [user, "tools[*].function.strict"]   # never sent, whoever says it
      extra_body:                          # into the body as it is
        context_management: {edits: [{type: clear_tool_uses_20250919}]}
```"""

_NOTES = {
    "": "",
    "model_list[]": "One entry is one deployment: a provider, a model and a credential.",
    "model_list[].litellm_params": (
        "The request parameters below the table work as if the client had said them in Chat's words, whatever the client and "
        "the target speak; what the client says itself wins. Any other parameter of a model's own goes into `extra_body`. A key "
        "that is on no list is never sent upstream and is a warning; so is a parameter of a wrong type, which is left out. What "
        "a target can never carry is told by `penstock check` and at the start, not to each request.\n\n"
        "An entry with an error is left out, and the others serve; `router_settings.ignore_invalid_deployments: false` stops "
        "the start instead.\n\n" + _ENTRY
    ),
    "model_list[].model_info": "Other keys are kept as information.",
    "router_settings": "These win over the same keys of `litellm_settings`.",
    "litellm_settings": "",
    "litellm_settings.cache_params": "Where answers are kept, and for how long: [cache.md](cache.md).",
    "general_settings": (
        "Without `master_key` here, `LITELLM_MASTER_KEY` and then `PENSTOCK_MASTER_KEY` are looked up. With `database_url: null` "
        "the variable `DATABASE_URL` is never used."
    ),
    "general_settings.coordination_redis": (
        "Where the Redis or Valkey is through which processes share their state: [shared-state.md](shared-state.md). What is "
        "not given here is looked for in the environment, as `REDIS_` and the key in capitals."
    ),
    "engines": "Local model servers that start with their first request: [engines.md](engines.md).",
    "engines.models.*": "One engine. An entry of `model_list` uses it as `model: engine/NAME`.",
    "engines.groups[]": "One group has one of these.",
    "credential_list[]": "Credentials that several deployments share, by `litellm_params.litellm_credential_name`.",
    "guardrails[]": "Checks of requests and answers: [guards.md](guards.md).",
    "guardrails[].litellm_params": "Each guard has settings of its own beside these: [guards.md](guards.md).",
}


def render() -> str:
    """Render the page of all config keys, in Markdown."""
    parts = [_INTRO]
    for table in keys.TABLES:
        parts.append(f"\n## {f'`{table.place}`' if table.place else 'Top level'}\n")
        if _NOTES[table.place]:
            parts.append(f"\n{_NOTES[table.place]}\n")
        rows = sorted((key for key in table.rows.values() if key.status != "sent"), key=lambda key: key.status)
        parts.append("\n| key | type | status | default | meaning |\n| --- | --- | --- | --- | --- |\n")
        parts.extend(_row(key) for key in rows)
        if table is keys.params:
            sent = ", ".join(f"`{key.name}`" for key in sorted(table.rows.values()) if key.status == "sent")
            parts.append(f"\nRequest parameters: {sent}.\n")
    return "".join(parts)


def _row(key: keys.Key) -> str:
    name, _, choices = key.spec.partition(":")
    kind = MEANING[name]
    if choices:
        kind = f"{kind}: {', '.join(f'`{choice}`' for choice in choices.split(','))}"
    return f"| `{key.name}` | {kind} | {key.status} | {_default(key.default)} | {key.meaning} |\n"


def _default(value: object) -> str:
    if value is None or value == () or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    print(render(), end="")
