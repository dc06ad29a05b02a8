"""A real Orthanc that was restored from a backup, or whose log of changes was deleted: no film stays without its report."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.orthanc.pacs import Forwarder
from tests.orthanc.standin import Answer, stand_in
from tests.orthanc.test_faults import instance, reported
from tests.support.orthanc import Orthanc
from tests.support.waiting import eventually


def test_restored_and_run_past_the_checkpoint(orthanc: Orthanc, tmp_path: Path) -> None:
    """The backup has a film without its report; the films after it take the numbers that were read."""
    database, backup = orthanc.folder / "db", tmp_path / "backup"
    orthanc.upload(instance("reported"))
    with stand_in(lambda *_: Answer()) as service:
        forwarder = Forwarder(tmp_path, orthanc, service.url)
        forwarder.start()
        forwarder.await_caught_up()
        forwarder.stop()
        orthanc.upload(instance("unreported"))
        orthanc.stop()
        shutil.copytree(database, backup)
        orthanc.start()
        forwarder.start()
        orthanc.upload(instance("lost with the backup"))
        forwarder.await_caught_up()
        assert reported(orthanc, "unreported", "lost with the backup") == ["lost with the backup", "unreported"]
        read = forwarder.checkpoint()

        orthanc.stop()
        shutil.rmtree(database)
        shutil.copytree(backup, database)
        new = ["new", "newer", "newest", "last"]
        forwarder.stop()  # while it is away, Orthanc runs past
        orthanc.start()
        orthanc.upload(*map(instance, new))
        assert orthanc.last_change() >= read
        forwarder.start()
        wanted = sorted(["reported", "unreported", *new])
        eventually(lambda: reported(orthanc, *wanted) == wanted, 60, forwarder.logged)
        forwarder.await_caught_up()
        forwarder.stop()
    assert len(forwarder.events("following")) == 3
    assert any("restored from a backup" in line for line in forwarder.logged().splitlines())
    assert len(service.asked["reported"]) == 1


def test_what_came_before_its_log_was_deleted(orthanc: Orthanc, tmp_path: Path) -> None:
    with stand_in(lambda *_: Answer()) as service:
        forwarder = Forwarder(tmp_path, orthanc, service.url)
        orthanc.upload(instance("told"))
        forwarder.start()
        forwarder.await_caught_up()
        forwarder.stop()
        orthanc.upload(instance("untold"))
        assert orthanc.client.delete("/changes").status_code == 200
        forwarder.start()
        eventually(lambda: bool(reported(orthanc, "untold")), 30, forwarder.logged)
        forwarder.stop()
    assert reported(orthanc, "told", "untold") == ["told", "untold"]
    assert len(service.asked["told"]) == 1
