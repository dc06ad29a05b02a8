"""A collector of traces and other servers on real sockets, which write down what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.answering import Handler, answering

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is not installed"
)

#: Status, body and media type.
Answer = tuple[int, bytes, str]


@dataclass
class Span:
    name: str
    trace_id: str
    span_id: str
    parent: str
    kind: int
    attributes: dict[str, Any]
    links: list[str]  # span ids
    seconds: float


@dataclass
class Listener:
    """What a server was asked: (method and path, headers, body)."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def spans(self) -> list[Span]:
        return [
            Span(
                each.name,
                each.trace_id.hex(),
                each.span_id.hex(),
                each.parent_span_id.hex(),
                each.kind,
                {pair.key: pair.value.string_value or pair.value.int_value for pair in each.attributes},
                [link.span_id.hex() for link in each.links],
                (each.end_time_unix_nano - each.start_time_unix_nano) / 1e9,
            )
            for what, _, body in list(self.asked)
            if what == "POST /v1/traces"
            for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for each in scope.spans
        ]


@contextmanager
def listening(respond: Callable[[str, bytes], Answer]) -> Iterator[Listener]:
    """A server on a free port that writes down what it is asked; `respond` gets path and body."""
    made = Listener()

    class Asked(Handler):
        def get(self) -> None:
            body = self.body()
            made.asked.append((f"{self.command} {self.path}", {k.lower(): v for k, v in self.headers.items()}, body))
            status, content, media_type = respond(self.path, body)
            self.answer(status, content, {"Content-Type": media_type})

        post = get

    with answering(Asked) as made.url:
        yield made


def collect(path: str, body: bytes) -> Answer:
    """As a collector: all is taken."""
    return 200, b"", "application/x-protobuf"


def collected(url: str) -> dict[str, str]:
    """Settings of a service whose traces go there, soon."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


def of_trace(listener: Listener, trace_id: str, name: str) -> list[Span]:
    return [each for each in listener.spans() if (each.trace_id, each.name) == (trace_id, name)]
