"""Forms that a config may name instead of writing them out (``pattern_type: prebuilt``), by LiteLLM's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from penstock.core.guarding.pii import ENTITIES, IPV4, IPV6, passes_luhn
from penstock.core.guarding.rules import BLOCK, Rule
from penstock.core.guarding.secrets import SECRETS

_SECRETS = {rule.kind: rule for rule in SECRETS}


def _card(form: str) -> Rule:
    """Make the rule of one brand's cards, their digits in groups or not."""
    return Rule("", re.compile(rf"(?<![\w.-]){form}(?![\w]|[.-]\d)"), BLOCK, 40, (), passes_luhn)


_US_PHONE = re.compile(r"(?<![\w.+/-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w]|[.-]\d)")
_URL = re.compile(r"\bhttps?://[^\s<>\"']{1,400}")

PREBUILT: Mapping[str, Rule] = {
    name: replace(rule, kind=name, action=BLOCK)
    for name, rule in {
        "email": ENTITIES["EMAIL_ADDRESS"],
        "us_ssn": ENTITIES["US_SSN"],
        "us_phone": Rule("", _US_PHONE, BLOCK, 24),
        "credit_card": ENTITIES["CREDIT_CARD"],
        "visa": _card(r"4\d{3}[ -]?(?:\d{4}[ -]?){2}\d{4}"),
        "mastercard": _card(r"(?:5[1-5]\d\d|2[2-7]\d\d)[ -]?(?:\d{4}[ -]?){2}\d{4}"),
        "amex": _card(r"3[47]\d\d[ -]?\d{6}[ -]?\d{5}"),
        "discover": _card(r"6(?:011|5\d\d)[ -]?(?:\d{4}[ -]?){2}\d{4}"),
        "iban": ENTITIES["IBAN_CODE"],
        "ipv4": Rule("", IPV4, BLOCK, 16, (".",), spaceless=True),
        "ipv6": Rule("", IPV6, BLOCK, 48, (":",), spaceless=True),
        "url": Rule("", _URL, BLOCK, 420, ("://",), spaceless=True),
        "aws_access_key": _SECRETS["AWS_ACCESS_KEY"],
        "aws_secret_key": _SECRETS["AWS_SECRET_KEY"],
        "github_token": _SECRETS["GITHUB_TOKEN"],
        "slack_token": _SECRETS["SLACK_TOKEN"],
        "private_key": _SECRETS["PRIVATE_KEY"],
        "jwt": _SECRETS["JSON_WEB_TOKEN"],
        "generic_api_key": _SECRETS["SECRET_VALUE"],
    }.items()
}
"""By name; what is found is called by it."""
