"""Names of providers and patterns of models stand in `penstock/core/providers`: a new one is a row, and no `if` elsewhere.

The configuration, the mock and the data name them by their nature. What is left elsewhere stands below with its reason.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from penstock.core.dialects import DIALECTS
from penstock.core.providers import PROVIDERS
from penstock.core.providers.names import PROVIDER_ALIASES
from tests.rules.repo import python_files, tree

HOME = "penstock/core/providers/"
MODEL_FACTS = "penstock/core/models.py"
BY_NATURE = ("penstock/config/", "penstock/mock/", "penstock/data/", HOME, MODEL_FACTS)
# A dialect, or the family that reads its seals, has the name of who invented it.
DIALECT_WORDS = frozenset(DIALECTS) | {dialect.family for dialect in DIALECTS.values()}
# Providers' names that are words for other things: a kind of tool, a field of an answer, a command.
OTHER_WORDS = frozenset({"custom", "meta", "mock"})
NAMES = (frozenset(PROVIDERS) | frozenset(PROVIDER_ALIASES)) - DIALECT_WORDS - OTHER_WORDS
MODELS = re.compile(
    r"(?<![a-z])(?:claude|gemini-|gpt-(?:\d|oss)|davinci|llama-?\d|nova-|titan-|mi[sx]tral-|qwen-?\d|deepseek-|o[1-9]-)"
)

# file -> what may stand in it, why. An entry that names what is no longer there fails too.
LEFT: dict[str, tuple[frozenset[str], str]] = {
    "penstock/core/errors.py": (
        frozenset({"vertex_ai", "vertex_ai_beta"}),
        "how LiteLLM spells them in messages that log rules match",
    ),
    "penstock/core/ops/rerank.py": (frozenset({"tei", "voyage", "watsonx"}), "names of forms, after who invented them"),
    "penstock/core/price.py": (frozenset({"fireworks_ai", "xai"}), "whose prices are computed in another way"),
    "penstock/core/pricelist.py": (
        frozenset(
            "azure azure_text codestral cohere_chat custom_openai openai_like text-completion-codestral "
            "text-completion-openai vertex_ai".split()
        ),
        "how the price list spells the providers",
    ),
    "penstock/admin/ui/snippets.py": (frozenset({"claude"}), "the command of Claude Code"),
    "penstock/runtime/sessions.py": (frozenset({"claude"}), "a header of Claude Code"),
    "penstock/cli/run_server.py": (frozenset({"sglang", "trtllm", "vllm"}), "the choices of its option: engines"),
    "penstock/engines/llama.py": (frozenset({"llama.cpp"}), "the engine that its row starts"),
    "penstock/engines/sglang.py": (frozenset({"sglang"}), "the engine that its row starts"),
    "penstock/engines/trtllm.py": (frozenset({"trtllm"}), "the engine that its row starts"),
    "penstock/engines/vllm.py": (frozenset({"vllm"}), "the engine that its row starts"),
    "penstock/engines/models.py": (frozenset({"trtllm", "vllm"}), "which engine a model's files are for"),
    "penstock/sinks/__init__.py": (frozenset({"helicone"}), "a service that records are sent to, whose gateway is a provider"),
    "penstock/sinks/helicone.py": (frozenset({"helicone"}), "the service that it sends records to"),
    "penstock/runtime/attempts.py": (frozenset({"replicate"}), "which provider has an attempt of its own"),
    "penstock/runtime/cloud/__init__.py": (
        frozenset("azure azure_ai azure_text databricks snowflake vertex_ai vertex_ai_beta watsonx".split()),
        "which provider has a signature of its own",
    ),
    "penstock/runtime/cloud/databricks.py": (frozenset({"databricks"}), "its name in errors"),
    "penstock/runtime/cloud/serving.py": (
        frozenset("azure azure_ai cloudflare databricks snowflake vertex_ai vertex_ai_beta watsonx claude".split()),
        "which provider has its account in the URL, and what each serves there",
    ),
    "penstock/runtime/cloud/snowflake.py": (frozenset({"snowflake"}), "its name in errors"),
    "penstock/runtime/constrained.py": (frozenset({"llama_cpp", "vllm"}), "words of engines that take constraints"),
    "penstock/runtime/ops/embeddings.py": (frozenset({"tei"}), "the name of a form"),
    "penstock/runtime/ops/rerank.py": (frozenset({"tei"}), "the name of a form"),
    "penstock/runtime/credential.py": (frozenset({"vertex_ai"}), "whose account has a section of its own"),
    "penstock/sdk/service_config.py": (frozenset({"llama3"}), "the default that the service's users know"),
    "penstock/server/las.py": (
        frozenset(
            "azure azure_text deepseek groq hosted_vllm huggingface ollama_chat openrouter together_ai vertex_ai "
            "vertex_ai_beta vllm claude gemini- gpt-4 llama-3 llama3 deepseek-".split()
        ),
        "the form on the page for a new model, with an example for each provider",
    ),
}


def _docstrings(source: ast.Module) -> set[int]:
    """What stands as a statement of its own, and says something to the reader only."""
    found = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
    return found


def named(source: ast.Module) -> Iterator[tuple[int, str]]:
    """Every constant that is a provider's name or holds a pattern of a model's: its line, the name or the pattern."""
    silent = _docstrings(source)
    for node in ast.walk(source):
        if isinstance(node, ast.Compare):
            yield from _compared(node)
        if not isinstance(node, ast.Constant) or id(node) in silent or not isinstance(node.value, str | bytes):
            continue
        text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        for word in {text, *text.split()} & NAMES:
            if word == text or _is_list(text):
                yield node.lineno, word
        for match in MODELS.finditer(text):
            yield node.lineno, match[0]


def _compared(node: ast.Compare) -> Iterator[tuple[int, str]]:
    """Names of dialects that are providers' here: what they are compared with is called a provider."""
    sides = [node.left, *node.comparators]
    if any("provider" in ast.unparse(side) for side in sides if not isinstance(side, ast.Constant)):
        words = [word.value for side in sides for word in ast.walk(side) if isinstance(word, ast.Constant)]
        yield from ((node.lineno, word) for word in words if word in DIALECT_WORDS)


