"""Values that are kept sealed: they open with the same secret and at the same place, and not otherwise."""

from __future__ import annotations

import builtins

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stores.sealing import BadSeal, NoCipher, Sealer

SEALER = Sealer(b"the secret of a server")


@given(st.binary(max_size=2000), st.text(max_size=50))
def test_what_was_sealed_opens_at_its_place_and_is_another_text_each_time(value, place):
    sealed = SEALER.seal(value, place)
    assert SEALER.open(sealed, place) == value and Sealer(b"the secret of a server").open(sealed, place) == value
    assert SEALER.seal(value, place) != sealed
    if len(value) > 3:
        assert value not in sealed.encode()
    with pytest.raises(BadSeal, match="another place"):
        SEALER.open(sealed, place + "x")


@given(st.data())
def test_a_value_that_was_changed_anywhere_does_not_open(data):
    sealed = SEALER.seal(b"sk-a-key-of-somebody", "p")
    at = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.sampled_from("Aa0:/+=z"))
    changed = sealed[:at] + other + sealed[at + 1 :]
    try:
        assert SEALER.open(changed, "p") == b"sk-a-key-of-somebody" and _same(changed, sealed)
    except BadSeal:
        assert changed != sealed


def _same(one: str, other: str) -> bool:
    """The last letter of base64 has bits that say nothing."""
    import base64

    return base64.b64decode(one.rpartition(":")[2]) == base64.b64decode(other.rpartition(":")[2])


@given(st.text(max_size=80))
def test_any_other_text_is_told_to_be_none(text):
    with pytest.raises(BadSeal):
        SEALER.open(text, "p")


def test_another_secret_is_told_as_such_and_shows_nothing_of_either():
    with pytest.raises(BadSeal, match="another secret") as caught:
        Sealer(b"a new secret").open(SEALER.seal(b"value", "p"), "p")
    assert "value" not in str(caught.value) and "the secret of a server" not in f"{SEALER!r}{caught.value}"


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def none(name, *more):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(NoCipher, match=r"pip install 'penstock\[credentials\]'"):
        Sealer(b"x").seal(b"value", "p")


# RFC 5869 with a salt and an info of ours, computed by the cryptography package's own HKDF.
def test_the_key_is_derived_as_the_standard_says():
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), 32, b"penstock", b"penstock: values at rest").derive(b"the secret of a server")
    assert SEALER._key == made
