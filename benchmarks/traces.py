"""What traces cost: the same service without and with a collector, in turns, as Markdown.

    python -m benchmarks.traces [--other TREE]

As benchmarks.record: ratios are taken within a round, and CPU time stands beside. The collector takes every span and forgets it,
in this process. `--other` adds a checkout of the code that knows no traces.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .record import compare, options, scratch


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is exported."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the library's name
        """Read the export, and answer 200."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Compare a service without and with a collector."""
    parsed = options(__doc__)
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    in_memory = {"CXR_RECORD_URL": "sqlite://"}
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    with scratch() as folder:
        compare("traces", {"off": in_memory, "on": in_memory | traced}, folder, parsed)
    collector.shutdown()


if __name__ == "__main__":
    main()
