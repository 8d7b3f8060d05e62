"""A function's docstring begins with a verb and its object: "Return the discount of the model", not "The discount"."""

from __future__ import annotations

import ast
import re

import pytest

from tests.rules.repo import python_files, tree

# Whose functions keep the rule: paths begin with one of these.
ROOMS = ("penstock/",)

NAMES = [name for name in python_files("penstock") if name.startswith(ROOMS)]

# Words that begin a sentence without telling what the function does.
OPENERS = frozenset(
    """
    a an the one two all any both each either every neither no none nothing some several many most more less few
    another other others only just also so too now then here there
    i you he she it we they this that these those its his her our their your
    what which who whom whose when where why how whether if as
    see is are was were be been being has have had can could may might must shall should will would not never always
    and or but nor for from of in on at by to with without within about above after before behind below beside between
    beyond during into like near off out over past since than through under until up upon via
    like same such old new
    true false
    """.split()
)

# Imperatives that end in "s"; every other word that does is a plural or the third person.
ENDS_IN_S = frozenset("access address bias bypass compress cross discuss dismiss express focus guess".split())
ENDS_IN_S |= frozenset("miss pass possess press process progress stress suppress toss".split())

# Imperatives that end like a participle.
ENDS_LIKE_A_PARTICIPLE = frozenset("bring embed feed need seed shed speed string".split())

# A verb is one plain word, so a literal, a number and a name of a vendor's with its "'s" are none.
VERB = re.compile(r"[A-Z][a-z]+(?:-[a-z]+)?")


def fault(docstring: str) -> str:
    """Tell what is wrong with the first word, "" when it may be a verb in the imperative."""
    first = docstring.split(maxsplit=1)[0].rstrip(".,:;") if docstring.strip() else ""
    if not VERB.fullmatch(first):
        return f"{first!r} is no verb"
    word = first.lower()
    if word in OPENERS:
        return f"{first!r} does not say what it does"
    if word.endswith("s") and word not in ENDS_IN_S:
        return f"{first!r} is a plural, or speaks of the function in the third person"
    if word.endswith(("ing", "ed")) and word not in ENDS_LIKE_A_PARTICIPLE:
        return f"{first!r} is no imperative"
    return ""


def faults(source: ast.Module) -> list[str]:
    """Find the docstrings of functions and methods that begin with another word than a verb; dunders are exempt."""
    found = []
    for node in ast.walk(source):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node)
        if docstring is None or (node.name.startswith("__") and node.name.endswith("__")):
            continue
        if why := fault(docstring):
            found.append(f"{node.lineno}: {node.name}: {why}")
    return found


def test_there_are_files_in_every_room() -> None:
    assert [room for room in ROOMS if not any(name.startswith(room) for name in NAMES)] == []


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_begin_with_a_verb(name: str) -> None:
    assert faults(tree(name)) == [], f"{name}: say it in the imperative, as 'Return the ...' or 'Tell whether ...'"


@pytest.mark.parametrize(
    "docstring",
    [
        "The discount of the model.",
        "A decoder for one stream.",
        "What is known of a model.",
        "Whether a Gemini is a Pro.",
        "See ``base.Dialect``.",
        'Raises "bad_request" without a prompt.',
        "Edits a request for the wire.",
        "Closes the open block.",
        "Tokens in ``size`` bytes of text.",
        "They ride on the pieces of a text.",
        "OpenAI's ``logprobs`` object.",
        "OpenAI sends null.",
        "Ends, whatever is open.",
        "Thinking in the API's own words.",
        "Counted from where its block begins.",
        "``error.details`` without secrets.",
        '"carried", or what is lost.',
        "(port, path) to ask.",
        "None when nothing is in it.",
        "low, medium or high.",
        "",
    ],
)
def test_the_check_sees_each_kind_of_offender(docstring: str) -> None:
    assert fault(docstring) != ""


@pytest.mark.parametrize(
    "docstring",
    [
        "Return the discount of the model.",
        "Tell whether a Gemini is a Pro.",
        "Process one event.",
        "Guess the media type.",
        "Pass it on.",
        "Feed more bytes in.",
        "Re-read the file.",
    ],
)
def test_the_check_lets_verbs_pass(docstring: str) -> None:
    assert fault(docstring) == ""


def test_the_check_looks_into_classes_and_functions_and_not_at_dunders() -> None:
    planted = '''
class Thing:
    """A thing."""

    def __len__(self):
        """The length."""

    @property
    def size(self):
        """The size."""

    async def read(self):
        """Read."""
        def inner():
            """Reads."""
'''
    assert [line.split(":")[1].strip() for line in faults(ast.parse(planted))] == ["size", "inner"]
