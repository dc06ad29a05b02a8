"""Where a request stands: its id for the log lines, and its place in a trace (W3C Trace Context, OpenTelemetry).

    request's traceparent -> Trace -> spans of the stages -> traceparent of what goes out

A trace is carried by a context variable, which tasks and worker threads of a request inherit. Spans are made and exported
where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set and the extra ``otel`` installed. Otherwise the caller's ``traceparent`` is passed
on as it came, and every function here does next to nothing. No span has an identifier of a patient or study, a path that a
caller filled in, an error's text, or a score: a person who may read traces need not be allowed to see these
(docs/monitoring.md).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from app import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer
    from opentelemetry.util.types import AttributeValue

log = logging.getLogger("cxr_gate")

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: At the end the spans that wait are sent, for no longer than this.
FLUSH_SECONDS: Final = 5.0
#: version-traceid-parentid-flags; neither of the ids is zero, and the version is not ff.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_TRACESTATE: Final = re.compile(r"[ -~]{1,512}")
#: RFC 9110 and PATCH; any other is "_OTHER", since a caller may send any word.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

Kind = Literal["internal", "server", "client"]


@dataclass(frozen=True)
class Trace:
    """A place in a trace; ``span`` is None where none are made.

    Attributes
    ----------
    request_id : str
        Empty outside requests.
    caller_request_id : str
        The caller's own name for the request; empty where it has none.
    trace_id, span_id : str
        32 and 16 hexadecimal digits: the span's, or those that the caller sent; empty if there is neither.
    flags, state : str
        The trace's flags, 2 hexadecimal digits, and its ``tracestate``.
    """

    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    flags: str = "00"
    state: str = ""
    span: Span | None = None
    tracer: Tracer | None = None
    caller_request_id: str = ""


_here: ContextVar[Trace | None] = ContextVar("trace", default=None)


def here() -> Trace | None:
    """The trace of the calling code; None outside requests."""
    return _here.get()


def outgoing() -> dict[str, str]:
    """Headers for a request that the service makes for the present one; empty if there is no trace."""
    trace = _here.get()
    if trace is None or not trace.trace_id:
        return {}
    state = {"tracestate": trace.state} if trace.state else {}
    return {"traceparent": f"00-{trace.trace_id}-{trace.span_id}-{trace.flags}", **state}


@contextmanager
def resumed(trace: Trace | None) -> Iterator[None]:
    """Go on with a trace, in another thread and later."""
    token = _here.set(trace)
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def span(name: str, kind: Kind = "internal", **attributes: AttributeValue) -> Iterator[None]:
    """A stage of the present work, as a span. It has the class of an error, never the text."""
    trace = _here.get()
    if trace is None or trace.tracer is None or trace.span is None:
        yield
        return
    inner = _begun(trace, name, kind, attributes)
    with resumed(inner):
        try:
            yield
        except BaseException as error:
            _failed(inner, type(error).__name__)
            raise
        finally:
            assert inner.span is not None
            inner.span.end()


def batch(traces: Sequence[Trace | None], queued: Sequence[float], began: float, model_version: str) -> None:
    """Make the spans of a batch that a device has finished: one of the batch, and two linked ones in each film's request.

    Parameters
    ----------
    traces : sequence of Trace or None
        The trace of each film's request.
    queued, began : float
        ``time.monotonic()`` seconds: when each film came to the queue, and when the batch began.
    """
    spans = [
        (trace.tracer, trace.span, since)
        for trace, since in zip(traces, queued, strict=True)
        # Ask the flag: a request's span may have ended by now, and then records no longer.
        if trace and trace.tracer and trace.span and trace.flags == "01"
    ]
    if not spans:
        return
    try:
        _batch(spans, began, {"cxr.batch.size": len(traces), "cxr.model_version": model_version})
    except Exception as error:  # an error here must not end the device's thread
        log.error("a batch has no spans", extra={"error": type(error).__name__})


def _batch(spans: Sequence[tuple[Tracer, Span, float]], began: float, attributes: Mapping[str, AttributeValue]) -> None:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link

    ended = time.time_ns()
    monotonic = time.monotonic()

    def wall(seconds: float) -> int:
        return ended - int((monotonic - seconds) * 1e9)

    links = [Link(request.get_span_context()) for _, request, _ in spans]
    whole = spans[0][0].start_span("batch", Context(), attributes=attributes, links=links, start_time=wall(began))
    whole.end(ended)
    for tracer, request, since in spans:
        parent = _in_context(request.get_span_context())
        tracer.start_span("wait", parent, start_time=wall(since)).end(wall(began))
        link = [Link(whole.get_span_context())]
        tracer.start_span("inference", parent, attributes=attributes, links=link, start_time=wall(began)).end(ended)


class Tracing:
    """Makes the first span of each piece of work; ``close`` after use."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("cxr_gate", __version__) if provider else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], service: str) -> Tracing:
        """With an exporter where OpenTelemetry's standard variables name a collector, else without.

        Parameters
        ----------
        service : str
            ``service.name``, unless a variable gives another one.
        """
        if not any(environment.get(name) for name in ENDPOINTS):
            return cls()
        if (
            environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
            or environment.get("OTEL_TRACES_EXPORTER") == "none"
        ):
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            log.warning(
                "NO TRACES ARE MADE: a collector is named (OTEL_EXPORTER_OTLP_ENDPOINT), and OpenTelemetry is not installed; "
                "pip install 'cxr-gate[otel]'"
            )
            return cls()
        named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        resource = Resource.create({"service.version": __version__} | ({} if named else {"service.name": service}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def close(self) -> None:
        """Send the spans that wait, for ``FLUSH_SECONDS`` at most, also if the collector is not there."""
        if self._provider is None:
            return
        import threading

        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS)

    def enter(
        self, request_id: str, headers: Sequence[tuple[bytes, bytes]], method: str, caller_request_id: str = ""
    ) -> Trace:
        """Begin a request, in the trace that its caller names, if it names one; ``finish`` ends it."""
        trace = replace(_sent_with(request_id, headers), caller_request_id=caller_request_id)
        if self._tracer:
            trace = _begun(trace, method if method in _METHODS else "HTTP", "server", {}, self._tracer)
        _here.set(trace)
        return trace

    @contextmanager
    def root(self, name: str) -> Iterator[None]:
        """A span for work that no request asked for."""
        if self._tracer is None:
            yield
            return
        with resumed(Trace(span=_no_span(), tracer=self._tracer)), span(name):
            yield


def finish(trace: Trace, method: str, route: str | None, status: int | None, scheme: str, version: str) -> None:
    """End the span of a request, with the names of OpenTelemetry's HTTP conventions.

    Parameters
    ----------
    route : str or None
        The route's template; None: there is none. The span shows no more of the path: a filled-in path may hold UIDs.
    status : int or None
        None where the client left before its answer.
    """
    if trace.span is None:
        return
    known = method if method in _METHODS else "_OTHER"
    attributes: dict[str, AttributeValue] = {
        "http.request.method": known,
        "url.scheme": scheme,
        "network.protocol.version": version,
        "cxr.request_id": trace.request_id,
    }
    if trace.caller_request_id:
        attributes["cxr.caller_request_id"] = trace.caller_request_id
    if route:
        attributes |= {"http.route": route, "url.path": route}
        trace.span.update_name(f"{known if known != '_OTHER' else 'HTTP'} {route}")
    if status is not None:
        attributes["http.response.status_code"] = status
    trace.span.set_attributes(attributes)
    if status is None or status >= 500:
        _failed(trace, str(status or "client_left"))
    trace.span.end()


def _sent_with(request_id: str, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
    """The trace that a caller names. Only its form is checked."""
    parents = [value for name, value in headers if name == b"traceparent"]
    if len(parents) != 1 or not (found := _TRACEPARENT.match(text := parents[0].decode("latin-1"))):
        return Trace(request_id)
    rest = text[found.end() :]
    if rest and (text.startswith("00") or not rest.startswith("-")):
        return Trace(request_id)
    state = ",".join(value.decode("latin-1") for name, value in headers if name == b"tracestate")
    return Trace(request_id, found[1], found[2], found[3], state if _TRACESTATE.fullmatch(state) else "")


def _begun(
    trace: Trace, name: str, kind: Kind, attributes: Mapping[str, AttributeValue], tracer: Tracer | None = None
) -> Trace:
    from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

    tracer = tracer or trace.tracer
    assert tracer is not None
    parent = _in_context(trace.span.get_span_context() if trace.span else _remote(trace))
    begun = tracer.start_span(name, parent, SpanKind[kind.upper()], attributes)
    where = begun.get_span_context()
    return Trace(
        trace.request_id,
        format_trace_id(where.trace_id),
        format_span_id(where.span_id),
        "01" if where.trace_flags.sampled else "00",
        where.trace_state.to_header(),
        begun,
        tracer,
        trace.caller_request_id,
    )


def _remote(trace: Trace) -> SpanContext:
    from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags, TraceState

    if not trace.trace_id:
        return INVALID_SPAN_CONTEXT
    state = TraceState.from_header([trace.state]) if trace.state else None
    flags = TraceFlags(int(trace.flags, 16))
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), True, flags, state)


def _in_context(parent: SpanContext) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(parent), Context())


def _no_span() -> Span:
    from opentelemetry.trace import INVALID_SPAN

    return INVALID_SPAN


def _failed(trace: Trace, error: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    assert trace.span is not None
    trace.span.set_attribute("error.type", error)
    trace.span.set_status(Status(StatusCode.ERROR))
