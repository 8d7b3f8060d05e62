"""What is a secret, and what only looks like one."""

from __future__ import annotations

import base64
import json
import random
import string

import pytest

from penstock.core.guarding.patterns import PREBUILT
from penstock.core.guarding.pii import ENTITIES
from penstock.core.guarding.rules import findings_of
from penstock.core.guarding.secrets import SECRETS

DICE = random.Random(7)
LETTERS = string.ascii_letters + string.digits


def drawn(count: int, letters: str = LETTERS) -> str:
    return "".join(DICE.choice(letters) for _ in range(count))


def token() -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).decode().rstrip("=")
    body = base64.urlsafe_b64encode(json.dumps({"sub": "1234567890", "iat": 1516239022}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{drawn(43)}"


HEX = "0123456789abcdef"
SECRET: list[tuple[str, str]] = [
    ("OPENAI_API_KEY", "sk-" + drawn(40) + "7a8"),
    ("OPENAI_API_KEY", "sk-proj-" + drawn(60) + "_-9" + drawn(20)),
    ("ANTHROPIC_API_KEY", "sk-ant-api03-" + drawn(80) + "AA"),
    ("OPENROUTER_API_KEY", "sk-or-v1-" + drawn(64, HEX)),
    ("AWS_ACCESS_KEY", "AKIA" + drawn(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
    ("GITHUB_TOKEN", "ghp_" + drawn(36)),
    ("GITHUB_TOKEN", "github_pat_" + drawn(22) + "_" + drawn(59)),
    ("GITLAB_TOKEN", "glpat-" + drawn(20)),
    ("SLACK_TOKEN", f"xoxb-{drawn(12, string.digits)}-{drawn(12, string.digits)}-{drawn(24)}"),
    ("SLACK_WEBHOOK", f"https://hooks.slack.com/services/T{drawn(8)}/B{drawn(8)}/{drawn(24)}"),
    ("GOOGLE_API_KEY", "AIza" + drawn(35)),
    ("GOOGLE_OAUTH_SECRET", "GOCSPX-" + drawn(28)),
    ("STRIPE_KEY", "sk_live_" + drawn(24)),
    ("HUGGINGFACE_TOKEN", "hf_" + drawn(34, string.ascii_letters)),
    ("GROQ_API_KEY", "gsk_" + drawn(52)),
    ("XAI_API_KEY", "xai-" + drawn(80)),
    ("REPLICATE_TOKEN", "r8_" + drawn(37)),
    ("NPM_TOKEN", "npm_" + drawn(36)),
    ("PYPI_TOKEN", "pypi-AgEIcHlwaS5vcmc" + drawn(80)),
    ("SENDGRID_KEY", f"SG.{drawn(22)}.{drawn(43)}"),
    ("DIGITALOCEAN_TOKEN", "dop_v1_" + drawn(64, HEX)),
    ("DATABRICKS_TOKEN", "dapi" + drawn(32, HEX)),
    ("JSON_WEB_TOKEN", token()),
    ("PRIVATE_KEY", f"-----BEGIN RSA PRIVATE KEY-----\n{drawn(64)}\n{drawn(64)}\n-----END RSA PRIVATE KEY-----"),
]
# Around a secret: what stands there, and the part of it that must go.
WRITTEN = [
    ("password=Tr0ub4dor&3xYz9", "Tr0ub4dor&3xYz9"),
    ('"api_key": "9f8Ahs7Gd6sKq1zZ"', "9f8Ahs7Gd6sKq1zZ"),
    ("export MY_SECRET_TOKEN='a8Kd92Lx0Qm4Zp7R'", "a8Kd92Lx0Qm4Zp7R"),
    ("client_secret: q7W2e9R4t6Y8u1I3", "q7W2e9R4t6Y8u1I3"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzKd93Lq0Xw", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzKd93Lq0Xw"),
    ("postgresql://app:h7Kd92Lx0Q@db.internal:5432/x", "h7Kd92Lx0Q"),
]
INNOCENT = [
    "My password is not something I will tell you.",
    "Set the api_key parameter to your key, e.g. api_key=YOUR_API_KEY_HERE",
    "OPENAI_API_KEY=sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "api_key: os.environ/OPENAI_API_KEY",
    "password=changeme password=hunter password: ******** token=${TOKEN}",
    "secret = get_secret('database/password')",
    "token = tokenizer.decode(token_ids[0]); token: Optional[str] = None",
    "max_tokens=4096 total_tokens: 1234567890123456",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 fixes it",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "id 123e4567-e89b-12d3-a456-426614174000 and chatcmpl-54d9373ed89769ab928b0052231a0",
    "sk-learn is scikit-learn; risk-free-and-task-oriented-approach-for-everyone-to-follow",
    "The task-based-learning-approach-2024-for-all-of-us-in-the-classroom is good",
    "https://example.org/path/to/AKIAsomething and https://user@example.org/",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "import torch.nn.functional as F; def secret_santa(names): return random.shuffle(names)",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
    "eyJhbGciOi is how a token starts",
    "password: string; passwordConfirmation: string; tokenType: 'bearer'",
    "access_key_id=<your-access-key-id> secret_key=<your-secret-key-goes-here-1>",
    "hf_hub_download(repo_id='meta-llama/Llama-3.1-8B-Instruct', filename='config.json')",
    "glance at the gl-matrix-js-library-for-webgl and gh_actions",
    "SG.1.2 is a version, SKU SK-12345 is an article",
    "token_count = 12; token_budget=10000tokens; secretariat: 4th floor, room 12B",
    "api_key_header = APIKeyHeader(name='X-API-Key-2024-v2')",
    "The IBAN check: DE00 0000 0000 0000 0000 00 is not valid",
    "Der Schlüssel zum Erfolg: password_policy_min_length=12characters",
    "mongodb://localhost:27017/database redis://:${REDIS_PASSWORD}@cache:6379/0",
    "postgresql://user:password@localhost/db",
    "Use `--token=$GITHUB_TOKEN` and `-p secret:latest`",
    "const tokenUrl = 'https://login.example.com/oauth2/v2.0/token';",
    "xoxo-hugs-and-kisses, npm_config_registry=https://registry.example.org",
    "ya29 is a prefix. AIza is one as well. dapi is a word in some languages",
]


@pytest.mark.parametrize(("kind", "secret"), SECRET, ids=[f"{n} {kind}" for n, (kind, _) in enumerate(SECRET)])
def test_a_secret_is_found_wherever_it_stands(kind: str, secret: str) -> None:
    for text in (secret, f"use {secret} here", f"key={secret};", f'{{"k": "{secret}"}}', f"`{secret}`.", f"({secret})"):
        found = findings_of(SECRETS, [text])
        assert found, text
        left = text
        for one in sorted(found, key=lambda one: -one.start):
            left = left[: one.start] + left[one.end :]
        assert secret not in left and secret[-12:] not in left, (text, found)
    assert kind in {one.kind for one in findings_of(SECRETS, [secret])}


@pytest.mark.parametrize(("text", "secret"), WRITTEN, ids=[text[:16] for text, _ in WRITTEN])
def test_a_value_beside_a_word_for_secrets_is_found(text: str, secret: str) -> None:
    for around in (text, f"first line\n{text}\nlast line"):
        found = findings_of(SECRETS, [around])
        assert [around[one.start : one.end] for one in found] == [secret]


@pytest.mark.parametrize("text", INNOCENT, ids=range(len(INNOCENT)))
def test_an_innocent_text_is_left_alone(text: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in findings_of(SECRETS, [text])] == []


PERSONAL = [
    ("EMAIL_ADDRESS", "bob.smith+news@mail.example.co.uk", "bob@localhost"),
    ("CREDIT_CARD", "4111 1111 1111 1111", "4111 1111 1111 1112"),
    ("CREDIT_CARD", "378282246310005", "0000000000000000"),
    ("IBAN_CODE", "DE89 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
    ("IBAN_CODE", "GB82WEST12345698765432", "GB82WEST1234569876543"),
    ("US_SSN", "123-45-6789", "000-45-6789"),
    ("US_SSN", "856-45-6789", "666-12-1234"),
    ("IP_ADDRESS", "192.168.0.17", "1.2.3"),
    ("IP_ADDRESS", "2001:db8:85a3::8a2e:370:7334", "12:30:45"),
    ("PHONE_NUMBER", "+49 30 1234567", "2024-11-20"),
    ("PHONE_NUMBER", "(415) 555-2671", "version 1.415.555"),
]


@pytest.mark.parametrize(("kind", "right", "wrong"), PERSONAL)
def test_personal_data_is_told_by_form_and_sum(kind: str, right: str, wrong: str) -> None:
    rule = (ENTITIES[kind],)
    for text in (right, f"it is {right}, yes", f'"{right}"'):
        assert [text[one.start : one.end] for one in findings_of(rule, [text])] == [right]
    assert findings_of(rule, [f"it is {wrong}, no"]) == []


def test_what_is_prebuilt_is_called_by_its_name() -> None:
    assert all(rule.kind == name and rule.action == "block" for name, rule in PREBUILT.items())
