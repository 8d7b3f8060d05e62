"""What a provider is: one row of data.

A provider answers four questions: who (name, owner), where (base URL), with which key (environment names, header), and
in which dialects. Everything that differs between a hundred OpenAI-compatible vendors fits in one `Provider`; the few
that sign requests or put the model into the URL add a pure function elsewhere.

Names, base URLs and environment names are those that LiteLLM 1.109 users have in their files; where a vendor's own
documentation says otherwise the comment beside the row says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict, Unpack

from msgspec import Raw

from penstock.core.ir import Loss

Auth = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "sigv4", "oauth", "none"]
"""How the key travels: a header of that name (`bearer` = `Authorization: Bearer`), a signature, a token that has to be
fetched first, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What a provider does not take as the dialect says. Subtract, never enumerate: all that is not named here passes.

    `drop` takes away what carries no meaning for the answer (`user`, `store`); `unsupported` names what does, so it is
    taken away only when the configuration says `drop_params`, else the upstream's own error reaches the client.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    """Top-level request keys, old name -> new name. When the new name is there too, it wins."""
    drop: frozenset[str] = frozenset()
    """Top-level request keys that the upstream refuses and nobody misses."""
    unsupported: frozenset[str] = frozenset()
    """Top-level request keys that the upstream refuses and somebody would miss."""
    refused: frozenset[str] = frozenset()
    """Settings of sampling that the model itself refuses: left out with `drop_params`, else an error here, unless the
    value asks for what happens anyway."""
    drop_in_messages: frozenset[str] = frozenset()
    """Keys of messages (roles other than `tool`) that the upstream refuses, e.g. a replayed `reasoning_content`."""
    flat_text: bool = False
    """`content` must be a string: a list of nothing but text parts is joined, any other list is left alone."""
    clamp: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Top-level number -> (lowest, highest) that the upstream takes."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Top-level key -> {string value: the upstream's word for it}, e.g. tool_choice required -> any."""
    weaken: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The same where the upstream has only something weaker (required -> auto), so that it is reported as a loss."""
    rename_in_messages: Mapping[str, str] = field(default_factory=dict)
    """Keys of an assistant's messages, old name -> new name (`reasoning_content` -> `reasoning`)."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Role of a message -> the upstream's word for it (`developer` -> `system`)."""
    call_ids: int = 0
    """Ids of calls must be so many letters and digits: others are replaced, the same id always by the same one."""
    calls_think: bool = False
    """A message with `tool_calls` must have a `reasoning_content`, if only an empty one."""
    alternate: bool = False
    """Behind the system messages user and assistant must take turns: neighbours of one role become one message."""
    bridge: str = ""
    """What an assistant says between a tool's result and a user's message, where the upstream wants one there."""
    prefill: str = ""
    """The key that marks the last message, if it is an assistant's, as the beginning of the answer."""
    no_formats: frozenset[str] = frozenset()
    """Types of `response_format` that the upstream refuses. For `json_schema` a forced tool stands in across dialects;
    else, with `drop_params`, `json_object` does if that is taken, or nothing."""
    replay_reasoning: bool = False
    """Wants earlier `reasoning_content` back in the assistant's messages."""
    fit: Callable[[dict[str, Raw], bool], list[Loss]] | None = None
    """What no table says: edits the request's top level in place, last of all. Second argument: `drop_params`."""
    mend: Callable[[bytes], bytes] | None = None
    """A whole answer's JSON, or one chunk's, as the dialect has it. Bytes that need nothing come back as they are."""
    notes: tuple[str, ...] = ()
    """What `fit` and `mend` do, in words, for people."""
    stream_usage: bool = True
    """Takes `stream_options.include_usage`. False: it is not asked for (usage comes anyway, or is counted here)."""
    no_json_object: bool = False
    """Refuses `response_format: {"type": "json_object"}` and takes schemas: it becomes the schema of any object."""
    named_choice: bool = True
    """Holds the model to a tool that `tool_choice` names. False: only to "required", so that the one tool is offered
    alone, and of a choice of some the others are not."""
    cache_marks: bool = False
    """Takes Anthropic's `cache_control` on parts, calls and tools. False: the marks of a Messages request are left
    out."""
    searches: bool = False
    """Takes Chat's `web_search_options` with every model. False: only models of OpenAI's that are made for it do."""
    edit: Callable[[dict[str, Raw]], None] | None = None
    """What none of these rules can say: a pure function that changes the finished request's top level. It takes
    nothing away that matters."""
    by_model: tuple[tuple[str, Quirks], ...] = ()
    """(pattern, quirks): the first pattern (a name, or a prefix and `*`) that fits the upstream model replaces this."""

    def of(self, model: str) -> Quirks:
        """Return the quirks that hold for one upstream model."""
        for pattern, quirks in self.by_model:
            if matches(pattern, model):
                return quirks
        return self

    def allowing(self, names: frozenset[str]) -> Quirks:
        """Let request keys pass that the upstream is said to take after all."""
        if not names:
            return self
        formats = frozenset() if "response_format" in names else self.no_formats
        return replace(
            self,
            drop=self.drop - names,
            unsupported=self.unsupported - names,
            refused=self.refused - names,
            no_formats=formats,
        )


