"""Every row of the registry, against the reviewed table `golden.json` and against what a row must be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock.core import providers as package
from penstock.core.providers import PROVIDERS, get
from penstock.core.providers.names import BARE, PROVIDER_ALIASES, SHORT
from penstock.core.providers.resolve import auth_headers, credential, missing_key_message, needs_key
from penstock.core.providers.urls import SUFFIXES, endpoint
from tests.core.providers import provider_golden

GOLDEN = json.loads(provider_golden.GOLDEN.read_text())
PACKAGE = Path(package.__file__).parent
LOCAL = [name for name, provider in PROVIDERS.items() if provider.local]
NEED_KEY = [name for name, provider in PROVIDERS.items() if needs_key(provider, None, {})]


@pytest.mark.parametrize("name", PROVIDERS)
def test_row_on_the_wire(name: str) -> None:
    assert provider_golden.on_the_wire(PROVIDERS[name]) == GOLDEN[name]


def test_golden_has_no_row_more() -> None:
    assert list(GOLDEN) == sorted(PROVIDERS)


def test_counts() -> None:
    speak_openai = [p for p in PROVIDERS.values() if "openai_chat" in p.dialects]
    assert len(PROVIDERS) >= 170
    assert len(speak_openai) >= 110
    assert sum("anthropic" in p.dialects for p in PROVIDERS.values()) >= 20


@pytest.mark.parametrize("name", PROVIDERS)
def test_row_is_well_formed(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.name == name and "/" not in name
    for variable in (*provider.keys, *provider.bases, *provider.env):
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", variable), variable
    assert len(set(provider.keys)) == len(provider.keys)
    assert not set(provider.dialects) & set(provider.may_speak)
    for url in (provider.base, provider.docs, *(p for p in provider.paths.values() if not p.startswith("/"))):
        if url:
            parts = urlsplit(url)
            assert parts.scheme in ("http", "https") and parts.netloc and not url.endswith("/"), url
            assert parts.scheme == "https" or provider.local
    for key in provider.paths:
        assert key in SUFFIXES or key in provider.dialects, key


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.dialects[:1] == ("openai_chat",) and p.base])
def test_version_says_whether_the_base_has_one(name: str) -> None:
    # `version` decides what is put behind a base of the user's, so it must agree with the row's own base.
    provider = PROVIDERS[name]
    has = re.search(r"/v\d", urlsplit(provider.base or "").path) is not None
    exempt = {"datarobot"}
    assert (provider.version != "") == has or name in exempt


@pytest.mark.parametrize("name", LOCAL)
def test_local_needs_no_key(name: str) -> None:
    provider = PROVIDERS[name]
    assert credential(provider, None, {}) is None
    assert not needs_key(provider, None, {})
    dummy = [] if "ollama" in provider.dialects else [(b"authorization", b"Bearer dummy")]
    assert auth_headers(provider, None, "openai_chat") == dummy
    for dialect in provider.dialects:  # Ollama's own clients send none
        assert "ollama" not in provider.dialects or auth_headers(provider, None, dialect) == []
    assert (b"authorization", b"Bearer mine") in auth_headers(provider, "mine", "openai_chat")


@pytest.mark.parametrize("name", NEED_KEY)
def test_cloud_without_key_names_the_variables(name: str) -> None:
    provider = PROVIDERS[name]
    message = missing_key_message(provider)
    assert provider.keys and all(key in message for key in provider.keys)
    assert name in message and "api_key" in message


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.auth in ("sigv4", "oauth")])
def test_signed_without_credentials_names_the_variables(name: str) -> None:
    provider = PROVIDERS[name]
    assert auth_headers(provider, None) == []
    message = missing_key_message(provider)
    assert name in message
    assert all(variable in message for variable in provider.keys or provider.env)


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.keys])
def test_keys_are_tried_in_order(name: str) -> None:
    provider = PROVIDERS[name]
    env = {key: f"value of {key}" for key in provider.keys}
    for key in provider.keys:
        assert credential(provider, None, env) == f"value of {key}"
        env[key] = " "
    assert credential(provider, None, env) is None
    assert credential(provider, " own\n", env) == "own"


@pytest.mark.parametrize("name", [n for n, p in PROVIDERS.items() if p.bases and p.dialects[:1] == ("openai_chat",)])
def test_base_comes_from_the_environment(name: str) -> None:
    provider = PROVIDERS[name]
    env = {variable: f"https://{i}.test/v9" for i, variable in enumerate(provider.bases)}
    for i, variable in enumerate(provider.bases):
        assert endpoint(provider, None, env, "openai_chat", model="m").startswith(f"https://{i}.test/v9/")
        del env[variable]
    url = endpoint(provider, "https://model.test/v9", env, "openai_chat", model="m")
    assert url.startswith("https://model.test/v9/")


def test_other_tables_name_rows() -> None:
    assert set(PROVIDER_ALIASES.values()) <= set(PROVIDERS)
    assert not set(PROVIDER_ALIASES) & set(PROVIDERS)
    assert {name for name, _ in BARE} <= set(PROVIDERS)
    assert set(SHORT) <= set(PROVIDERS)
    assert get("vllm") is PROVIDERS["hosted_vllm"]
    assert get("nobody") is None and get("") is None


def test_owners() -> None:
    owners = {
        name: PROVIDERS[name].owned_by for name in ("gemini", "vertex_ai", "openai", "together_ai", "hosted_vllm")
    }
    assert owners == {
        "gemini": "google",
        "vertex_ai": "google",
        "openai": "openai",
        "together_ai": "together_ai",
        "hosted_vllm": "vllm",
    }


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PROVIDERS["openai"] = PROVIDERS["groq"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        PROVIDERS["openai"].base = "http://evil.test"  # type: ignore[misc]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_files_are_pure_and_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 500
    assert not re.search(r"^\s*(import|from) (os|time|random|logging|asyncio|socket)\b", text, re.MULTILINE)


def test_import_is_light() -> None:
    code = (
        "import sys; import penstock.core.providers.resolve; "
        "print(sorted({'asyncio','ssl','socket','logging','difflib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
