"""What secrets look like: keys of vendors by the form that these document, private keys, tokens, and values that
nobody would write by hand beside a word such as ``password``."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter

import msgspec

from penstock.core.guarding.rules import LONGEST, MASK, Rule

_END = r"(?![A-Za-z0-9_\-])"
_START = r"(?<![A-Za-z0-9_\-])"


def _key(kind: str, form: str, *marks: str, reach: int = 256) -> Rule:
    """Make the rule of a key that stands alone as a word."""
    find = re.compile(_START + form + _END)
    return Rule(kind, find, MASK, reach, marks, _varied, spaceless=True)


def _varied(text: str) -> bool:
    """Tell whether a text has as many different characters as a random one: ``sk-xxxxxxxxxxxx`` is an example."""
    run = max(_RUNS.split(text), key=len)  # words that are joined, however many, are no key
    return len(run) >= min(12, len(text) // 2) and len(set(run)) >= min(8, len(run) // 2)


def _is_token(text: str) -> bool:
    """Tell whether a text is a JSON web token: its head is JSON that names an algorithm."""
    head = text.partition(".")[0]
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return False
    return isinstance(value, dict) and ("alg" in value or "typ" in value)


_RUNS = re.compile(r"[-_.]")
_LIKELY_NAMES = re.compile(
    r"(?i)(?:your|example|placeholder|changeme|change_me|dummy|sample|redacted|secret_here|xxxx)"
)


def entropy(text: str) -> float:
    """Return the bits of a character of a text, by how often each stands in it."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def _is_random(text: str) -> bool:
    """Tell whether a value looks drawn by lot: many different characters, digits among letters, and no word that says
    that it stands for another."""
    if _LIKELY_NAMES.search(text) or not any(c.isdigit() for c in text) or not any(c.isalpha() for c in text):
        return False
    if text.startswith(("http", "/", "./", "os.environ", "${", "$")):
        return False
    # A path, a version or a name with a number has long runs of letters; what is random changes its kind of
    # character every third one or so.
    changes = sum(_sort(one) != _sort(other) for one, other in zip(text, text[1:], strict=False))
    return entropy(text) >= 3.0 and changes * 4 >= len(text)


def _is_password(text: str) -> bool:
    known = text.lower() in ("password", "passwd", "secret", "postgres", "example", "hunter2", "letmein", "username")
    return not (known or _LIKELY_NAMES.search(text) or text.startswith(("$", "{", "*", "<")))


def _sort(char: str) -> int:
    return 0 if char.isdigit() else 1 if char.islower() else 2 if char.isupper() else 3


_WORDS = (
    "password", "passwd", "pwd", "secret", "token", "api_key", "apikey", "api-key", "access_key", "auth_key",
    "private_key", "client_secret", "credential",
)  # fmt: skip
_ASSIGNED = re.compile(
    r"(?i)(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key|credentials?)"
    r"[\w-]{0,24}[\"']?[ \t]{0,4}(?::=|=>|=|:)[ \t]{0,4}[\"']?"
    r"(?P<value>[A-Za-z0-9+/_=.~!@#%^&*-]{12,200})(?![A-Za-z0-9+/_=])"
)