NO_QUIRKS = Quirks()
SOCKETS = frozenset({"realtime", "openai_responses"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider. `name` is the prefix in `name/model`; see `penstock.core.providers.resolve` for the rules."""

    name: str
    base: str | None
    """Base URL with the version segment, as the vendor documents it. `{A|B}` is filled from the environment (first one
    set). None: there is no default, `api_base` or one of `bases` is needed."""
    keys: tuple[str, ...] = ()
    """Environment names of the key, tried in order."""
    bases: tuple[str, ...] = ()
    """Environment names of the base URL, tried in order; a model's own `api_base` goes before them."""
    env: tuple[str, ...] = ()
    """Further environment names that matter (region, project, account), for messages and documentation."""
    dialects: tuple[str, ...] = ("openai_chat",)
    """What it is known to speak. The client's own dialect is used if it is here, else the first. Empty: no chat."""
    may_speak: tuple[str, ...] = ()
    """What newer versions speak; asked at run time before use (a local engine of last year answers 404)."""
    auth: Auth = "bearer"
    local: bool = False
    """Runs on the user's side and needs no key: a dummy Bearer is sent, as an OpenAI client would. It says nothing of
    price: behind `litellm_proxy` or `openai_like` may be anything. `local.ENGINES` are those that cost nothing."""
    quirks: Quirks = NO_QUIRKS
    guides: str = ""
    """How it is held to a choice, an expression or a grammar: a word of `constraints.GUIDES`; "" by JSON schemas."""
    schema_dialects: tuple[str, ...] = ()
    """The only dialects in which it enforces a JSON schema, where it speaks others, too. Empty: all."""
    owner: str = ""
    """`owned_by` in model lists; empty means `name`."""
    docs: str = ""
    """Where the vendor describes the interface."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Dialect or operation -> what differs: `/suffix` behind the base, or an absolute URL that is another base."""
    version: str = "/v1"
    """Put behind an `api_base` of the user that carries no version segment. Empty: this vendor has none."""
    model_prefix: str = ""
    """Put before a model name that has no such prefix yet (Fireworks: `accounts/fireworks/models/`)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further header -> the environment name of its value; not sent while that is not set."""
    organization_header: str = ""
    """The header that carries a deployment's `organization`; empty: it has no such thing."""
    family: str = ""
    """Whose signed thoughts it reads and writes; empty means `name`."""
    official: bool = False
    """The vendor's own API, strict about fields, as long as requests go to its own host: elsewhere the name stands for
    any compatible server."""
    claude: bool = False
    """Serves Anthropic's own models in Anthropic's dialect, as strict as Anthropic itself."""
    call_ids: bool = True
    """Takes the ids of function calls."""
    sockets: frozenset[str] = frozenset()
    """What is served over WebSockets, too: `realtime`, `openai_responses`. A server of the user's under this name may
    not have it: the handshake tells."""

    @property
    def owned_by(self) -> str:
        """Return the name to show as the owner of a model."""
        return self.owner or self.name

    def quirks_for(self, model: str, dialect: str) -> Quirks:
        """Return the quirks of one upstream model. They are about OpenAI Chat: its keys mean other things elsewhere."""
        return self.quirks.of(model) if dialect == "openai_chat" else NO_QUIRKS


def matches(pattern: str, name: str) -> bool:
    """Tell whether `name` is `pattern`, or starts with it when it ends in `*`. No other wildcard, case as given."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


class Extra(TypedDict, total=False):
    """The fields of `Provider` that `row` takes by name."""

    env: tuple[str, ...]
    dialects: tuple[str, ...]
    may_speak: tuple[str, ...]
    auth: Auth
    local: bool
    quirks: Quirks
    guides: str
    schema_dialects: tuple[str, ...]
    owner: str
    docs: str
    paths: Mapping[str, str]
    version: str
    model_prefix: str
    headers: Mapping[str, str]
    organization_header: str
    family: str
    official: bool
    claude: bool
    call_ids: bool
    sockets: frozenset[str]


def row(
    name: str, base: str | None, *keys: str, bases: tuple[str, ...] | None = None, **extra: Unpack[Extra]
) -> Provider:
    """Make a `Provider` in one line.

    `bases` defaults to the name that goes with the first key: `GROQ_API_KEY` -> `GROQ_API_BASE`, so that every provider
    can be pointed elsewhere without a configuration file.
    """
    if bases is None:
        bases = (base_variable(keys[0]),) if keys else ()
    return Provider(name=name, base=base, keys=keys, bases=bases, **extra)


def base_variable(key: str) -> str:
    """Name the variable of a base by that of a key: `X_API_KEY`, `X_API_TOKEN`, `X_KEY`, `X_TOKEN` -> `X_API_BASE`."""
    for tail in ("_API_KEY", "_API_TOKEN", "_KEY", "_TOKEN"):
        if key.endswith(tail):
            return key[: -len(tail)] + "_API_BASE"
    return key + "_API_BASE"