def _is_list(text: str) -> bool:
    """Whether a text is a list of names to be split: more than half of its words are."""
    words = text.split()
    return len(words) > 1 and 2 * len(NAMES.intersection(words)) > len(words)


OUTSIDE = [name for name in python_files("penstock") if not name.startswith(BY_NATURE)]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_stand_with_the_providers(name: str) -> None:
    allowed, _ = LEFT.get(name, (frozenset(), ""))
    found = list(named(tree(name)))
    strange = [f"{name}:{line}: {word!r}" for line, word in found if word not in allowed]
    assert strange == [], "move it to core/providers: a row, a table there, or a rule of models.py"
    assert allowed <= {word for _, word in found}, f"{name}: take what is gone out of LEFT"


def test_every_entry_has_a_file_and_a_reason() -> None:
    assert [name for name in LEFT if name not in OUTSIDE] == []
    assert all(reason for _, reason in LEFT.values())


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ('x = name == "groq"', ["groq"]),
        ('X = frozenset("groq together_ai".split())', ["groq", "together_ai"]),
        ('P = re.compile(r"claude-(?:[a-z]+-)?4")', ["claude"]),
        ('x = model.startswith("gpt-4")', ["gpt-4"]),
        ('X = {"voyage": 1}', ["voyage"]),
        ('x = target.provider.name == "openai"', ["openai"]),
        ('x = provider in ("openai", "groq")', ["groq", "openai"]),
        ('x = family == "anthropic"', []),
        ('def f():\n    """Groq is called groq."""', []),
        ('x = "a word about groq in a sentence"', []),
    ],
)
def test_the_check_sees_names_and_lets_words_pass(line: str, want: list[str]) -> None:
    assert sorted(word for _, word in named(ast.parse(line))) == want


def test_the_rules_of_models_load_no_dialect() -> None:
    """Dialects ask ``models`` and ``operations``; were it the other way round, too, they could not be imported."""
    script = "import sys, penstock.core.models, penstock.core.providers.operations\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith(("penstock.core.dialects", "penstock.core.ops"))] == []
