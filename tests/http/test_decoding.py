"""Decoding processes of a real service: hostile films beside good ones, and no process outlives the service."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.decoding.processes import (
    alive,
    await_child,
    await_end,
    descendants_of,
    each_struck,
    every_core_taken,
    fork_server_of,
    large_films,
    slow_film,
    small_film,
    struck,
)
from tests.http.conftest import Start
from tests.pipeline.mutants import mutants, valid_films
from tests.support.asking import ANSWER_SECONDS
from tests.support.served import Served, assert_accepted, assert_problem
from tests.support.waiting import eventually

MUTANTS = 50
DICOM = "application/dicom"


def test_good_films_are_answered_beside_mutants_and_a_decoder_that_is_killed(service: Served, tmp_path: Path) -> None:
    compressed = {
        name: data for name, data in valid_films(tmp_path).items() if name.startswith(("j", "htj", "rle", "def"))
    }
    spoiled = [mutant.data for mutant in mutants(compressed, MUTANTS)]
    good = [*compressed.values()] * 2
    with ThreadPoolExecutor(8) as pool:
        with each_struck(fork_server_of(service.process.pid), signal.SIGSEGV):
            answer = service.post(slow_film(), DICOM)
            assert answer.status_code in {400, 503}, answer.text  # as the machine is idle or busy; see tests/decoding
            assert "decoder" in assert_problem(answer, answer.status_code)["detail"]
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
        child = await_child(fork_server_of(service.process.pid))
        os.kill(child, signal.SIGSTOP)  # at work for ever
        family = descendants_of(service.process.pid)
        assert child in family
        assert b"CXR_RECORD_URL" in Path(f"/proc/{service.process.pid}/environ").read_bytes()
        assert b"CXR_" not in Path(f"/proc/{child}/environ").read_bytes()
        service.kill()
        await_end(family)
        assert pending.exception(ANSWER_SECONDS) is not None


def test_a_service_that_is_told_to_stop_answers_first(start: Start) -> None:
    """Its other processes get the signals too, as from a terminal (SIGINT) or systemd (SIGTERM)."""
    with start() as service, ThreadPoolExecutor(1) as pool:
        pending = pool.submit(service.post, slow_film(), DICOM)
        child = await_child(fork_server_of(service.process.pid))
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


def test_four_large_films_beside_a_load_are_answered_or_may_come_again(start: Start) -> None:
    """Each needs a good second of CPU time, is allowed two, and takes longer than that by the clock."""
    films = large_films(4)
    with start(CXR_DECODE_SECONDS="2") as service, ThreadPoolExecutor(len(films)) as pool:
        with every_core_taken(times=2):
            answers = list(pool.map(lambda film: service.post(film, DICOM), films))
        for answer in answers:
            assert answer.status_code in {200, 503}, answer.text
            assert answer.status_code == 200 or int(answer.headers["retry-after"]) >= 1
        for film, answer in zip(films, answers, strict=True):
            assert_accepted(answer if answer.status_code == 200 else answered(service, film))


def answered(service: Served, film: bytes) -> httpx.Response:
    """What a film gets whose sender comes again when it is told to."""
    end = time.monotonic() + ANSWER_SECONDS
    while (answer := service.post(film, DICOM)).status_code == 503 and time.monotonic() < end:
        time.sleep(int(answer.headers["retry-after"]))
    return answer


def test_a_film_whose_decoder_gets_no_cpu_is_told_503_and_when_to_come_again(start: Start) -> None:
    with start(CXR_DEADLINE_SECONDS="4") as service, ThreadPoolExecutor(1) as pool:
        with struck(fork_server_of(service.process.pid), signal.SIGSTOP, times=1) as pids:
            starved = pool.submit(service.post, slow_film(), DICOM)
        answer = starved.result(ANSWER_SECONDS)
        body = assert_problem(answer, 503)
        assert body["type"] == "/problems/decoding-unavailable"
        assert "too busy" in body["detail"]
        assert 2 <= int(answer.headers["retry-after"]) <= 4
        await_end(pids)
        # The process is counted when it has ended, which may be after the answer.
        counted = 'cxr_decode_process_failures_total{reason="starved"} 1.0'
        eventually(lambda: counted in service.get("/metrics").text)
