"""The file of callers: written by the commands, read again when it changes, and never a way in when it is broken."""

from __future__ import annotations

import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.access import Callers, KeysFileError, Quota, add_key, read_callers, revoke_keys
from app.access.file import hash_of
from app.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "callers.json"


def name_of(callers: Callers, key: str) -> str | None:
    found = callers.find(key)
    return found and found.name


def test_a_key_is_found_and_only_its_hash_is_kept(file: Path) -> None:
    key = add_key(file, "pacs", ["score", "metrics"])
    assert len(key) == len("cxr_") + 43  # 32 bytes in base64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key[4:] not in file.read_text()
    (entry,) = json.loads(file.read_text())["callers"]
    assert entry == {"name": "pacs", "scopes": ["metrics", "score"], "key_sha256": hash_of(key)}
    caller = Callers(file).find(key)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("pacs", {"score", "metrics"})
    for wrong in ("", key[:-1], key + "x", key.upper(), hash_of(key)):
        assert Callers(file).find(wrong) is None


def test_keys_are_rotated_while_the_service_runs(file: Path) -> None:
    old = add_key(file, "pacs", ["score"])
    callers = Callers(file)
    new = add_key(file, "pacs", ["score"])
    other = add_key(file, "ward", ["score"])
    assert [name_of(callers, key) for key in (old, new, other)] == ["pacs", "pacs", "ward"]
    assert revoke_keys(file, "pacs", keep_newest=True) == 1
    assert [name_of(callers, key) for key in (old, new, other)] == [None, "pacs", "ward"]
    assert revoke_keys(file, "pacs") == 1
    assert [name_of(callers, key) for key in (old, new, other)] == [None, None, "ward"]
    with pytest.raises(KeysFileError, match="no caller of that name"):
        revoke_keys(file, "pacs")


def test_a_key_ends_when_it_expires(file: Path) -> None:
    over = add_key(file, "over", ["score"], datetime.now(UTC) - timedelta(seconds=2))
    good = add_key(file, "good", ["score"], datetime.now(UTC) + timedelta(days=1))
    callers = Callers(file)
    assert (name_of(callers, over), name_of(callers, good)) == (None, "good")


