"""What a request says of the cache: its field ``cache`` (LiteLLM's contract, 9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Raw, Struct

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.config import Deployment
    from penstock.config.spec_groups import RoutingGroup

_KNOWN = ("no-cache", "no-store", "ttl", "s-maxage", "namespace", "use-cache")
_OTHER = {"s-max-age": "s-maxage"}  # as LiteLLM's own documentation spells it in places
_DECODE = msgspec.json.Decoder(dict[str, object]).decode


class Wish(NamedTuple):
    """What a request wants. ``read``: an answer that is kept will do; ``youngest``: if it is no older than that, in
    seconds. ``write``: its own may be kept, for ``ttl`` seconds. ``use``: it asks for the cache where that is off."""

    read: bool = True
    write: bool = True
    ttl: float | None = None
    youngest: float | None = None
    namespace: str = ""
    use: bool = False


ANYTHING = Wish()


class Shelf(Struct, frozen=True, gc=False):
    """Where answers for a model are kept, and what its entry says of the cache. ``group``: under whose name;
    ``shared``: by all callers; ``limit``: bytes of an answer. ``plain``: who says nothing is given what is kept, and
    has his own kept."""

    group: str
    namespace: str
    wish: Wish
    ttl: float
    limit: int
    shared: bool
    plain: bool


def read_wish(raw: Raw, otherwise: Wish = ANYTHING) -> Wish:
    """Read the field ``cache``. ``otherwise``: what holds where it says nothing. Raises "bad_request" for what is not
    understood: whoever asks for a fresh answer must not be given an old one over a slip of the pen."""
    try:
        given = _DECODE(raw)
    except BAD_JSON:
        if bytes(raw) == b"null":
            return otherwise
        text = "'cache' must be an object such as {\"no-cache\": true}."
        raise GatewayError("bad_request", text, param="cache") from None
    said = {_OTHER.get(key, key): value for key, value in given.items() if value is not None}
    for key in said:
        if key not in _KNOWN:
            text = f"'cache.{key[:40]}' is not known here; known are {', '.join(_KNOWN)}."
            raise GatewayError("bad_request", text, param=f"cache.{key[:40]}")
    namespace = said.get("namespace", "")
    if not isinstance(namespace, str) or len(namespace) > 200 or not namespace.isprintable():
        text = "'cache.namespace' must be a printable text of at most 200 characters."
        raise GatewayError("bad_request", text, param="cache.namespace")
    ttl, youngest = _seconds(said, "ttl"), _seconds(said, "s-maxage")
    return Wish(
        read=not _flag(said, "no-cache", not otherwise.read),
        write=not _flag(said, "no-store", not otherwise.write),
        ttl=otherwise.ttl if ttl is None else ttl,
        youngest=otherwise.youngest if youngest is None else youngest,
        namespace=namespace or otherwise.namespace,
        use=_flag(said, "use-cache", otherwise.use),
    )


def _flag(said: dict[str, object], key: str, otherwise: bool) -> bool:
    value = said.get(key, otherwise)
    if not isinstance(value, bool):
        raise GatewayError("bad_request", f"'cache.{key}' must be true or false.", param=f"cache.{key}")
    return value


def _seconds(said: dict[str, object], key: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        text = f"'cache.{key}' must be a number of seconds, 0 or more."
        raise GatewayError("bad_request", text, param=f"cache.{key}")
    return float(value)


def wishes_of(deployments: Iterable[Deployment], problems: list[str]) -> dict[str, Wish]:
    """Read what the entries of groups say of the cache: `cache`, `caching` and `ttl`. What is not understood is left
    out, and told."""
    found: dict[str, Wish] = {}
    for deployment in deployments:
        params, name = deployment.params, deployment.model_name
        if name in found or not any(key in params for key in ("cache", "caching", "ttl")):
            continue
        wish = ANYTHING
        if "cache" in params:
            try:
                wish = read_wish(Raw(msgspec.json.encode(params["cache"])))
            except GatewayError as error:
                problems.append(f"Model {name!r}: litellm_params.cache is left out: {error.message}")
        if params.get("caching") is not None:
            wish = wish._replace(use=True) if params["caching"] else wish._replace(read=False, write=False)
        found[name] = wish if params.get("ttl") is None else wish._replace(ttl=params["ttl"])
    return found


def join_wishes(wishes: dict[str, Wish], groups: Iterable[RoutingGroup]) -> None:
    """Add what holds for requests that name a routing group: what any of its models forbids is forbidden, since nobody
    knows yet which of them will answer."""
    for group in groups:
        given = [wishes[model] for model in group.models if model in wishes]
        if given and group.name not in wishes:
            ttls = [wish.ttl for wish in given if wish.ttl is not None]
            ages = [wish.youngest for wish in given if wish.youngest is not None]
            spaces = {wish.namespace for wish in given}
            wishes[group.name] = Wish(
                read=all(wish.read for wish in given),
                write=all(wish.write for wish in given),
                ttl=min(ttls, default=None),
                youngest=min(ages, default=None),
                namespace=spaces.pop() if len(spaces) == 1 else "",
                use=len(given) == len(group.models) and all(wish.use for wish in given),
            )