SECRETS: tuple[Rule, ...] = (
    _key("ANTHROPIC_API_KEY", r"sk-ant-[a-z]{2,10}\d\d-[A-Za-z0-9_-]{40,120}", "sk-ant-"),
    _key("OPENROUTER_API_KEY", r"sk-or-v1-[a-f0-9]{64}", "sk-or-"),
    _key("OPENAI_API_KEY", r"sk-(?:proj-|svcacct-|admin-)?(?=[A-Za-z0-9_-]{0,190}\d)[A-Za-z0-9_-]{32,190}", "sk-"),
    _key("AWS_ACCESS_KEY", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", "akia", "asia", "abia", "acca", reach=20),
    Rule(
        "AWS_SECRET_KEY",
        re.compile(
            r"(?i)aws[\w .-]{0,24}(?:secret|key)[\w .-]{0,24}[\"']?\s{0,4}[=:]{1,2}\s{0,4}[\"']?"
            r"(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
        ),
        MASK, 128, ("aws",), _varied, 1,
    ),
    _key("GITHUB_TOKEN", r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})", "gh", reach=260),
    _key("GITLAB_TOKEN", r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,64}", "gl"),
    _key("SLACK_TOKEN", r"xox[abeoprs]-(?:[A-Za-z0-9]{1,48}-){1,5}[A-Za-z0-9]{8,80}", "xox", reach=400),
    Rule(
        "SLACK_WEBHOOK",
        re.compile(r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{20,120}"),
        MASK, 200, ("hooks.slack.com",), spaceless=True,
    ),
    _key("GOOGLE_API_KEY", r"AIza[0-9A-Za-z_-]{35}", "aiza", reach=39),
    _key("GOOGLE_OAUTH_TOKEN", r"ya29\.[0-9A-Za-z_-]{30,240}", "ya29."),
    _key("GOOGLE_OAUTH_SECRET", r"GOCSPX-[0-9A-Za-z_-]{28}", "gocspx-"),
    _key("STRIPE_KEY", r"(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,200}", "sk_", "rk_"),
    _key("HUGGINGFACE_TOKEN", r"hf_[A-Za-z]{30,40}", "hf_"),
    _key("GROQ_API_KEY", r"gsk_[A-Za-z0-9]{40,64}", "gsk_"),
    _key("XAI_API_KEY", r"xai-[A-Za-z0-9]{60,100}", "xai-"),
    _key("REPLICATE_TOKEN", r"r8_[A-Za-z0-9]{37,40}", "r8_"),
    _key("NPM_TOKEN", r"npm_[A-Za-z0-9]{36}", "npm_"),
    _key("PYPI_TOKEN", r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,255}", "pypi-", reach=300),
    _key("SENDGRID_KEY", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}", "sg."),
    _key("TWILIO_KEY", r"SK[0-9a-f]{32}", "sk"),
    _key("DIGITALOCEAN_TOKEN", r"do[opr]_v1_[a-f0-9]{64}", "_v1_"),
    _key("DATABRICKS_TOKEN", r"dapi[a-f0-9]{32}(?:-\d)?", "dapi"),
    _key("SHOPIFY_TOKEN", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}", "shp"),
    _key("TELEGRAM_TOKEN", r"\d{8,10}:AA[A-Za-z0-9_-]{33}", ":aa"),
    Rule(
        "AZURE_STORAGE_KEY",
        re.compile(r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)"),
        MASK, 128, ("accountkey=",), _varied, 1, spaceless=True,
    ),
    Rule(
        "JSON_WEB_TOKEN",
        re.compile(_START + r"eyJ[A-Za-z0-9_-]{10,1500}\.eyJ[A-Za-z0-9_-]{10,1500}\.[A-Za-z0-9_-]{10,900}" + _END),
        MASK, LONGEST, ("eyj",), _is_token, spaceless=True,
    ),
    Rule(
        "PRIVATE_KEY",
        re.compile(
            r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.-]{0,4000}"
            r"(?:-----END (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----)?"
        ),
        MASK, LONGEST, ("private key",),
    ),
    Rule(
        "URL_PASSWORD",
        re.compile(r"\b[a-z][a-z0-9+]{1,20}://[^\s:/@\"'<>]{1,64}:(?P<value>[^\s:/@\"'<>]{6,100})@[A-Za-z0-9.-]{1,100}"),
        MASK, 320, ("://",), _is_password, 1,
        spaceless=True,
    ),
    Rule("SECRET_VALUE", _ASSIGNED, MASK, 256, _WORDS, _is_random, 1),
)  # fmt: skip
"""The rules, each of which masks."""
