"""Whatever a secret is and wherever it stands, a mask that knows it leaves nothing of it; all else stays."""

from __future__ import annotations

import base64
import html
import json
import re
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.core.mask import LONGEST, PLACEHOLDERS, SHORTEST, WORD, Lines, Mask, hide

letters = st.text(string.ascii_letters + string.digits, min_size=24, max_size=60)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=80)
strange = st.text(string.printable.strip() + 'äß"\\/<&+', min_size=WORD, max_size=60).map(lambda s: f"Q{s}Z")
secrets = (letters | strange).filter(lambda s: s.lower() not in PLACEHOLDERS)

WRITINGS = {
    "plain": lambda s: s,
    "bearer": lambda s: f"Bearer {s}",
    "percent": lambda s: quote(s, safe=""),
    "percent_lower": lambda s: re.sub("%..", lambda m: m[0].lower(), quote(s, safe="")),
    "percent_js": lambda s: quote(s, safe="!'()*"),
    "percent_path": lambda s: quote(s),
    "form": quote_plus,
    "json": json.dumps,
    "json_utf8": lambda s: json.dumps(s, ensure_ascii=False),
    "json_twice": lambda s: json.dumps(json.dumps({"key": s})),
    "json_slash": lambda s: json.dumps(s).replace("/", "\\/"),
    "html": html.escape,
    "html_text": lambda s: html.escape(s, quote=False),
    "basic": lambda s: "Basic " + base64.b64encode(f"user:{s}".encode()).decode(),
    "basic_first": lambda s: "Basic " + base64.b64encode(f"{s}:x".encode()).decode(),
    "base64_url": lambda s: base64.urlsafe_b64encode(f"ab{s}c".encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("writing", WRITINGS.values(), ids=WRITINGS.keys())
@given(secrets, texts, texts)
def test_no_writing_of_a_secret_is_left(writing, secret, before, after) -> None:
    mask = Mask([secret])
    written = writing(secret)
    told = mask.text(f"{before} {written} {after}")
    assert written not in told and secret not in told
    assert mask.text(told) == told or secret in f"{before}{after}[redacted]"
    assert mask.data(f"{before} {written} {after}".encode()) == told.encode()


@given(secrets, texts, texts)
def test_what_is_no_secret_stays_letter_by_letter(secret, before, after) -> None:
    given_ = f"{before} {after}"
    if all(part not in given_ for part in (secret, *Mask([secret])._forms)):
        assert Mask([secret]).text(given_) == given_


@given(st.lists(letters, min_size=1, max_size=300, unique=True), st.data())
def test_many_secrets_are_found_as_one_is(many, data) -> None:
    """The index of a large mask finds what a look for each of them finds."""
    one = data.draw(st.sampled_from(many))
    text = f"<{one}> and {one[:-1]} and [{one}]"
    assert Mask(many).text(text).count("[redacted]") >= 2 and one not in Mask(many).text(text)


@given(letters, st.integers(8, 59))
def test_a_secret_that_a_cut_goes_through_is_masked(secret, at) -> None:
    cut = "x" * 50 + " " + secret[:at]
    for end in ("", "...", "'.", '"'):
        assert secret[:8] not in Mask([secret]).clean(cut + end)


def test_short_keys_and_placeholders_are_words() -> None:
    words = ["none", "x", "sk-1", "test", "dummy", "not-needed", "ollama", "EMPTY", "lm-studio"]
    mask = Mask(words)
    text = "none of the test words, x or dummy, is empty or not-needed at ollama"
    assert not mask and mask.clean(text) == text
    short = "ab1" * (SHORTEST // 3)
    assert Mask([short]).text(f"the{short} {short} %20{short} \\n{short}") == (
        f"the{short} [redacted] %20[redacted] \\n[redacted]"
    )


@given(secrets)
def test_everything_that_an_error_tells_is_masked(secret) -> None:
    error = GatewayError(
        "upstream_auth", f"bad {secret}", param=secret, upstream_type=secret, upstream_code=f"x {secret}",
        details=json.dumps({"a": [secret]}).encode(),
    )  # fmt: skip
    hide(error, [Mask([secret])])
    told = " ".join([error.text, str(error), error.param or "", error.upstream_type, error.upstream_code])
    assert secret not in told and secret not in error.details.decode()
    assert json.dumps(secret)[1:-1] not in error.details.decode()


NAMES = [
    "sk-model-70b-instruct",
    "acme/sk-large_2",
    "gsk_0123456789abcdef",
    "hf_models-9f86d081884c7d659a2feaa0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/AKIAIOSFODNN7EXAMPLE",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_models_are_no_keys(name) -> None:
    text = f"The model `{name}` does not exist; api key {name}. Or {name}, sk-abcdefgh12345 and {name}-x9x9x9x9."
    for told in (Mask((), [name]).clean(text), Mask().clean(text, [name])):
        assert f"`{name}`" in told and f"Or {name}," in told
        assert "sk-abcdefgh12345" not in told
    # A key stays a key, even one that begins like a model.
    assert "longer" not in Mask([f"{name}-longer"], [name]).clean(f"key {name}-longer")


@given(letters, st.data())
def test_a_stream_is_masked_from_its_first_error_on_however_it_is_cut(secret, data) -> None:
    line = json.dumps({"error": {"message": f"bad key {secret}"}})
    first = json.dumps({"message": f"bad {secret}", "type": "error"})
    good = 'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'
    stream = f"{good}data: {data.draw(st.sampled_from([line, first]))}\n\nevent: x\ndata: {secret}".encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    lines = Lines(lambda: Mask([secret]))
    told = b"".join([*(lines.feed(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))])
    told += lines.close()
    assert secret.encode() not in told.partition(b"event: x")[0]
    assert told.startswith(good.encode()) and told.count(b"[redacted]") >= 1


def test_work_grows_with_the_text_and_not_faster() -> None:
    """Steps are counted by the size of what is kept: a megabyte of almost-secrets is one pass."""
    secret = "ab" * 20 + "c"
    text = "ab" * 500_000
    assert Mask([secret]).text(text) == text
    error = GatewayError("upstream_error", text + secret)
    hide(error, [Mask([secret])])
    assert len(error.message) <= LONGEST


@given(letters, letters)
def test_a_token_that_was_fetched_is_masked_where_it_was_sent(token, session) -> None:
    """It is in no config: only the head of the request that carried it tells it."""
    lines = f"authorization: Bearer {token}\r\nx-amz-security-token: {session}\r\nx-goog-user-project: my-project\r\n"
    error = GatewayError("upstream_auth", f"bad {token} and {session} of my-project")
    hide(error, [Mask.of_lines(lines.encode()), Mask()])
    assert error.message == "bad [redacted] and [redacted] of my-project"
    assert Mask(["another secret"]).also(Mask.of_lines(lines.encode())).text(f"{token} another secret").count("[") == 2


SOME = st.sampled_from(["sk-one-of-many-4711", "sk-one-of-some-4712", "plainword77", "gpt-4o-2024-08-06-xyz-1234567890", "short"])
SOME_SECRETS = st.lists(SOME | secrets, max_size=4)
# Names of models that look like keys are spared; such ones must be among them.
SOME_NAMES = st.lists(SOME | st.sampled_from(["ft:gpt-4o:acme::AbC123dEf456GhI7", "m", "sk-proj-looks-like-a-key-1234567890"]), max_size=3)


@given(SOME_SECRETS, SOME_NAMES, SOME_SECRETS, SOME_NAMES, texts, st.randoms())
def test_a_mask_that_grew_is_the_mask_of_all(first, names, more, more_names, between, random) -> None:
    known = Mask(first, names)
    before = (dict(known._forms), {k: list(v) for k, v in known._grams.items()}, {k: list(v) for k, v in known._heads.items()})
    grown, whole = known.grown(more, more_names), Mask([*first, *more], [*names, *more_names])
    pieces = [*first, *more, *names, *more_names, between, json.dumps([*first, *more]), quote_plus("".join(more))]
    random.shuffle(pieces)
    text = between.join(pieces)
    spared_late = {name.lower() for name in more_names} & {secret.strip().lower() for secret in first}
    if not spared_late:  # what was a secret stays one, when a model is called so later
        assert grown.text(text) == whole.text(text) and grown.clean(text) == whole.clean(text)
        assert grown.clean(text[: len(text) // 2]) == whole.clean(text[: len(text) // 2])
    assert (known._forms, known._grams, known._heads) == before, "the one that it grew from is still in use"
