"""What a model's name tells of it: who made it, and which rules hold for it.

A rule of a model holds wherever it is served: a proxy in front of Claude is still Claude. ``facts`` reads a name in
anybody's spelling; the single rules below it take the spelling of the API that they are about. This module imports
nothing of the gateway, so that dialects may ask it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct


class ModelFacts(Struct, frozen=True):
    """What is known of a model by its name alone. What a name does not tell is no rule: every fact below holds for
    models that are known by maker and version, and for no other.

    ``maker``: "anthropic", "google", "openai", ...; "" where the name does not tell. ``version``: of Claude, Gemini and
    GPT, (4, 6) or (2, 5); (0, 0) where it has none. ``adaptive``: it sizes its thinking itself, by effort, and may
    refuse a budget of tokens. ``native_schema``: whether it enforces a JSON schema at its maker's; None where the name
    does not tell. ``generation``: of Gemini, 2.5 or 3.0; 0.0 for all others. ``reasons``: one of OpenAI's that think
    before they answer. ``takes_stop``: whether stop sequences may be set.
    """

    maker: str = ""
    version: tuple[int, int] = (0, 0)
    adaptive: bool = False
    native_schema: bool | None = None
    generation: float = 0.0
    reasons: bool = False
    takes_stop: bool = True

    @property
    def is_claude(self) -> bool:
        """Tell whether it is one of Anthropic's, wherever it is served."""
        return self.maker == "anthropic"

    @property
    def is_openais(self) -> bool:
        """Tell whether it is one of OpenAI's own, and not of those that anybody may serve (gpt-oss)."""
        return self.maker == "openai" and (self.reasons or self.version > (0, 0))

    @property
    def takes_sampling(self) -> bool:
        """Tell whether temperature, top_p and top_k may be set at all. From Claude 4.7 on they are refused
        (https://platform.claude.com/docs/en/about-claude/models/migration-guide, The-PR-Agent/pr-agent issue 2456)."""
        return self.maker != "anthropic" or self.version < (4, 7)

    @property
    def takes_both_samplers(self) -> bool:
        """Tell whether temperature and top_p may be set together. Claude refuses that from Opus 4.1 on
        (SalesforceAIResearch/MCP-Universe issue 49)."""
        return self.maker != "anthropic" or self.version < (4, 1)

    @property
    def takes_prefill(self) -> bool:
        """Tell whether it goes on with an answer that has begun. Claude does until 4.5: "This model does not support
        assistant message prefill" (https://platform.claude.com/docs/en/release-notes/overview, 2026-02-05)."""
        return self.maker != "anthropic" or self.version < (4, 6)

    @property
    def takes_budget(self) -> bool:
        """Tell whether thinking may be given a budget of tokens: not from Claude 4.7 on ("thinking.type.enabled is not
        supported for this model", cloudwego/eino-ext pull request 781)."""
        return self.maker != "anthropic" or self.version < (4, 7)

    @property
    def thinks_unasked(self) -> bool:
        """Tell whether it thinks where nothing is said of thinking: Claude from 5 on
        (https://platform.claude.com/docs/en/about-claude/models/whats-new-sonnet-5)."""
        return self.maker == "anthropic" and self.version >= (5, 0)

    @property
    def thinks(self) -> bool | None:
        """Tell whether it can think at all; None where that is not known. Claude does from 3.7 on
        (https://platform.claude.com/docs/en/build-with-claude/extended-thinking)."""
        if self.maker == "anthropic":
            return self.version >= (3, 7) if self.version > (0, 0) else None
        if self.maker == "openai":
            return True if self.reasons else False if self.version > (0, 0) else None
        return None


