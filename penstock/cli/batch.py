"""`penstock batch run`: the requests of a file, asked by the engine in this process or a gateway elsewhere."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from penstock.core.batches.lines import Asked
    from penstock.core.record import Record
    from penstock.server.batches.line import Outcome
    from penstock.stores.files_disk import Appended

MOST_LINES = 10_000_000
LONGEST = 32 * 1024 * 1024  # bytes of a request, as at the gateway
ENDPOINTS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"),
    *("/v1/moderations", "/v1/rerank"),
)
PLAIN_EVERY = 10.0  # seconds between two lines of progress where nobody watches
INTERRUPTED = 130
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(epilog="More: docs/batches.md.")
def batch() -> None:
    """Ask many requests of a file, in the form of OpenAI's batches, with progress."""


@batch.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", metavar="NAME", help="Ask this model, whatever the lines say.")
@click.option("--base-url", metavar="URL", help="Ask the gateway, or any server that speaks OpenAI's API, at this URL.")
@click.option("--api-key", metavar="KEY", envvar="PENSTOCK_API_KEY", help="The key for --base-url.")
@click.option("-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Ask the models of this config file, without a gateway.")  # fmt: skip
@click.option("--output", type=_FILE, metavar="FILE", help="Results. Default: FILE.out.jsonl beside the input.")
@click.option("--errors", type=_FILE, metavar="FILE", help="What failed. Default: FILE.err.jsonl beside the input.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, metavar="N",
              help="Requests that are on their way together.")  # fmt: skip
def run(file: Path, **given: Any) -> None:
    """Ask every request of a JSONL file, a line each: {"custom_id": ..., "url": "/v1/chat/completions", "body": {...}}.

    What has a result already is not asked again, so the same command goes on where it was interrupted; what failed is
    asked anew. Without --base-url and --config, models are named as provider/model, with the keys of the environment.
    Exit code 0: all went well; 1: some failed; 130: interrupted.

    \b
    penstock batch run night.jsonl --config config.yaml
    penstock batch run night.jsonl --base-url http://127.0.0.1:4000/v1 --api-key sk-... --model fast
    """
    if given["base_url"] and given["config"]:
        raise click.UsageError("Give --base-url or --config, not both: a gateway has a config of its own.")
    total = check_input(file)
    output = given["output"] or file.with_name(f"{file.stem}.out.jsonl")
    errors = given["errors"] or file.with_name(f"{file.stem}.err.jsonl")
    if len({path.absolute() for path in (file, output, errors)}) != 3:
        raise click.UsageError("The input, --output and --errors must be three files.")
    try:
        batch_run = BatchRun(file, output, errors, total, given)
        try:
            asyncio.run(batch_run.drive())
        finally:
            batch_run.close()
    except OSError as error:
        raise click.ClickException(f"{error.filename or file}: {error.strerror or error}") from None
    sys.exit(batch_run.tell_end())


def check_input(file: Path) -> int:
    """Return how many requests a file has. Raises ``ClickException``, which names the lines that are wrong."""
    from penstock.core.batches.lines import Checker
    from penstock.stores.files_disk import read_lines

    checker = Checker(ENDPOINTS, MOST_LINES, LONGEST)
    with file.open("rb") as opened:
        for number, raw in enumerate(read_lines(opened, LONGEST), 1):
            checker.check(number, raw)
            if checker.full:
                break
    checker.close()
    if checker.faults:
        for fault in checker.faults[:20]:
            where = f"{file}:{fault.line}" if fault.line else str(file)
            click.echo(f"{where}: {fault.message}", err=True)
        more = len(checker.faults) - 20
        raise click.ClickException("nothing was asked" + (f"; {more} more lines are wrong" if more > 0 else ""))
    return checker.total


