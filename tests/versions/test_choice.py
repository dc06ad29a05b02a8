"""What was chosen is read again, or the start is refused; nothing else is taken in its place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from app.pipeline.bundle import read_manifest
from app.settings import Settings, SettingsError
from app.versions import Catalogue, load_chosen
from app.versions.choice import Choice, ChoiceFile
from tests.support.bundles import ACCEPT_EVERYTHING, REJECT_EVERYTHING, write_random_bundle


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that is served by default, and a folder with another one."""
    folder = tmp_path_factory.mktemp("bundles")
    write_random_bundle(folder / "own", ACCEPT_EVERYTHING)
    write_random_bundle(folder / "more" / "other", REJECT_EVERYTHING)
    return folder


@pytest.fixture
def settings(written: Path, tmp_path: Path) -> Settings:
    more = shutil.copytree(written / "more", tmp_path / "more")
    return Settings(
        bundle=written / "own",
        bundles=str(more),
        versions_file=tmp_path / "state" / "active.json",
        device="cpu",
        max_batch=1,
    )


def version_of(folder: Path) -> str:
    return read_manifest(folder).model_version


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = ChoiceFile(tmp_path / "state" / "active.json")
    assert file.read() is None
    for choice in (Choice("one", None), Choice("two", "one")):
        file.write(choice)
        assert file.read() == choice
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["active.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format_version": 2, "active": "a", "previous": null}',
        '{"format_version": 1, "active": 5, "previous": null}',
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "active.json").write_text(content)
    with pytest.raises(SettingsError, match="CXR_VERSIONS_FILE"):
        ChoiceFile(tmp_path / "active.json").read()


def test_without_a_choice_or_a_folder_the_bundle_of_the_settings_is_served(settings: Settings) -> None:
    own = version_of(settings.bundle)
    active, previous = load_chosen(settings)
    assert (active.name, previous) == (own, None)
    assert [entry.model_version for entry in Catalogue(Settings(bundle=settings.bundle)).entries()] == [own]


def test_the_chosen_one_is_served_and_the_one_before_is_there_too(settings: Settings) -> None:
    own, other = version_of(settings.bundle), version_of(Path(settings.bundles) / "other")
    ChoiceFile(settings.versions_file).write(Choice(other, own))
    active, previous = load_chosen(settings)
    assert previous is not None
    assert (active.name, previous.name) == (other, own)


def test_a_chosen_one_that_is_gone_or_broken_ends_the_start_with_the_reason(settings: Settings) -> None:
    folder = Path(settings.bundles) / "other"
    ChoiceFile(settings.versions_file).write(Choice(version_of(folder), version_of(settings.bundle)))
    (folder / "gaussian.safetensors").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"made active .*gaussian\.safetensors has another SHA-256.*CXR_BUNDLE"):
        load_chosen(settings)
    shutil.rmtree(folder)
    with pytest.raises(SettingsError, match=r"made active .*no folder of CXR_BUNDLES"):
        load_chosen(settings)


def test_a_restart_without_the_folder_of_bundles_does_not_forget_the_choice(settings: Settings) -> None:
    own, other = version_of(settings.bundle), version_of(Path(settings.bundles) / "other")
    ChoiceFile(settings.versions_file).write(Choice(other, own))
    with pytest.raises(SettingsError, match=r"made active .*CXR_BUNDLES is not set.*Set CXR_BUNDLES"):
        load_chosen(replace(settings, bundles=""))
    ChoiceFile(settings.versions_file).write(Choice(own, other))
    active, previous = load_chosen(replace(settings, bundles=""))
    assert (active.name, previous) == (own, None)


def test_a_way_back_that_is_gone_does_not_end_the_start(settings: Settings) -> None:
    own = version_of(settings.bundle)
    ChoiceFile(settings.versions_file).write(Choice(own, "densenet121-mgm-000000000000"))
    active, previous = load_chosen(settings)
    assert (active.name, previous) == (own, None)


def test_a_bundle_is_verified_again_when_its_files_change(settings: Settings) -> None:
    catalogue = Catalogue(settings)
    assert [entry.reason for entry in catalogue.entries()] == [None, None]
    card = Path(settings.bundles) / "other" / "MODEL_CARD.md"
    written = card.read_bytes()
    card.write_bytes(b"another")
    broken, own = catalogue.entries()
    assert broken.reason is not None
    assert "MODEL_CARD.md" in broken.reason
    assert own.reason is None
    card.write_bytes(written)
    assert [entry.reason for entry in catalogue.entries()] == [None, None]


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="CXR_BUNDLES"):
        Catalogue(Settings(bundles="/nowhere"))


def test_a_choice_holds_though_the_sites_table_changed(settings: Settings, tmp_path: Path) -> None:
    """The name of a version says which table was laid over it; the chosen bundle is found under any."""
    own, other = version_of(settings.bundle), version_of(Path(settings.bundles) / "other")
    table = tmp_path / "site.csv"
    table.write_text("finding,prevalence\nMass,.02\n")
    ChoiceFile(settings.versions_file).write(Choice(f"{other}-site-000000", own))
    with_table = replace(settings, calls_file=str(table))
    active, previous = load_chosen(with_table)
    assert previous is not None
    assert active.name.startswith(f"{other}-site-")
    assert active.name != f"{other}-site-000000"
    assert previous.name.startswith(f"{own}-site-")
    assert {entry.model_version for entry in Catalogue(with_table).entries()} == {active.name, previous.name}
    without, _ = load_chosen(settings)
    assert without.name == other
