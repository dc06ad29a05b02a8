"""What the forwarder asks of Orthanc and of the service about one film is one trace."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.collecting import Answer, collect, collected, listening
from tests.support.processes import ROOT, START_SECONDS, clean_environment, command
from tests.support.waiting import eventually


def orthanc_and_service(path: str, body: bytes) -> Answer:
    """Two films were stored in it; both are scored."""
    url = urlsplit(path)
    if url.path == "/changes":
        since = int(parse_qs(url.query)["since"][0])
        changes = [{"Seq": n, "ChangeType": "NewInstance", "ID": f"film{n}"} for n in (1, 2) if n > since]
        return 200, json.dumps({"Changes": changes, "Done": True, "Last": 2}).encode(), "application/json"
    if url.path.endswith("/content/0008-0060"):
        return 200, b"DX", "text/plain"
    if url.path == "/instances":
        return 200, b'{"Status": "Success"}', "application/json"
    return 200, url.path.encode(), "application/dicom"  # a film, or a report


@pytest.mark.parametrize("traced", [True, False], ids=["on", "off"])
def test_each_film_is_a_trace(traced: bool, tmp_path: Path) -> None:
    with listening(orthanc_and_service) as both, listening(collect) as collector:
        settings = collected(collector.url) if traced else {}
        process = subprocess.Popen(
            command(
                "forward", "--state", str(tmp_path / "state"), "--orthanc-url", both.url, "--service-url", both.url
            ),
            cwd=ROOT,
            env=clean_environment(settings),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            eventually(
                lambda: [what for what, *_ in both.asked].count("POST /instances") == 2 or process.poll() is not None
            )
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=START_SECONDS)
        finally:
            process.kill()
        assert process.returncode == 0, log
        if not traced:
            assert not any("traceparent" in headers for _, headers, _ in both.asked)
            assert collector.asked == []
            return
        forwarded = {each.trace_id: each for each in collector.spans() if each.name == "forward"}
        assert len(forwarded) == 2  # the last ones were sent at the end
        sent = [
            (what, *headers["traceparent"].split("-")[1:3]) for what, headers, _ in both.asked if "/changes" not in what
        ]
        for trace_id, root in forwarded.items():
            asked = [
                what.split(" ")[1].split("/")[1]
                for what, trace, parent in sent
                if (trace, parent) == (trace_id, root.span_id)
            ]
            assert asked == ["instances", "instances", "v1", "instances"]
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        stored = [line["trace_id"] for line in lines if line["message"] == "report stored"]
        assert sorted(stored) == sorted(forwarded)
