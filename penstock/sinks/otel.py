"""OpenTelemetry: spans of each request and its attempts to any receiver of OTLP over HTTP, and to Phoenix and Langfuse,
which are such receivers.

By the writer of ``otlp`` and the queues of all sinks, and not by OpenTelemetry's SDK: that brings eight packages and a
thread and queue of its own beside ours, which nobody would count. What is read of the environment is what its SDK reads
(https://opentelemetry.io/docs/specs/otel/protocol/exporter/), and LiteLLM's shorter names of the same.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from penstock.core.mask import Mask
from penstock.core.tracecontext import Sampler, read_sampler
from penstock.sinks import otlp
from penstock.sinks.base import Unset, check
from penstock.sinks.genai import openinference, spans_of

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Settings, Variables

LOCAL = "http://localhost:4318"  # where OTLP's receivers listen unless they are told otherwise
PATH = "/v1/traces"
_TYPE = {"content-type": "application/x-protobuf"}
_HTTP = ("otlp", "otlp_http", "http", "http/protobuf", "otlp/http")
_CONSOLE = ("console", "stdout")
_TRUE = ("true", "1", "yes", "span_only", "span_and_event")  # with the forms of OpenTelemetry's own variable
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_HEADERS")
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_SPAN = msgspec.json.Encoder(enc_hook=str)


class Otel:
    """Writes spans to one receiver. ``traces``: what it gets is sampled, and has its attempts beside it."""

    traces = True
    name = "otel"
    content = False

    def __init__(self, settings: Settings) -> None:
        variables, options = settings.variables, settings.options
        if variables.get("OTEL_SDK_DISABLED").lower() == "true":
            raise Unset("is switched off by OTEL_SDK_DISABLED")
        self._post = settings.post
        self._url, self._headers = self.receiver(variables, options)
        self._content = self._captures(variables, options)
        try:
            self.sampler: Sampler = read_sampler(
                variables.get("OTEL_TRACES_SAMPLER"), variables.get("OTEL_TRACES_SAMPLER_ARG")
            )
        except ValueError as error:
            raise Unset(f"cannot sample: {error}") from None
        self._resource = _resource(variables)
        secrets = [*self._headers.values(), *(value.partition(" ")[2] for value in self._headers.values())]
        self._secrets = Mask(secrets)

    async def write(self, batch: Sequence[Payload]) -> int:
        """Send the spans of a batch as one request."""
        spans = [span for payload in batch for span in self.spans(payload)]
        if not self._url:
            await asyncio.to_thread(_print, spans)
            return 0
        body = otlp.request_of(spans, self._resource, "penstock")
        reply = await self._post(self._url, _TYPE | self._headers, body)
        check(reply, self.name, self._secrets)
        # Counted in spans: of one request there may be several.
        rejected, _ = otlp.rejected_of(reply.body) if reply.body else (0, "")
        return min(rejected, len(batch))

    async def close(self) -> None:
        """Do nothing: connections are the pool's."""

    def spans(self, payload: Payload) -> list[otlp.Span]:
        """Make the spans of a request."""
        return spans_of(payload, self._content)

    def receiver(self, variables: Variables, options: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Return the address of the receiver, "" for standard output, and the headers that it wants. Raises
        ``Unset``."""
        exporter = str(options.get("exporter") or variables.get("OTEL_EXPORTER", "OTEL_TRACES_EXPORTER")).lower()
        exporter = exporter or "otlp"
        if exporter in _CONSOLE:
            return "", {}
        protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL").lower()
        for wanted in (exporter, protocol or "http/protobuf"):
            if wanted not in _HTTP:
                where = "the same receiver takes OTLP over HTTP at port 4318: set OTEL_EXPORTER=otlp_http"
                raise Unset(f"speaks http/protobuf or console, and not {wanted[:40]!r}; {where}")
        given = type(variables)({}, {"endpoint": options.get("endpoint")})
        if whole := variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            url = type(variables)({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": whole}).address(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
            )
        else:
            own = bool(given.get("endpoint"))
            names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_ENDPOINT")
            url = given.address("endpoint") if own else variables.address(*names, default=LOCAL)
            url = url if url.endswith(PATH) else url + PATH
        headers = _pairs(variables.get(*_HEADERS))
        own_headers = options.get("headers")
        if isinstance(own_headers, Mapping):
            headers |= {str(name).lower(): str(value) for name, value in own_headers.items()}
        return url, headers

    def _captures(self, variables: Variables, options: Mapping[str, Any]) -> bool:
        said = options.get("message_logging")
        if isinstance(said, bool):
            return said
        captured = variables.get(_CAPTURE)
        return captured.lower() in _TRUE if captured else self.content


class Phoenix(Otel):
    """Writes to Arize Phoenix, with prompts and answers: that is what it shows."""

    name = "arize_phoenix"
    content = True

    def receiver(self, variables: Variables, options: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Return Phoenix's address, and its key as a header. Raises ``Unset``."""
        names = ("PHOENIX_COLLECTOR_HTTP_ENDPOINT", "PHOENIX_COLLECTOR_ENDPOINT")
        url = variables.address(*names, default="http://localhost:6006")
        key = variables.get("PHOENIX_API_KEY")
        return url if url.endswith(PATH) else url + PATH, {"authorization": f"Bearer {key}"} if key else {}

    def spans(self, payload: Payload) -> list[otlp.Span]:
        """Make the spans of a request, in Phoenix's words, too."""
        return openinference(super().spans(payload))


class LangfuseOtel(Otel):
    """Writes to Langfuse as a receiver of OTLP, with prompts and answers."""

    name = "langfuse_otel"
    content = True

    def receiver(self, variables: Variables, options: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Return Langfuse's address, and its pair of keys as a header. Raises ``Unset``."""
        public, secret = variables.need("LANGFUSE_PUBLIC_KEY"), variables.need("LANGFUSE_SECRET_KEY", "LANGFUSE_SECRET")
        names = ("LANGFUSE_OTEL_HOST", "LANGFUSE_HOST", "LANGFUSE_BASE_URL")
        url = variables.address(*names, default="https://cloud.langfuse.com")
        token = base64.b64encode(f"{public}:{secret}".encode()).decode()
        return f"{url}/api/public/otel{PATH}", {"authorization": f"Basic {token}"}


def _resource(variables: Variables) -> dict[str, str]:
    """Say who sends spans: ``OTEL_RESOURCE_ATTRIBUTES``, and the name of the service over it."""
    found = {"service.name": "penstock"} | _pairs(variables.get("OTEL_RESOURCE_ATTRIBUTES"), str)
    if name := variables.get("OTEL_SERVICE_NAME"):
        found["service.name"] = name
    if where := variables.get("OTEL_ENVIRONMENT_NAME"):
        found["deployment.environment.name"] = where
    return found


def _pairs(text: str, fold: Callable[[str], str] = str.lower) -> dict[str, str]:
    """Read ``name=value,other=value``, percent-encoded where that is needed."""
    found = {}
    for one in text.split(","):
        name, equals, value = one.partition("=")
        if equals and name.strip():
            found[fold(unquote(name.strip()))] = unquote(value.strip())
    return found


def _print(spans: Sequence[otlp.Span]) -> None:
    """Write spans as lines of JSON to standard output."""
    lines = []
    for span in spans:
        told = span._asdict() | {name: getattr(span, name).hex() for name in ("trace_id", "span_id", "parent")}
        lines.append(_SPAN.encode(told | {"events": [event._asdict() for event in span.events]}).decode())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