class BatchRun:
    """One run of the command. ``interrupted``: how often somebody wanted it to end."""

    def __init__(self, file: Path, output: Path, errors: Path, total: int, given: dict[str, Any]) -> None:
        from penstock.stores.files_disk import Appended

        self.file, self.output, self.errors, self.given = file, output, errors, given
        self.interrupted = 0
        self.done: set[bytes] = set()
        self._good, self._bad = Appended(output, 0o666), Appended(errors, 0o666)
        if not (self._good.lock() and self._bad.lock()):
            raise click.ClickException(f"another run writes into {output}: wait for it, or name another --output")
        self._read(self._good)
        skipped = len(self.done)
        self._bad.cut(0)  # what failed is asked anew
        self.shown = Shown(total, skipped)
        self._states = self._open_states()
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        for file in (self._good, self._bad):
            file.sync()
            file.close()

    async def drive(self) -> None:
        """Ask what has no result yet."""
        from penstock.sdk.driver import Driver
        from penstock.server.signals import call_on

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            call_on(loop, number, self._interrupt)
        driver, places = Driver(), asyncio.Semaphore(self.given["concurrency"])
        showing = loop.create_task(self.shown.go_on())
        try:
            for asked in self._unanswered():
                await places.acquire()
                if self.interrupted:
                    break
                task = loop.create_task(self._answer(driver, asked))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: places.release())
            while self._tasks:
                await asyncio.wait(self._tasks, timeout=0.5)
                for task in [one for one in self._tasks if self.interrupted > 1]:
                    task.cancel()
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            await driver.close()

    def tell_end(self) -> int:
        """Print what came of it, and how to go on; return the exit code."""
        shown = self.shown
        shown.end()
        click.echo(f"results: {self.output}")
        if shown.failed:
            click.echo(f"failed: {self.errors} ({shown.failed:,}); the same command asks them again")
        else:
            self.errors.unlink(missing_ok=True)
        if self.interrupted and shown.done < shown.total:
            left = shown.total - shown.done
            click.echo(
                f"interrupted: {left:,} of {shown.total:,} requests are left; the same command goes on with them"
            )
            return INTERRUPTED
        return 1 if shown.failed else 0

    def _interrupt(self) -> None:
        self.interrupted += 1
        if self.interrupted == 1:
            self.shown.note(f"{len(self._tasks)} requests are on their way and are waited for; Ctrl-C again drops them")
        else:
            for task in self._tasks:
                task.cancel()

    def _open_states(self) -> Any:
        """Open what says which deployments there are."""
        from penstock.core.providers.local import GATEWAY
        from penstock.sdk.states import States

        url, config = self.given["base_url"], self.given["config"]
        if not url:
            return States(config)
        logging.getLogger("penstock").setLevel(logging.ERROR)  # what it costs is that one's to know
        params = {"model": f"{GATEWAY}/*", "api_base": url}
        if self.given["api_key"]:
            params["api_key"] = self.given["api_key"]
        entry = {"model_name": "*", "litellm_params": params}
        return States({"model_list": [entry], "router_settings": {"num_retries": 0}})

    # Lines ------------------------------------------------------------------------------------------------------------

    def _read(self, results: Appended) -> None:
        """Note what has a result; of a file with something else in it nothing is changed."""
        from penstock.core.batches.lines import UNREADABLE, digest, read_result

        for at, raw in results.lines():
            try:
                self.done.add(digest(read_result(raw).custom_id))
            except UNREADABLE:
                text = f"{self.output}: what begins at byte {at} is no result of a batch; name another --output"
                raise click.ClickException(text) from None

    def _unanswered(self) -> Iterator[Asked]:
        """Yield the requests that have no result."""
        from penstock.core.batches.lines import digest, read_line
        from penstock.stores.files_disk import read_lines

        with self.file.open("rb") as opened:
            for raw in read_lines(opened, LONGEST):
                asked = read_line(raw) if raw.strip() else None
                if asked is not None and digest(asked.custom_id) not in self.done:
                    yield asked

    async def _answer(self, driver: Any, asked: Asked) -> None:
        """Ask a line, and write down what became of it."""
        from penstock.core.batches.lines import usage_of, write_answer
        from penstock.runtime.ids import mint
        from penstock.server.batches.line import ask_until_settled

        records: list[Record] = []

        async def ask() -> Outcome:
            return await self._ask(driver, asked, records)

        outcome = await ask_until_settled(ask, lambda: bool(self.interrupted), lambda: bool(self.interrupted))
        if outcome is None:
            return
        line = write_answer(mint("batch_req_"), asked.custom_id, outcome.status, outcome.request_id, outcome.body)
        good = outcome.status == 200
        (self._good if good else self._bad).add(line)
        used = usage_of(outcome.body) if good else None
        tokens = 0 if used is None else used.input + used.output
        costs = [float(record.cost) for record in records if record.cost is not None]
        self.shown.count(good, tokens, sum(costs) if costs or not good else None)

    async def _ask(self, driver: Any, asked: Asked, records: list[Record]) -> Outcome:
        from penstock.sdk.arguments import sort_arguments
        from penstock.sdk.channel import CaughtExchange
        from penstock.sdk.exceptions import SdkError
        from penstock.server.batches.line import Outcome, retry_after, wants_stream
        from penstock.server.surfaces import SURFACES

        surface, path = SURFACES[asked.url or ENDPOINTS[0]], asked.url or ENDPOINTS[0]
        try:
            model, body = _with_model(asked.body, self.given["model"])
            if wants_stream(body):
                return Outcome(
                    400, _error("'stream' is true, and lines of a batch are answered whole: leave it out."), ""
                )
            state = self._states.of(sort_arguments({"model": model}))
        except (SdkError, msgspec.DecodeError) as error:
            status = getattr(error, "status_code", 400)
            return Outcome(status, _error(getattr(error, "message", str(error)), status), "")
        caught = CaughtExchange(path, {b"content-type": b"application/json"}, body)
        await driver.answer(caught, surface, state)
        if caught.record is not None:
            records.append(caught.record)
        id_ = "" if caught.record is None else caught.record.call_id
        return Outcome(caught.status, caught.answer, id_, retry_after(caught.head))


