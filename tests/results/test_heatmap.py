"""A heatmap is transparent where nothing speaks for the finding, and is valid DICOM in the film's study."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from app.pipeline import DecodedImage
from app.pipeline.exposed_field import ExposedField
from app.pipeline.heatmap import Heatmap
from app.results import make_secondary_capture, overlay_png, pixels_digest, read_source, to_part10
from app.results.heatmap import warmth
from tests.results.films import film, film_with_bytes, run_tool
from tests.results.test_report import SUMMARY

SENT = film()
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
WHOLE = ExposedField.whole(300, 240)
FILM = DecodedImage(np.linspace(0, 1, 300 * 240, dtype=np.float32).reshape(300, 240), WHOLE, "dicom")


def heatmap(row: int = 1, column: int = 5, rise: float | None = None) -> Heatmap:
    """Warm at one place, cold (it speaks against the finding) at another."""
    made = np.zeros((7, 7), np.float32)
    made[row, column], made[6, 0] = 3.5, -9.0
    return Heatmap(made, rise)


NOTHING = heatmap(rise=3.0)


def capture(map_: Heatmap, made: datetime = NOON, finding: str = "Effusion", sent: bytes = SENT) -> bytes:
    about = {"key": b"a key", "pixels_digest": pixels_digest(FILM.pixels), "model_version": "a-model", "made": made}
    return to_part10(make_secondary_capture(read_source(sent), FILM, map_, finding, **about))


def test_the_overlay_has_the_films_shape_and_is_warm_where_the_evidence_is() -> None:
    with Image.open(io.BytesIO(overlay_png(heatmap(), WHOLE))) as picture:
        assert (picture.size, picture.mode) == ((240, 300), "RGBA")
        alpha = np.asarray(picture)[..., 3]
    assert np.unravel_index(alpha.argmax(), alpha.shape) == pytest.approx((300 * 1.5 / 7, 240 * 5.5 / 7), abs=4)
    assert alpha.max() > 240
    assert (alpha[240:] == 0).all()  # what speaks against it is not shown


def test_a_large_film_is_shown_smaller_and_a_map_without_evidence_is_clear() -> None:
    assert warmth(heatmap().shown, ExposedField.whole(4096, 2048)).shape == (1024, 512)
    assert not warmth(-np.ones((7, 7), np.float32), WHOLE).any()
    with Image.open(io.BytesIO(overlay_png(NOTHING, WHOLE))) as picture:
        assert not np.asarray(picture)[..., 3].any()


def test_a_capture_of_a_map_without_evidence_is_the_film_and_says_so() -> None:
    """A picture is passed on without its header, so the words are in its pixels: more of them than of the finding alone."""
    with_evidence, without = (dcmread(io.BytesIO(capture(one))).pixel_array for one in (heatmap(), NOTHING))
    rows = slice(0, 300)
    assert (without[rows] == without[rows, :, :1]).all()  # grey: the film alone
    assert (with_evidence[rows] != with_evidence[rows, :, :1]).any()
    assert (without[300:] > 0).sum() > (with_evidence[300:] > 0).sum()


def test_the_map_lies_in_the_exposed_field_and_nothing_is_warm_outside_of_it() -> None:
    warm = warmth(heatmap().shown, ExposedField(300, 240, 50, 20, 260, 160))
    assert warm.shape == (300, 240)
    row, column = np.unravel_index(warm.argmax(), warm.shape)
    assert (row, column) == pytest.approx((50 + 210 * 1.5 / 7, 20 + 140 * 5.5 / 7), abs=4)
    warm[50:260, 20:160] = 0
    assert not warm.any()


def test_nothing_is_warm_beyond_a_slanted_edge() -> None:
    """Such a corner is filled before the film is judged, so the map has values there."""
    corner = ((200.0, 0.0), (600.0, 0.0), (600.0, 600.0), (0.0, 600.0), (0.0, 200.0))
    warm = warmth(np.ones((7, 7), np.float32), ExposedField(600, 600, 0, 0, 600, 600, (corner,)))
    row, column = np.mgrid[:600, :600] + 0.5
    assert not warm[row + column < 199].any()
    assert (warm[row + column > 201] == 1).all()
    large = warmth(
        np.ones((7, 7), np.float32), ExposedField(2048, 2048, 0, 0, 2048, 2048, (((0, 0), (2048, 0), (0, 2048)),))
    )
    row, column = np.mgrid[:1024, :1024] + 0.5
    assert not large[row + column > 1025].any()
    assert (large[row + column < 1023] == 1).all()


def test_the_capture_is_valid_and_in_the_films_study() -> None:
    source, written = dcmread(io.BytesIO(SENT)), capture(heatmap())
    read = dcmread(io.BytesIO(written))
    assert read.StudyInstanceUID == source.StudyInstanceUID
    assert (read.PatientID, read.PatientName) == (source.PatientID, source.PatientName)
    assert read.SeriesInstanceUID != source.SeriesInstanceUID
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert read.BurnedInAnnotation == "YES"
    assert "not a medical device" in read.SeriesDescription
    pixels = read.pixel_array
    assert pixels.shape[1:] == (240, 3)
    assert pixels.shape[0] > 300  # the caption
    red, _, blue = pixels[64, 188].astype(int)
    assert red > blue  # warm over the film
    assert (pixels[250, 10] == pixels[250, 10, 0]).all()  # grey elsewhere


def told_by_dciodvfy(written: bytes, folder: Path) -> list[str]:
    """What it says beside the name of the class; a file, because it does not read a stream."""
    (folder / "capture.dcm").write_bytes(written)
    lines = run_tool("dciodvfy", folder / "capture.dcm").splitlines()
    assert "SCImage" in lines
    return [line for line in lines if line != "SCImage"]


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"BodyPartExamined": None},
        {"BodyPartExamined": "THORAX", "Laterality": "R", "PatientOrientation": ["L", "F"]},
        {"Laterality": "", "ImageLaterality": "U", "PatientOrientation": ["R", "F"]},
        {"PatientOrientation": ""},
    ],
    ids=lambda tags: " ".join(tags) or "plain",
)
def test_dciodvfy_finds_no_fault(tags: dict[str, Any], tmp_path: Path) -> None:
    written = capture(heatmap(), sent=film(**tags))
    assert told_by_dciodvfy(written, tmp_path) == []
    read = dcmread(io.BytesIO(written))
    assert read.BodyPartExamined == "CHEST"
    assert "Laterality" not in read
    assert list(read.PatientOrientation or []) == list(tags.get("PatientOrientation") or [])


@pytest.mark.parametrize("value", [["LF", "FR"], ["L"], ["P", "F"], ["L", "F", "L"], ["CANARY", "F"]])
def test_an_orientation_that_is_not_plainly_upright_is_left_out(value: list[str]) -> None:
    assert dcmread(io.BytesIO(capture(heatmap(), sent=film(PatientOrientation=value))))["PatientOrientation"].is_empty


def test_a_chest_with_a_laterality_is_a_fault_that_dciodvfy_finds(tmp_path: Path) -> None:
    read = dcmread(io.BytesIO(capture(heatmap())))
    read.Laterality = "R"
    assert any("Laterality" in line for line in told_by_dciodvfy(to_part10(read), tmp_path))


def test_a_film_whose_uids_have_leading_zeros_has_a_capture_that_refers_to_it(tmp_path: Path) -> None:
    written = capture(
        heatmap(), sent=film_with_bytes(StudyInstanceUID=b"1.2.826.01.3", SOPInstanceUID=b"1.2.826.0.007")
    )
    read = dcmread(io.BytesIO(written))
    assert read.StudyInstanceUID == "1.2.826.01.3"
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.826.0.007"
    faults = [line for line in told_by_dciodvfy(written, tmp_path) if line != SUMMARY]
    assert len(faults) == 2
    assert all("Leading zeroes in embedded numeric component(s)" in line for line in faults)  # the film's own


def test_a_repeat_has_the_same_identity_and_another_finding_another() -> None:
    first, later, other = (
        dcmread(io.BytesIO(one))
        for one in (
            capture(heatmap()),
            capture(heatmap(), NOON + timedelta(days=1)),
            capture(heatmap(), finding="Mass"),
        )
    )
    assert first.SOPInstanceUID == later.SOPInstanceUID
    assert first.SeriesInstanceUID == later.SeriesInstanceUID
    assert first.SOPInstanceUID != other.SOPInstanceUID
