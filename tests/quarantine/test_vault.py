"""Encrypted films: what was kept comes back, and what was changed, moved or locked away does not."""

from __future__ import annotations

import base64
import secrets
import stat
from pathlib import Path

import pytest

from app.quarantine import FilmUnreadable, QuarantineKeyError, QuarantineKeys, Vault
from app.quarantine.vault import FolderInUse

FILM = "a" * 32
OTHER = "b" * 32 + "-3"


def key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def keys() -> QuarantineKeys:
    return QuarantineKeys(key())


def path_of(folder: Path, film: str) -> Path:
    return folder / f"{film}.film"


def test_a_film_comes_back_and_is_not_readable_on_the_disk(tmp_path: Path, keys: QuarantineKeys) -> None:
    folder = tmp_path / "films"
    vault = Vault(folder, keys)
    film = b"Testmann^Erika" * 1000
    size = vault.write(FILM, "model", {"caller": "pacs"}, film)
    assert vault.read(FILM, "model") == ({"caller": "pacs"}, film)
    written = path_of(folder, FILM).read_bytes()
    assert (len(written), vault.sizes()) == (size, {FILM: size})
    assert b"Testmann" not in written
    assert b"pacs" not in written
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path_of(folder, FILM).stat().st_mode) == 0o600
    again = Vault(folder, keys)
    again.write(OTHER, "model", {}, film)
    assert path_of(folder, OTHER).read_bytes()[13:25] != written[13:25]  # nonces
    vault.remove(FILM, FILM)
    assert set(vault.sizes()) == {OTHER}


@pytest.mark.parametrize("offset", [0, 4, 5, 12, 13, 24, 25, 30, 200, -17, -1])
def test_one_bit_that_changed_is_found(tmp_path: Path, keys: QuarantineKeys, offset: int) -> None:
    vault = Vault(tmp_path, keys)
    vault.write(FILM, "model", {}, bytes(1000))
    content = bytearray(path_of(tmp_path, FILM).read_bytes())
    content[offset] ^= 1
    path_of(tmp_path, FILM).write_bytes(content)
    with pytest.raises(FilmUnreadable):
        vault.read(FILM, "model")


@pytest.mark.parametrize("length", [0, 5, 24, 25, 41, 500])
def test_a_file_that_was_cut_is_found(tmp_path: Path, keys: QuarantineKeys, length: int) -> None:
    vault = Vault(tmp_path, keys)
    vault.write(FILM, "model", {}, bytes(1000))
    path_of(tmp_path, FILM).write_bytes(path_of(tmp_path, FILM).read_bytes()[:length])
    with pytest.raises(FilmUnreadable):
        vault.read(FILM, "model")


def test_one_film_in_the_place_of_another_is_found(tmp_path: Path, keys: QuarantineKeys) -> None:
    vault = Vault(tmp_path, keys)
    vault.write(FILM, "model", {}, b"one")
    vault.write(OTHER, "model", {}, b"another")
    path_of(tmp_path, OTHER).replace(path_of(tmp_path, FILM))
    for film, version in ((FILM, "model"), (OTHER, "model")):
        with pytest.raises(FilmUnreadable):
            vault.read(film, version)
    vault.write(FILM, "model", {}, b"one")
    with pytest.raises(FilmUnreadable):
        vault.read(FILM, "another model")


def test_keys_are_changed_one_after_the_other(tmp_path: Path) -> None:
    old, new = key(), key()
    Vault(tmp_path, QuarantineKeys(old)).write(FILM, "model", {}, b"first")
    both = Vault(tmp_path, QuarantineKeys(f"# since June\n{new}\n\n{old}\n"))
    both.write(OTHER, "model", {}, b"second")
    assert both.read(FILM, "model")[1] == b"first"
    only_new = Vault(tmp_path, QuarantineKeys(new))
    assert only_new.read(OTHER, "model")[1] == b"second"
    with pytest.raises(FilmUnreadable, match="is not among the keys"):
        only_new.read(FILM, "model")


KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    "text",
    ["", "# none", "short", KEY[:-4], "é", base64.b64encode(bytes(31)).decode(), f"{KEY}\nno key"],
    ids=["empty", "a comment alone", "short", "cut off", "not ASCII", "31 bytes", "a key and more"],
)
def test_what_is_no_key_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(QuarantineKeyError) as refused:
        QuarantineKeys.from_file(file)
    assert not text or text.startswith("#") or text not in str(refused.value)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(key())
    file.chmod(0o640)
    with pytest.raises(QuarantineKeyError, match="chmod 600"):
        QuarantineKeys.from_file(file)


def test_one_service_has_the_folder_and_clears_what_was_left_unfinished(tmp_path: Path, keys: QuarantineKeys) -> None:
    (tmp_path / f"{FILM}.part").write_bytes(b"half")
    first, second = Vault(tmp_path, keys), Vault(tmp_path, keys)
    first.hold()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FolderInUse):
        second.hold()
    first.let_go()
    second.hold()
    second.let_go()


@pytest.mark.parametrize("name", ["", "..", "../" + FILM, FILM.upper(), FILM + "-", FILM[:-1], FILM + "/x"])
def test_an_id_is_no_path(tmp_path: Path, keys: QuarantineKeys, name: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        Vault(tmp_path, keys).remove(name)
