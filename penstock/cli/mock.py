"""`penstock mock`: the mock upstream as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from penstock.mock import Mock, Script


@click.command("mock", short_help="Run a mock LLM upstream (no real model).")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4010, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option("--script", "script_path", metavar="FILE", help="YAML or JSON file that says how to (mis)behave.")
@click.option("--seed", type=int, help="Same seed and same requests give the same bytes. Overrides the script's.")
@click.option("--api-key", metavar="KEY", help="Refuse requests without this key (any key is fine without it).")
@click.option("--keep", type=click.IntRange(0), default=10_000, show_default=True, help="Requests to remember.")
@click.option("--journal", metavar="FILE", help="File that gets a line as a request comes, and one as it ends.")
def mock(
    port: int,
    host: str,
    script_path: str | None,
    seed: int | None,
    api_key: str | None,
    keep: int,
    journal: str | None,
) -> None:
    """Run a mock LLM upstream that speaks OpenAI Chat, OpenAI Responses and Anthropic Messages.

    It echoes the last user message, calls a tool when the message says `call NAME {json}` or the tool choice forces
    it, and records what it received at /__mock__/requests. With --script it is slow, wrong or rude on purpose;
    docs/mock.md has every key.

    \b
    penstock mock --port 4010
    curl http://127.0.0.1:4010/v1/chat/completions -H 'content-type: application/json' \\
      -d '{"model":"mock/echo","messages":[{"role":"user","content":"hi"}]}'
    """
    from penstock.mock import Mock, Script, ScriptError, load_script

    try:
        script = load_script(script_path) if script_path else Script()
    except OSError as exc:
        raise click.ClickException(f"cannot read the script {script_path}: {exc.strerror}") from exc
    except ScriptError as exc:
        raise click.ClickException(str(exc)) from exc
    if seed is not None:
        script.seed = seed
    try:
        server = Mock(script, api_key, host=host, port=port, keep=keep, journal=journal)
    except OSError as exc:
        raise click.ClickException(f"cannot write the journal {journal}: {exc.strerror}") from exc
    _run(server, script)


def _run(server: Mock, script: Script) -> None:
    import asyncio
    import contextlib

    async def serve() -> None:
        import signal

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows' loops have no signal handlers; there KeyboardInterrupt ends it
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
        try:
            await server.start()
        except OSError as exc:
            raise click.ClickException(f"cannot listen on {server.host}:{server.port}: {exc.strerror or exc}") from exc
        spoken = ", ".join(sorted(script.dialects))
        click.echo(
            f"penstock mock (not a real model) on {server.url} speaking {spoken}; debug {server.url}/__mock__/requests"
        )
        await stop.wait()
        await server.stop()

    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """Return the function that makes uvloop's event loops; None where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
