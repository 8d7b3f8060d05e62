"""Who is served without a master key, at which address (C-05)."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.e2e.serving import free_port, get, run_serve, serving

pytestmark = pytest.mark.serial


@pytest.fixture
def served(tmp_path):
    with ExitStack() as stack:
        yield lambda yaml=None, *arguments, **env: stack.enter_context(serving(tmp_path, yaml, *arguments, **env))


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_without_a_key_only_this_machine_is_served_at_any_address(served, arguments):
    """C-05: the seeds' own command lines bind 0.0.0.0 and have no key."""
    gateway = served(None, "--host", "0.0.0.0", *arguments)
    assert gateway.says("no master key is configured").count("--no-auth") == 1
    for host in ("0.0.0.0", "127.0.0.1", "localhost"):
        for headers in ({}, {"authorization": "Bearer dummy"}, {"x_api_key": "x"}):
            assert get(f"{gateway.url}/v1/models", host=host, **headers)[0] == 200
    for header in ("x_forwarded_for", "forwarded", "x_real_ip", "via"):
        status, body = get(f"{gateway.url}/v1/models", **{header: "10.1.2.3"})
        assert status == 401 and b"--no-auth" in body and b"master_key" in body, "a proxy makes no stranger local"
    assert get(f"{gateway.url}/v1/models", host="evil.example")[0] == 403


def test_a_key_can_be_insisted_on(tmp_path):
    (tmp_path / "c.yaml").write_text("model_list: []\ngeneral_settings: {require_master_key: true}\n")
    done = run_serve(tmp_path, "--port", str(free_port()), "--config", str(tmp_path / "c.yaml"))
    assert done.returncode == 1 and "require_master_key" in done.stderr and "no master key" in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "env"),
    [
        (None, ("--no-auth",), {}),
        (None, (), {"PENSTOCK_NO_AUTH": "true"}),
        (None, (), {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}),
        ("model_list: []\ngeneral_settings: {no_auth: true}\n", (), {}),
        ("model_list: []\ngeneral_settings: {dangerously_permit_weak_or_unset_master_key: true}\n", (), {}),
    ],
)
def test_everybody_is_served_where_somebody_says_so(served, text, arguments, env):
    opened = served(text, "--host", "0.0.0.0", *arguments, **env)
    assert "warning: no key is needed (--no-auth)" in opened.says("anyone who can reach")
    assert get(f"{opened.url}/v1/models", host="gateway.example", x_forwarded_for="10.1.2.3")[0] == 200
