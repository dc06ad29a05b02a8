"""A DICOMweb server that answers as it is told, for what a real one does seldom; its socket is real."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.support.answering import Handler, answering


@dataclass(frozen=True)
class Answer:
    """One answer to a STOW-RS request; None of ``status`` stores the report, and says so."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


#: From (the report that is to be stored, how often that was tried before) to the answer.
Script = Callable[[Dataset, int], Answer]


class Archive:
    """What it was told to store, and what it has, by SOPInstanceUID; ``held`` may be filled by a test."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.tried: list[str] = []
        self.held: dict[str, bytes] = {}
        self.elsewhere: set[str] = set()  # SOPInstanceUIDs that are in another study
        self.lock = threading.Lock()
        self.url = ""

    def store(self, part: bytes) -> Answer:
        report = dcmread(io.BytesIO(part))
        uid = str(report.SOPInstanceUID)
        with self.lock:
            answer = self.script(report, self.tried.count(uid))
            self.tried.append(uid)
            if answer.status is not None:
                return answer
            self.held.setdefault(uid, part)  # the old one is kept, without a word
        named = {"00081155": {"vr": "UI", "Value": [uid]}}
        body = json.dumps({"00081199": {"vr": "SQ", "Value": [named]}}).encode()
        return Answer(200, {"Content-Type": "application/dicom+json"}, body)

    def find(self, uid: str, everywhere: bool) -> Answer:
        there = uid in self.held or (everywhere and uid in self.elsewhere)
        found = [{"00080018": {"vr": "UI", "Value": [uid]}}] if there else []
        return Answer(200, {"Content-Type": "application/dicom+json"}, json.dumps(found).encode())

    def give(self, uid: str) -> Answer:
        if uid not in self.held:
            return Answer(404)
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + self.held[uid] + b"\r\n--b--\r\n"
        return Answer(200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}, body)


@contextmanager
def archive(script: Script = lambda *_: Answer()) -> Iterator[Archive]:
    """One that is asked at ``url`` until the block ends."""
    made = Archive(script)

    class Asked(Handler):
        def get(self) -> None:
            path, _, query = self.path.partition("?")
            uid = query.removeprefix("SOPInstanceUID=")
            self.say(made.find(uid, "/studies/" not in path) if uid else made.give(path.rsplit("/", 1)[1]))

        def post(self) -> None:
            self.say(made.store(self.body().split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]))

        def say(self, answer: Answer) -> None:
            assert answer.status is not None
            self.answer(answer.status, answer.body, answer.headers)

    with answering(Asked) as url:
        made.url = f"{url}/dicom-web"
        yield made
