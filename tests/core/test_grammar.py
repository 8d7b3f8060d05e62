"""Choices and regular expressions as GBNF: read back by a reader of our own, compared with Python's ``re``."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.grammar import Unsupported, choices_gbnf, choices_regex, literal, regex_gbnf

# All characters but NUL and halves of surrogate pairs, quotes and escapes often.
TEXTS = st.text(
    st.one_of(st.sampled_from('"\\\n\r\t[]^-|(){}*+?.:= é\u2028\U0001f600'), st.characters(codec="utf-8", min_codepoint=1)),
    max_size=12,
)
_TOKEN = re.compile(r'\s+|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{\d+(?:,\d*)?\}|[()|*+?]')
_ESCAPE = re.compile(r"\\(?:x([0-9A-F]{2})|u([0-9A-F]{4})|U([0-9A-F]{8}))")


def as_python(grammar: str) -> str:
    """A grammar of one rule as a Python expression. Fails for a character that is not escaped as GBNF has it."""
    assert grammar.startswith("root ::= ")
    out, at, text = "", 0, grammar.removeprefix("root ::= ")
    while at < len(text):
        token = _TOKEN.match(text, at)
        assert token, text[at:]
        at, found = token.end(), token[0]
        if found[0] == '"':
            out += "(?:" + re.escape(_plain(found[1:-1])) + ")"
        elif found[0] == "[":
            assert not _ESCAPE.sub("", found[1:-1]).strip("-"), "a class holds escapes and dashes alone"
            out += "[" + _ESCAPE.sub(lambda m: re.escape(_char(m)), found[1:-1]) + "]"
        else:
            out += "(?:" if found == "(" else found.strip()
    return out


def _char(found: re.Match[str]) -> str:
    return chr(int(found[1] or found[2] or found[3], 16))


def _plain(inner: str) -> str:
    assert '"' not in inner and "\n" not in inner and "\\" not in _ESCAPE.sub("", inner)
    return _ESCAPE.sub(_char, inner)


@given(TEXTS)
def test_a_literal_reads_back(text):
    made = literal(text)
    assert made[0] == made[-1] == '"' and made.isascii() and _plain(made[1:-1]) == text


@given(st.lists(TEXTS, min_size=1, max_size=5), TEXTS)
def test_choices_match_themselves_and_nothing_else(choices, other):
    for pattern in (choices_regex(choices), as_python(choices_gbnf(choices))):
        assert all(re.fullmatch(pattern, choice) for choice in choices)
        assert bool(re.fullmatch(pattern, other)) == (other in choices)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_choices_as_an_expression_make_the_same_grammar(choices):
    pattern = as_python(regex_gbnf(choices_regex(choices)))
    assert all(re.fullmatch(pattern, choice) for choice in choices)


_ATOMS = st.sampled_from(
    ["a", "b", " ", r"\.", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", "[abc]", "[^a-c]", r"[\d_-]", r"[^\w]", r"[]a]"]
    + ["[a-]", r"[\]\\]", r"\x41", r"\u0062", "é", r"\n", ".", '"', r"\\"]
)
_COUNTS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?", "??"])


def _grow(inner):
    group = st.sampled_from(["(", "(?:", "(?P<n>"])
    return st.one_of(
        st.tuples(group, inner, _COUNTS).map(lambda t: f"{t[0]}{t[1]}){t[2]}"),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map(lambda text: f"({text})"),
    )


EXPRESSIONS = st.recursive(st.tuples(_ATOMS, _COUNTS).map("".join), _grow, max_leaves=6)
SUBJECTS = st.text(st.sampled_from('ab cA._-]\\"é9\n0'), max_size=5)


@settings(max_examples=400)
@given(EXPRESSIONS, st.lists(SUBJECTS, min_size=1, max_size=8))
def test_a_grammar_holds_what_the_expression_matches(pattern, subjects):
    ours = re.sub(r"\?P<n>", "?:", pattern)  # Python wants names once
    made = as_python(regex_gbnf(pattern))
    for subject in subjects:
        assert bool(re.fullmatch(made, subject)) == bool(re.fullmatch(ours, subject, re.ASCII)), (pattern, made, subject)


@pytest.mark.parametrize("pattern", ["^abc$", "^a|^b$", "", "(a|)", "{", "x{", "a{2,3}", r"^\$[0-9]+\.[0-9]{2}$"])
def test_anchors_and_edges(pattern):
    if pattern == "x{":
        with pytest.raises(Unsupported):
            regex_gbnf(pattern)
        return
    made = as_python(regex_gbnf(pattern))
    for subject in ("abc", "a", "b", "", "{", "aa", "aaaa", "$5.00", "$5.0"):
        assert bool(re.fullmatch(made, subject)) == bool(re.fullmatch(pattern, subject)), subject


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"\bword", "'\\b' has no grammar (character 1"),
        (r"(?=a)b", "'(?'"),
        (r"(?<!a)b", "'(?'"),
        (r"(?i)a", "'(?'"),
        (r"(a)\1", "'\\1' has no grammar"),
        (r"\p{L}", "'\\p' has no grammar"),
        ("a++", "possessive"),
        ("a**", "repeated"),
        ("*a", "repeats nothing"),
        ("(a", "is not closed"),
        ("a)", "closes no group"),
        ("[a", "is not closed"),
        ("[z-a]", "backwards"),
        ("[[:alpha:]]", "[:alpha:]"),
        ("a{9999}", "over 2000"),
        ("a{3,2}", "backwards"),
        ("a$b", "stands inside"),
        ("(^a)", "stands inside"),
        ("a\\", "breaks off"),
        (r"\x4", "wants 2 digits"),
        (r"\x{110000}", "no character"),
        ("\x00", "U+0000"),
        ("(" * 60 + "a" + ")" * 60, "nested"),
    ],
)
def test_what_has_no_grammar_says_which_part(pattern, why):
    with pytest.raises(Unsupported, match=re.escape(why)):
        regex_gbnf(pattern)


@given(st.text(st.sampled_from("ab\\d^$|()[]{}*+?.-,123?P<>=!:xu"), max_size=14))
def test_any_text_is_a_grammar_or_a_clear_no(pattern):
    try:
        made = regex_gbnf(pattern)
    except Unsupported as error:
        assert "character" in str(error)
    else:
        as_python(made)
