"""Which of a client's headers go on to an upstream, where the config wants that: LiteLLM's
``forward_client_headers_to_llm_api``. Pure.

Those that begin with ``x-``, and ``anthropic-beta``. What opens this gateway stays here, whatever it is called, and so
does what would change what the gateway itself says: its own credential, a signature, the id of the request; and what a
proxy before it says of who logged in there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from penstock.core.route.stars import match

STAYS = frozenset((b"x-api-key", b"x-goog-api-key", b"x-litellm-api-key", b"x-request-id", b"x-real-ip"))
_STAYS_WITH = (
    b"x-stainless",  # of OpenAI's clients, which its API takes for a mistake
    b"x-amz",  # signed ones, and the tokens of users that Amazon's load balancer adds
    # What proxies before the gateway (oauth2-proxy, IAP, App Service) add of users who logged in there, tokens too.
    *(b"x-forwarded-", b"x-auth-", b"x-goog-iap-", b"x-goog-authenticated-user-", b"x-ms-token-", b"x-ms-client-"),
    b"x-penstock-",
)
_BETA = b"anthropic-beta"


def forwards_for(names: Sequence[str], model: str, groups: Collection[str]) -> bool:
    """Tell whether headers go on for a model. ``names``: of models, patterns and access groups; ``groups``: the access
    groups that the model is in."""
    for name in names:
        if name in (model, "*", "all-proxy-models") or name in groups:
            return True
        if "*" in name and match(name, model) is not None:
            return True
    return False


def forwarded(headers: Mapping[bytes, bytes], stays: Collection[bytes], head: bytes) -> dict[bytes, bytes]:
    """Return the headers that go on. ``headers``: a client's, by names in lower case; ``stays``: names of those that do
    not; ``head``: that of the request to the upstream, which has some itself."""
    said = head.lower()
    return {
        name: value
        for name, value in headers.items()
        if (name[:2] == b"x-" or name == _BETA)
        and name not in stays
        and not name.startswith(_STAYS_WITH)
        and b"\r\n" + name + b":" not in said
    }