_UNKNOWN = ModelFacts()
# Words that stand in no other maker's names, the more telling first: "deepseek-r1-distill-llama-70b" is DeepSeek's.
_NAMES = tuple(
    (re.compile(rf"(?<![a-z]){pattern}"), who)
    for pattern, who in (
        (r"claude(?![a-z])", "anthropic"),
        (r"gemini(?![a-z])|gemma(?![a-z])", "google"),
        (r"(?:chat)?gpt-(?:\d|oss|image|audio|realtime)|o[1-9](?:$|[-:@])|(?:text-)?davinci-|babbage-", "openai"),
        (r"deepseek", "deepseek"),
        (r"(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)(?![a-z])", "mistral"),
        (r"nova-(?:2-)?(?:micro|lite|pro|premier|sonic|omni)|titan-(?:text|embed|image|tg)", "amazon"),
        (r"command-(?:r|a|light|nightly)(?![a-z])", "cohere"),
        (r"jamba(?![a-z])", "ai21"),
        (r"grok(?![a-z])", "xai"),
        (r"kimi(?![a-z])", "moonshotai"),
        (r"(?:qwen|qwq)", "qwen"),
        (r"llama-?v?\d", "meta"),
    )
)


def facts(model: str) -> ModelFacts:
    """Return what is known of a model, however the one who serves it spells its name: with a provider, a publisher, a
    region, a version or a date around it ("us.anthropic.claude-opus-4-6-v1:0", "anthropic/claude-sonnet-4.5",
    "databricks-claude-sonnet-4-5")."""
    name = model.lower().rpartition("/")[2]
    who = next((who for pattern, who in _NAMES if pattern.search(name)), "")
    if who == "anthropic":
        name = _DOT.sub("-", name)  # OpenRouter, Vercel and SAP write 4.6
        return ModelFacts(who, claude_version(name), is_adaptive(name), takes_schema(name))
    if who == "google" and "gemini" in name:
        name = _DASHED_GEMINI.sub(r"\1.\2", name)  # Databricks writes 2-5
        found = _GEMINI.search(name)
        version = (int(found[1]), int(found[2] or 0)) if found is not None else (0, 0)
        return ModelFacts(who, version, native_schema=True, generation=generation(name))
    if who == "openai":
        reasons = is_reasoning(name)
        stops = not reasons or _O1.search(name) is not None
        return ModelFacts(who, gpt_version(name), reasons=reasons, takes_stop=stops)
    return ModelFacts(who) if who else _UNKNOWN


# Claude ---------------------------------------------------------------------------------------------------------------

