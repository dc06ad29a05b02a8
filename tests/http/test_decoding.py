"""Decoding processes of a real service: hostile films beside good ones, and no process outlives the service."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.decoding.processes import (
    alive,
    await_child,
    await_end,
    descendants_of,
    slow_film,
    small_film,
    struck,
    zygote_of,
)
from tests.http.conftest import Start
from tests.http.served import ANSWER_SECONDS, Served, assert_accepted, assert_problem
from tests.pipeline.mutants import mutants, valid_films

MUTANTS = 50
DICOM = "application/dicom"


def test_good_films_are_answered_beside_mutants_and_a_decoder_that_is_killed(service: Served, tmp_path: Path) -> None:
    compressed = {
        name: data for name, data in valid_films(tmp_path).items() if name.startswith(("j", "htj", "rle", "def"))
    }
    spoiled = [mutant.data for mutant in mutants(compressed, MUTANTS)]
    good = [*compressed.values()] * 2
    with ThreadPoolExecutor(8) as pool:
        with struck(zygote_of(service.process.pid), signal.SIGSEGV, times=2):
            victim = pool.submit(service.post, slow_film(), DICOM)
            assert_problem(victim.result(ANSWER_SECONDS), 400)
        bad = [pool.submit(service.post, data, DICOM) for data in spoiled]
        answers = [pool.submit(service.post, data, DICOM) for data in good]
        for answer in answers:
            assert_accepted(answer.result(ANSWER_SECONDS))
        assert {one.result(ANSWER_SECONDS).status_code for one in bad} <= {200, 400, 413, 415}
    assert 'cxr_decode_process_failures_total{reason="crash"}' in service.get("/metrics").text


def test_a_service_that_is_killed_leaves_no_process(start: Start) -> None:
    with start() as service, ThreadPoolExecutor(1) as pool:
        service.post(small_film(), DICOM)
        pending = pool.submit(service.post, slow_film(), DICOM)
        child = await_child(zygote_of(service.process.pid))
        os.kill(child, signal.SIGSTOP)  # at work for ever
        family = descendants_of(service.process.pid)
        assert child in family
        assert b"CXR_RECORD_URL" in Path(f"/proc/{service.process.pid}/environ").read_bytes()
        assert b"CXR_" not in Path(f"/proc/{child}/environ").read_bytes()
        service.process.kill()
        service.process.wait()
        await_end(family)
        assert pending.exception(ANSWER_SECONDS) is not None


def test_a_service_that_is_told_to_stop_answers_first(start: Start) -> None:
    """Its other processes get the signals too, as from a terminal (SIGINT) or systemd (SIGTERM)."""
    with start() as service, ThreadPoolExecutor(1) as pool:
        pending = pool.submit(service.post, slow_film(), DICOM)
        child = await_child(zygote_of(service.process.pid))
        os.kill(child, signal.SIGSTOP)
        family = descendants_of(service.process.pid)
        for pid in family:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        service.process.send_signal(signal.SIGTERM)
        assert all(map(alive, family))
        os.kill(child, signal.SIGCONT)
        assert_accepted(pending.result(ANSWER_SECONDS))
        service.process.wait(ANSWER_SECONDS)
        await_end(family)