def _with_model(body: bytes, model: str | None) -> tuple[str, bytes]:
    """Return the model that a request is for, and its body with that."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if model is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        return model, msgspec.json.encode(fields)
    named = msgspec.json.decode(fields.get("model", b'""'))
    return named if isinstance(named, str) else "", body


def _error(text: str, status: int = 400) -> bytes:
    told = {"message": text, "type": "invalid_request_error", "param": None, "code": str(status)}
    return msgspec.json.encode({"error": told})


# Progress -------------------------------------------------------------------------------------------------------------


class Shown:
    """How far it is: a bar for who watches, else a line now and then. ``skipped``: done by a run before."""

    def __init__(self, total: int, skipped: int, stream: IO[str] | None = None) -> None:
        self.total, self.good, self.failed = total, min(skipped, total), 0
        self.tokens, self.cost = 0, 0.0
        self._unknown = 0  # results of which nobody knows what they cost
        self._skipped, self._began = self.good, time.monotonic()
        self._stream = stream or sys.stderr
        self._lives = self._stream.isatty()
        self._said = 0.0
        if self._skipped:
            self.note(f"{self._skipped:,} of {total:,} requests have a result already and are not asked again")

    @property
    def done(self) -> int:
        return self.good + self.failed

    def count(self, good: bool, tokens: int, cost: float | None) -> None:
        """Count a result. ``cost`` None: nobody here knows it."""
        self.good += good
        self.failed += not good
        self.tokens += tokens
        self.cost += cost or 0.0
        self._unknown += cost is None

    async def go_on(self) -> None:
        """Show it again and again, until cancelled."""
        while True:
            await asyncio.sleep(0.2 if self._lives else 0.5)
            if self._lives:
                self._stream.write(f"\r\x1b[2K{self.bar()}")
                self._stream.flush()
            elif time.monotonic() >= max(self._said, self._began) + PLAIN_EVERY:
                self._said = time.monotonic()
                self.note(self.line())

    def end(self) -> None:
        """Show the last of it."""
        if self._lives:
            self._stream.write(f"\r\x1b[2K{self.bar()}\n")
            self._stream.flush()
        else:
            self.note(self.line())

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._stream.write(f"\r\x1b[2K{text}\n" if self._lives else f"{text}\n")
        self._stream.flush()

    def bar(self, width: int = 24) -> str:
        filled = width * self.done // self.total if self.total else width
        return f"[{'#' * filled}{'-' * (width - filled)}] {self.line()}"

    def line(self) -> str:
        """Tell all of it in a line."""
        percent = 100 * self.done // self.total if self.total else 100
        parts = [f"{self.done:,}/{self.total:,} requests ({percent} %)", f"{self.failed:,} failed"]
        cost = f"${self.cost:,.4f}" + (f" and {self._unknown:,} of unknown cost" if self._unknown else "")
        parts += [f"{self.tokens:,} tokens", cost, self._time()]
        return ", ".join(parts)

    def _time(self) -> str:
        took, now = time.monotonic() - self._began, self.done - self._skipped
        if self.done >= self.total or not now:
            return f"{_clock(took)} taken"
        return f"{_clock(took * (self.total - self.done) / now)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