def test_a_broken_file_keeps_the_last_good_one_and_says_so(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = add_key(file, "pacs", ["score"])
    callers, good = Callers(file), file.read_text()
    with caplog.at_level(logging.ERROR):
        for broken in ("{", "[]", '{"callers": [{"name": "pacs"}]}', good.replace("score", "everything")):
            file.write_text(broken)
            assert name_of(callers, key) == "pacs"
        file.unlink()
        assert name_of(callers, key) == "pacs"
    assert len(caplog.records) == 5
    assert all("the last good one holds" in record.message for record in caplog.records)
    file.write_text('{"callers": []}')
    file.chmod(0o600)
    assert name_of(callers, key) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is not there"),
        ("{", "not JSON"),
        ('{"callers": {}}', "form"),
        ('{"callers": [{"name": "a", "scopes": ["score"]}]}', "caller 1 must have"),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s", "admin": true}]}', "nothing else"),
        ('{"callers": [{"name": "a", "scopes": ["score"]}]}', "it lacks key_sha256"),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s", "admin": true}]}', "'admin' is unknown"),
        ('{"callers": ["pacs"]}', "caller 1 must have"),
        ('{"callers": [], "more": 1}', "form"),
        ('{"callers": [\n}', "line 2"),
        ('{"callers": [{"name": 1, "scopes": ["score"], "key_sha256": "%s"}]}', "a name is"),
        ('{"callers": [{"name": "a", "scopes": "score", "key_sha256": "%s"}]}', "scopes is a list"),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s\\n"}]}', "hexadecimal"),
        (
            '{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s", "quota": null}]}',
            "caller 1: quota is of",
        ),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s", "expires": "2030-01-01"}]}', "zone"),
        ('{"callers": [{"name": "", "scopes": ["score"], "key_sha256": "%s"}]}', "a name is"),
        ('{"callers": [{"name": "a\\n", "scopes": ["score"], "key_sha256": "%s"}]}', "a name is"),
        ('{"callers": [{"name": "anonymous", "scopes": ["score"], "key_sha256": "%s"}]}', "not anonymous"),
        ('{"callers": [{"name": "a", "scopes": [], "key_sha256": "%s"}]}', "scopes"),
        ('{"callers": [{"name": "a", "scopes": ["root"], "key_sha256": "%s"}]}', "scopes"),
        ('{"callers": [{"name": "a", "scopes": [{}], "key_sha256": "%s"}]}', "scopes"),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "secret"}]}', "hexadecimal"),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s", "expires": "2030"}]}', "zone"),
        ('{"callers": [{"name": "a", "scopes": ["score"], "key_sha256": "%s", "expires": 1}]}', "zone"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(file: Path, content: str | None, reason: str) -> None:
    file.parent.mkdir()
    if content is not None:
        file.write_text(content.replace("%s", "0" * 64))
        file.chmod(0o600)
    with pytest.raises(KeysFileError, match=reason):
        Callers(file)


def test_a_file_that_others_may_write_to_is_refused(file: Path) -> None:
    add_key(file, "pacs", ["score"])
    file.chmod(0o660)
    with pytest.raises(KeysFileError, match="chmod 600"):
        Callers(file)


def test_what_a_file_that_others_may_write_to_takes_away_holds(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A revoked key is none, whatever the file's mode; a key that somebody put in, or widened, is not good."""
    kept, revoked, widened = (add_key(file, name, ["score"]) for name in ("kept", "revoked", "widened"))
    callers = Callers(file)
    content = json.loads(file.read_text())
    content["callers"] = [one for one in content["callers"] if one["name"] != "revoked"]
    content["callers"][1]["scopes"] = ["operate"]
    content["callers"].append({"name": "intruder", "scopes": ["operate"], "key_sha256": hash_of("cxr_mine")})
    file.chmod(0o660)
    with caplog.at_level(logging.ERROR):
        assert [name_of(callers, key) for key in (kept, revoked, widened)] == ["kept", "revoked", "widened"]
        file.write_text(json.dumps(content))
        assert [name_of(callers, key) for key in (kept, revoked, widened, "cxr_mine")] == ["kept", None, None, None]
    assert all("others may write" in record.message for record in caplog.records)
    file.chmod(0o600)
    assert [name_of(callers, key) for key in (kept, revoked, widened)] == ["kept", None, "widened"]


def test_of_several_commands_at_once_none_is_lost(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda number: add_key(file, f"caller-{number}", ["score"]), range(24)))
    callers = Callers(file)
    assert [name_of(callers, key) for key in keys] == [f"caller-{number}" for number in range(24)]
    assert os.listdir(file.parent) == [file.name]


def test_the_commands(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to_file = ["--keys-file", str(file)]
    assert main(["new-key", "--name", "dr.b", "--scope", "review", "--scope", "score", "--days", "3", *to_file]) == 0
    told = capsys.readouterr()
    key = told.out.strip()  # alone, so that a shell can take it
    assert key not in told.err
    caller = Callers(file).find(key)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("dr.b", {"review", "score"})
    assert caller.expires is not None
    assert timedelta(days=2, hours=23) < caller.expires - datetime.now(UTC) <= timedelta(days=3)
    assert main(["revoke-key", "--name", "dr.b", *to_file]) == 0
    assert read_callers(file) == ()
    assert main(["revoke-key", "--name", "dr.b", *to_file]) == 1
    assert main(["new-key", "--name", "a b", "--scope", "score", *to_file]) == 1
    assert "a name is" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["new-key", "--name", "a", "--scope", "everything", *to_file])


def test_a_quota_is_kept_with_its_key(file: Path) -> None:
    given = Quota(90.5, 20)
    limited, free = add_key(file, "research", ["score"], quota=given), add_key(file, "pacs", ["score"])
    callers = Callers(file)
    for key, quota in ((limited, given), (free, None)):
        found = callers.find(key)
        assert found is not None
        assert found.quota == quota


@pytest.mark.parametrize(
    "quota", ["60/min", {}, {"per_minute": 60}, {"per_minute": 0, "burst": 1}, {"per_minute": True, "burst": 1},
              {"per_minute": float("inf"), "burst": 1}, {"per_minute": 6, "burst": 1.5}, {"per_minute": 6, "burst": 0}],
    ids=str,
)  # fmt: skip
def test_a_quota_that_is_none_is_refused(file: Path, quota: object) -> None:
    add_key(file, "pacs", ["score"])
    content = json.loads(file.read_text())
    content["callers"][0]["quota"] = quota
    file.write_text(json.dumps(content))
    with pytest.raises(KeysFileError, match="caller 1: quota is of the form"):
        read_callers(file)


def test_the_command_gives_a_quota(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["new-key", "--keys-file", str(file), "--name", "research", "--scope", "score"]
    assert main([*options, "--per-minute", "60", "--burst", "5"]) == 0
    found = Callers(file).find(capsys.readouterr().out.strip())
    assert found is not None
    assert found.quota == Quota(60, 5)
    assert main([*options, "--burst", "5"]) == 2
    assert "--burst needs --per-minute" in capsys.readouterr().err
