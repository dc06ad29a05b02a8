"""Films beside a record, keys and copies that are not their own: what starts, what is refused, and that no film is lost."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.metrics import Metrics
from app.pipeline import Verdict
from app.quarantine import Quarantine, QuarantineKeys, Vault, open_quarantine
from app.records import FilmEvent, Writer, open_record
from app.settings import Settings, SettingsError
from tests.records.making import decision, execute, subject

KEY, OTHER_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
REJECTED = Verdict(False, -100.0, None)


class State:
    """Record, keys and films in one folder, as a service leaves them when it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.films = folder / "films"
        self.settings = Settings(
            record_url=f"sqlite:///{folder}/record.sqlite",
            record_key_file=folder / "record.key",
            quarantine_folder=str(self.films),
            quarantine_key=KEY,
        )
        self.count = 0

    def keep(self, count: int) -> None:
        """Keep films as the service does: the file first, then the entry."""
        record = open_record(self.settings.record_url, self.settings.record_key_file)
        vault = Vault(self.films, QuarantineKeys(KEY))
        for number in range(self.count, self.count + count):
            about = subject(record.key, number)
            vault.write(f"{number:032x}", about.model_version, {"number": number}, b"film %d" % number)
            record.write([decision(about, REJECTED, film=f"{number:032x}", request_id=f"{number:032x}")])
        self.count += count
        record.close()

    def started(self, **changes: object) -> tuple[int, float]:
        """Films that a service finds when it starts, and those that lie aside by its metric."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        record, metrics = open_record(settings.record_url, settings.record_key_file), Metrics()
        try:
            quarantine = open_quarantine(settings, record, Writer(record, metrics), metrics)
        finally:
            record.close()
        assert isinstance(quarantine, Quarantine)
        quarantine._vault.let_go()
        found = metrics.registry.get_sample_value
        orphans = found("cxr_quarantine_orphans")
        assert orphans is not None
        return int(found("cxr_quarantine_films", {"state": "pending"}) or 0), orphans

    def unlost(self) -> int:
        """Films that are somewhere in the folder, and can be read."""
        vault, count = Vault(self.films, QuarantineKeys(KEY)), 0
        for path in (*self.films.glob("*.film"), *self.films.glob("orphans/*.film")):
            if path.parent != self.films:
                shutil.copy(path, self.films / path.name)
            _, content = vault.read(path.stem, "model")
            assert content == b"film %d" % int(path.stem, 16)
            if path.parent != self.films:
                (self.films / path.name).unlink()
            count += 1
        return count


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def empty_record(state: State) -> None:
    for path in state.folder.glob("record.sqlite*"):
        path.unlink()


def empty_record_and_key(state: State) -> None:
    empty_record(state)
    (state.folder / "record.key").unlink()


def older_record(state: State) -> None:
    empty_record(state)
    shutil.copy(state.folder / "copy", state.folder / "record.sqlite")


def no_key(state: State) -> None:
    (state.folder / "record.key").unlink()


def another_key(state: State) -> None:
    (state.folder / "record.key").write_text("ab" * 32)


def forged_entry(state: State) -> None:
    """Of a film, and not the newest one, which the record itself looks at."""
    execute(state.folder / "record.sqlite", "UPDATE entries SET caller = 'nobody' WHERE id = 2")


def unmarked(how: Callable[[State], None]) -> Callable[[State], None]:
    """As one of before the mark, which an upgrade finds."""

    def do(state: State) -> None:
        how(state)
        (state.films / "record-key-id").unlink()

    return do


STARTS = {
    "restored empty, under its key": (empty_record, (0, 26.0)),
    "restored empty, of before the mark": (unmarked(empty_record), (0, 26.0)),
    "restored empty with a new key, of before the mark": (unmarked(empty_record_and_key), (0, 26.0)),
    "restored from before the last films": (older_record, (20, 6.0)),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_record_that_lacks_films_loses_none_and_they_come_back(
    state: State, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The 26 films of the issue, which were deleted at the start and told of at level info."""
    restore, expected = STARTS[name]
    state.keep(20)
    shutil.copy(state.folder / "record.sqlite", state.folder / "copy")
    state.keep(6)
    assert state.started() == (26, 0)
    right = {path.name: path.read_bytes() for path in (state.folder / "record.sqlite", state.folder / "record.key")}
    restore(state)
    assert state.started() == expected
    assert state.unlost() == 26
    assert [one.levelname for one in caplog.records if "does not know" in one.message] == ["ERROR"]
    assert state.started() == expected  # and again
    empty_record(state)  # the mistake is seen, and mended
    for file, content in right.items():
        (state.folder / file).write_bytes(content)
    assert state.started() == (26, 0)
    assert state.unlost() == 26


REFUSED = {
    "another key's record, empty": (empty_record_and_key, "films are of a record under another key"),
    "no key": (no_key, "record.key is not there, and the record holds 20 entries"),
    "another key": (another_key, "begun under another key"),
    "a forged entry of a film": (forged_entry, "entry 2 of the record, .* does not match its seal.* verify-record"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_belong_together_stops_the_start(state: State, name: str) -> None:
    """20 films under a wrong key of the record, too, were deleted."""
    state.keep(20)
    assert state.started() == (20, 0)
    change, message = REFUSED[name]
    change(state)
    with pytest.raises(SettingsError, match=message):
        state.started()
    assert not (state.films / "orphans").exists()
    assert state.unlost() == 20


def test_a_key_that_opens_no_film_stops_the_start(state: State, caplog: pytest.LogCaptureFixture) -> None:
    state.keep(3)
    with pytest.raises(SettingsError, match=r"open none of its 3 films. Name the key that they were encrypted with"):
        state.started(quarantine_key=OTHER_KEY)
    assert state.started(quarantine_key=f"{OTHER_KEY}\n{KEY}") == (3, 0)
    Vault(state.films, QuarantineKeys(OTHER_KEY)).write("f" * 32, "model", {}, b"on its way under the new key")
    assert state.started(quarantine_key=OTHER_KEY) == (3, 1)
    assert any(getattr(one, "films", 0) == 3 and "need a key" in one.message for one in caplog.records)


def test_a_removal_that_was_written_down_is_finished(state: State) -> None:
    state.keep(2)
    record = open_record(state.settings.record_url, state.settings.record_key_file)
    record.write([FilmEvent("removed", f"{0:032x}", "cxr-gate", reason="size")])
    record.close()
    assert state.started() == (1, 0)
    assert state.unlost() == 1


def test_orphans_go_when_they_are_too_old_and_no_sooner(state: State) -> None:
    state.keep(3)
    empty_record(state)
    assert state.started() == (0, 3)
    days = 86_400
    old = state.films / "orphans" / f"{1:032x}.film"
    os.utime(old, (time.time() - 31 * days,) * 2)
    record, metrics = open_record(state.settings.record_url, state.settings.record_key_file), Metrics()
    quarantine = open_quarantine(state.settings, record, Writer(record, metrics), metrics)
    assert quarantine

    async def sweep() -> None:
        await quarantine._sweep()
        await quarantine.stop()

    asyncio.run(sweep())
    record.close()
    assert sorted(path.stem for path in state.films.glob("orphans/*")) == [f"{0:032x}", f"{2:032x}"]
    assert metrics.registry.get_sample_value("cxr_quarantine_removed_total", {"reason": "orphan"}) == 1
    assert metrics.registry.get_sample_value("cxr_quarantine_orphans") == 2