_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d)(?:-(\d\d?)(?!\d))?(?:$|[-@:\[])")
_DOT = re.compile(r"(?<=\d)\.(?=\d)")


def claude_version(model: str) -> tuple[int, int]:
    """Read the version in a name of Anthropic's spelling, also with the version before the family
    ("claude-3-5-sonnet"); (0, 0) for what is no Claude, or has none. A date is no part of it."""
    found = _CLAUDE.search(model)
    return (int(found[1]), int(found[2] or 0)) if found is not None else (0, 0)


def is_adaptive(model: str) -> bool:
    """Tell whether a Claude sizes its thinking by effort: 4.6 and later (https://platform.claude.com/docs, "Adaptive
    thinking")."""
    return claude_version(model) >= (4, 6)


def takes_schema(model: str) -> bool:
    """Tell whether a Claude enforces a JSON schema: 4.5 and later, and Opus 4.1 (https://platform.claude.com/docs,
    "Structured outputs")."""
    version = claude_version(model)
    return version >= (4, 5) or (version == (4, 1) and "opus" in model)


# Gemini ---------------------------------------------------------------------------------------------------------------

_GEMINI = re.compile(r"gemini-(?:[a-z]+-)*(\d+)(?:\.(\d+))?")
_DASHED_GEMINI = re.compile(r"(gemini-(?:[a-z]+-)*\d)-(\d)(?!\d)")


def generation(model: str) -> float:
    """Return the generation of a Gemini by its name: 1.5, 2.5, 3.0. Names without one ("gemini-flash-latest") are the
    newest for what ends in ``-latest``, the oldest for ``gemini-pro``, and 2.5 for all else (tuned models, other
    servers). https://ai.google.dev/gemini-api/docs/models ("Model version name patterns")."""
    found = _GEMINI.search(model)
    if found is not None:
        return float(f"{found[1]}.{found[2] or 0}")
    if model.endswith("-latest"):
        return 3.0
    return 1.0 if model in ("gemini-pro", "gemini-pro-vision") else 2.5


def is_pro(model: str) -> bool:
    """Tell whether a Gemini is a Pro, which cannot be told not to think
    (https://ai.google.dev/gemini-api/docs/thinking)."""
    return "pro" in model


# OpenAI ---------------------------------------------------------------------------------------------------------------

_COMPLETES = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002", "text-davinci")


_GPT = re.compile(r"gpt-(\d)(\d)?(?:[.-](\d)(?!\d))?")
_O1 = re.compile(r"(?<![a-z])o1(?:$|[-:@])")  # the last of the o series that takes stop sequences
_REASONING = re.compile(r"(?<![a-z])(?:o[1-9](?:$|[-:@])|gpt-[5-9](?!\d)(?!-chat))")


def gpt_version(model: str) -> tuple[int, int]:
    """Read the version in a GPT's name: (4, 1) of "gpt-4.1-mini", (3, 5) of Azure's "gpt-35-turbo"; (0, 0) for what is
    none, or has none. A date is no part of it."""
    found = _GPT.search(model)
    return (int(found[1]), int(found[3] or found[2] or 0)) if found is not None else (0, 0)


def is_reasoning(model: str) -> bool:
    """Tell whether one of OpenAI's thinks before it answers: the o series, and GPT from 5 on but for ``gpt-5-chat``
    (https://platform.openai.com/docs/guides/reasoning)."""
    return _REASONING.search(model) is not None


def completes_prompts(model: str) -> bool:
    """Tell whether a model is one of OpenAI's that are asked at /v1/completions and nowhere else
    (https://platform.openai.com/docs/models)."""
    return model.startswith(_COMPLETES)


def is_closed_openai(model: str) -> bool:
    """Tell whether a model is one that only OpenAI runs, so that behind any address its own Responses API answers. The
    open ones run on every engine (https://platform.openai.com/docs/models)."""
    return facts(model).maker == "openai" and "gpt-oss" not in model


# Searches of the web --------------------------------------------------------------------------------------------------
# The price map is silent on many that search (claude-sonnet-4-5), so it does not settle who does not.

_SEARCHING_CLAUDE = (3, 5)


def searches_in_messages(known: ModelFacts) -> bool:
    """Tell whether a Claude searches (https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool)."""
    return known.maker == "anthropic" and (known.version == (0, 0) or known.version >= _SEARCHING_CLAUDE)


def searches_in_responses(model: str, official: bool) -> bool:
    """Tell whether a model searches by Responses' ``web_search``: OpenAI's but the oldest, and Grok; at the vendor's
    own, ``official``, also what has a name of the user's (https://platform.openai.com/docs/guides/tools-web-search,
    https://docs.x.ai/docs/guides/tools/search-tools)."""
    maker = facts(model).maker
    return maker == "xai" or (is_closed_openai(model) and "gpt-3.5" not in model) or (official and not maker)


def searches_in_chat(model: str) -> bool:
    """Tell whether a model of OpenAI's takes Chat's ``web_search_options``: those that are made for it
    (https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat)."""
    return is_closed_openai(model) and "search" in model


def searches_in_gemini(model: str) -> bool:
    """Tell whether Google's model searches: every Gemini, no Gemma
    (https://ai.google.dev/gemini-api/docs/google-search)."""
    return "gemma" not in model.lower()


# On Amazon Bedrock ----------------------------------------------------------------------------------------------------
# The publisher stands in the id ("us.anthropic.claude-opus-4-6-v1", ".../amazon.nova-pro-v1:0"). An application's
# inference profile hides it: then everything is tried as asked.

_PUBLISHER = re.compile(r"(?:^|[/.])([a-z0-9]+)\.[a-z]")
_PLACES = frozenset("us eu apac jp au ca global us-gov amer sa me af".split())
_WITHOUT_PUBLISHER = (("claude", "anthropic"), ("nova", "amazon"), ("llama", "meta"), ("gpt-oss", "openai"))
_SCHEMA_PUBLISHERS = frozenset("openai qwen google nvidia minimax moonshot moonshotai zai".split())
_SCHEMA_MODELS = re.compile(r"deepseek\.v3|mistral\.(?:ministral-3|magistral|voxtral|mistral-large-3|devstral)")


def publisher(model: str) -> str:
    """Find who made a model on Bedrock: "anthropic", "amazon", "meta", ...; "" where its id does not tell."""
    if model.startswith("arn:"):
        model = model.partition(":")[2].partition("/")[2]
    for found in _PUBLISHER.finditer(model):
        if found[1] not in _PLACES:
            return found[1]
    head, dot, rest = model.partition(".")
    if dot and head in _PLACES:
        return publisher(rest)
    return next((name for part, name in _WITHOUT_PUBLISHER if part in model), "")


def takes_schema_on_bedrock(model: str) -> bool:
    """Tell whether a model enforces a JSON schema by ``outputConfig.textFormat``.
    https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html"""
    if claude_version(model) >= (4, 5):
        return True
    return publisher(model) in _SCHEMA_PUBLISHERS or bool(_SCHEMA_MODELS.search(model))


def takes_strict_on_bedrock(model: str) -> bool:
    """Tell whether a model takes a tool's ``strict``. Claude's from 5 on answer 400 to it (vercel/ai issue 18199)."""
    if publisher(model) == "anthropic":
        return (4, 5) <= claude_version(model) < (5, 0)
    return takes_schema_on_bedrock(model)


class Converse(Struct, frozen=True):
    """What Converse takes of one publisher's models.

    ``caches``: cache points and the status of a tool's result. ``chooses``: a choice of tools. ``top_k``: where among
    the model's own fields it stands, "" for a model that takes none. ``thinks``: the field of
    the model's own that tells it how hard to think, "" where that is not known.
    """

    caches: bool = False
    chooses: bool = True
    top_k: str = "top_k"
    thinks: str = ""


# Under https://docs.aws.amazon.com/bedrock/latest/: userguide/prompt-caching.html and
# APIReference/API_runtime_ToolResultBlock.html (``caches``), APIReference/API_runtime_ToolChoice.html (``chooses``),
# userguide/model-parameters.html and the pages under it (``top_k``). For ``thinks`` see ``dialects.bedrock.thinking``.
_EFFORT = Converse(thinks="reasoning_effort")
_CONVERSE: Mapping[str, Converse] = {
    "": Converse(caches=True, thinks="thinking"),
    "anthropic": Converse(caches=True, thinks="thinking"),
    "amazon": Converse(caches=True, top_k="inferenceConfig.topK", thinks="reasoningConfig"),
    "meta": Converse(chooses=False, top_k=""),
    "ai21": Converse(chooses=False),
    "cohere": Converse(chooses=False, top_k="k"),
    "openai": Converse(thinks="reasoning"),
    "moonshot": _EFFORT,
    "moonshotai": _EFFORT,
}
_OTHERS = Converse()


def converse(model: str) -> Converse:
    """Return what Converse takes of a model."""
    made = publisher(model)
    return _EFFORT if made == "openai" and "gpt-oss" in model else _CONVERSE.get(made, _OTHERS)


def is_titan_embedding(model: str) -> bool:
    """Tell whether a model takes one text a request, in the words of Titan
    (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html)."""
    return "titan-embed" in model


def is_titan_of_images(model: str) -> bool:
    """Tell whether a Titan embeds images, too, and has its size in ``embeddingConfig``
    (model-parameters-titan-embed-mm.html beside the page above)."""
    return is_titan_embedding(model) and "image" in model
