"""A page: something to look at, for which no upstream is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from penstock.runtime.call import new_id
from penstock.server import google
from penstock.server.refusals import check_type, wrong_method

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.server.gateway import Gateway

READ = ("GET", "HEAD")


class Page(NamedTuple):
    """``render`` returns status, content type and body. ``methods``: those that it answers; a POST brings JSON."""

    render: Callable[[Gateway, Exchange], tuple[int, bytes, bytes]]
    public: bool = False
    methods: tuple[str, ...] = READ


def answer(gateway: Gateway, exchange: Exchange, page: Page) -> None:
    """Answers with a page. Raises ``GatewayError`` for who may not see it."""
    path = exchange.path
    query = exchange.query if path in google.LISTS or path.startswith(google.MODELS) else b""
    key = "" if page.public else gateway.identity.check(exchange.headers, query).alias
    if exchange.method not in page.methods:
        raise wrong_method(exchange, page.methods)
    if exchange.method == "POST":
        check_type(exchange.headers.get(b"content-type"))
    status, kind, body = page.render(gateway, exchange)
    call_id = new_id()
    exchange.whole(status, b"content-type: %b\r\nx-litellm-call-id: %b\r\n" % (kind, call_id.encode()), body)
    if not page.public:
        gateway.record(exchange, status, call_id, key=key)
