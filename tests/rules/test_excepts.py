"""A broad `except` hides the bug that nobody foresaw, so each one stands in this list with its reason."""

from __future__ import annotations

import ast

from tests.rules.repo import python_files, tree

BROAD = frozenset({"Exception", "BaseException"})

# "file function" -> why this boundary must catch everything. An entry that no longer matches a handler fails too.
NAMED: dict[str, str] = {
    "penstock/runtime/http/connection.py Connection._received": (
        "pump() hands chunks to the reader's own function and promises to end with whatever that raises"
    ),
    "penstock/runtime/http/connection.py Connection._deliver": (
        "the same promise of pump(), on the way through a content decoder"
    ),
    "penstock/runtime/http/sending.py Sender._chunks": (
        "a request body is the caller's iterable: it may raise anything, and send() raises it again"
    ),
    "penstock/runtime/bookkeeper.py Bookkeeper._run": (
        "a bug of ours must not end the keeping of books; the journal has it all, and it is tried again"
    ),
    "penstock/runtime/sharing.py Sharing._run": (
        "whoever waits for an answer gets one, whatever went wrong, and the next question is asked"
    ),
    "penstock/runtime/children.py _done": (
        "a child does anybody's work: whatever that raises is raised again where it was asked for"
    ),
    "penstock/runtime/mirror.py Mirror._ask": "a bug of ours in a copy of a request is nobody's error: logged",
    "penstock/runtime/custom_auth.py CustomAuth.identify": (
        "the function is the operator's, and in LiteLLM's form whatever it raises refuses its caller"
    ),
    "penstock/runtime/custom_keys.py CustomRule.check": (
        "the function is the operator's, and whatever it raises is told as the refusal of a key"
    ),
    "penstock/runtime/custom_keys.py _open": (
        "the operator's module may raise anything while it is read: logged, and no key is made"
    ),
    "penstock/runtime/custom_auth.py open_custom_auth": (
        "the operator's module may raise anything while it is read: logged, and nobody is let in"
    ),
    "penstock/server/guardrails.py _judge": (
        "a guard may be anybody's: whoever tries one is told that it could not judge"
    ),
    "penstock/runtime/guarding.py Guarding._ask": (
        "a guard may be anybody's: one that raises has not judged, and what follows is the config's choice"
    ),
    "penstock/sdk/background.py Work._run": "what the work raises is raised again where it was asked for",
    "penstock/sdk/tools.py Conversation._run": (
        "a handler is the program's function: whatever it raises is told to the model that called it"
    ),
    "penstock/sdk/tools.py Conversation._arun": "the same, awaited: the model is told what the handler raised",
    "penstock/sinks/telling.py _run": (
        "a callback is anybody's function: whatever it raises is logged, and costs nobody a call"
    ),
    "penstock/sinks/shipping.py Shipper._try": (
        "a sink may be anybody's code: what it raises is counted and logged, and the next batch is written"
    ),
    "penstock/runtime/observing.py Observer._look_at": (
        "a bug of ours on one request must not take the others of its batch with it: logged, and counted"
    ),
    "penstock/server/alerting.py Alerts.round": "a bug in one look for trouble must not end all the others; it is logged",
    "penstock/server/callbacks.py Callbacks._load": (
        "the operator's module may raise anything while it is read: logged, and it is not called"
    ),
    "penstock/server/gateway.py Gateway.serve": (
        "a bug of ours costs the one request that met it: logged with its call id, answered 500"
    ),
    "penstock/server/batches/room.py BatchRoom._begin.drive": (
        "a bug of ours in one batch must not end the others; it waits, and is tried again"
    ),
    "penstock/server/batches/room.py BatchRoom._look_on": (
        "a bug of ours in one look must not end the looks that come after it: batches would wait for a restart"
    ),
    "penstock/server/batches/run.py Run._answer": (
        "a bug of ours costs one line of a batch, which must have a result like every other"
    ),
    "penstock/runtime/embedder.py Embedder._ask": (
        "a bug of ours on the way to a vector must not end the request that only wanted to be compared: logged"
    ),
    "penstock/server/service.py Service._reload_when_asked": (
        "a reload that meets a bug of ours keeps the old config: logged, and the next reload may mend it"
    ),
    "penstock/server/storage.py Storage._look": (
        "a look that meets a bug of ours must not be the last one: logged, and tried again a while later"
    ),
    "penstock/stores/sql/listening.py Listener._run": (
        "whatever ends the connection that hears of changes, another one is made; the usual looks go on meanwhile"
    ),
    "penstock/stores/sql/thread.py SqlThread._work": (
        "a job is anybody's function: whatever it raises is raised again where it was asked for"
    ),
    "penstock/server/service.py Service._look_at_models": (
        "a look that meets a bug of ours must not be the last one: logged, and tried again a while later"
    ),
    "penstock/server/service.py Service._look_at_settings": "the same of settings",
    "penstock/stores/shared.py Shared._go_on": (
        "who hears of a cooldown is anybody's function, and a bug must not end what processes share: logged, begun again"
    ),
    "penstock/server/sources/base.py _ask": (
        "the fault of one source must not take away what the others have: logged, and it keeps what it gave last"
    ),
    "penstock/runtime/http/driven.py Driven.step": (
        "a callback of the loop: what a coroutine raises goes to the loop's exception handler, as a task's does"
    ),
    "penstock/runtime/http/driven.py _Rest.__await__": "hands what is raised where it waits on to the coroutine it carries",
    "penstock/server/gateway.py Gateway._bug": (
        "telling the client of a bug may meet the next bug: then the connection is closed, never left hanging"
    ),
}


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind).split(".")[-1] in BROAD for kind in kinds)


def _cleans_up_only(handler: ast.ExceptHandler) -> bool:
    """`except BaseException: release(); raise` hides nothing: its last statement raises the same exception again."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def broad_handlers(source: ast.Module) -> list[tuple[str, int]]:
    """Every broad handler that swallows: (qualified name of the function around it, line)."""
    found: list[tuple[str, int]] = []

    def walk(node: ast.AST, path: tuple[str, ...]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            path = (*path, node.name)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _cleans_up_only(node):
            found.append((".".join(path) or "<module>", node.lineno))
        for child in ast.iter_child_nodes(node):
            walk(child, path)

    walk(source, ())
    return found


def test_every_broad_except_is_named_here() -> None:
    seen = {}
    for name in python_files("penstock", "bench", "scripts"):
        for function, line in broad_handlers(tree(name)):
            seen[f"{name} {function}"] = f"{name}:{line} in {function}"
    unnamed = [place for key, place in seen.items() if key not in NAMED]
    assert unnamed == [], "narrow these, or add them to NAMED with the reason why this boundary must catch everything"
    assert [key for key in NAMED if key not in seen] == [], "these entries of NAMED match no handler any more"
    assert [key for key, reason in NAMED.items() if len(reason.split()) < 4] == [], "these entries give no real reason"


def test_the_check_sees_each_spelling() -> None:
    def handlers(clause: str, body: str = "pass") -> int:
        return len(broad_handlers(ast.parse(f"try:\n    x()\n{clause}:\n    {body}")))

    assert handlers("except") == handlers("except Exception") == handlers("except (OSError, Exception) as e") == 1
    assert handlers("except builtins.BaseException") == handlers("except* Exception") == 1
    assert handlers("except BaseException", "y()\n    raise ValueError from None") == 1
    assert handlers("except OSError") == handlers("except BaseException", "y()\n    raise") == 0
