"""DICOM gives the pixels that the standard prescribes, and what is no frontal chest film is refused by its tag."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from app.pipeline import decode
from app.pipeline.errors import ImageTooLarge, InputError, MalformedImage, UnsuitableImage, UnsupportedMedia
from tests.support.films import part10

from .films import PATIENT_ID, film, stored12

MPEG2 = "1.2.840.10008.1.2.4.100"


def pixels_of(dataset: Dataset) -> NDArray[np.float32]:
    return decode(part10(dataset)).pixels


# The real films


def test_lossless_jpeg2000_is_the_raw_film_to_the_bit(shared_data: Path) -> None:
    raw = decode((shared_data / "dicom/cr_chest_15bit_monochrome1.dcm").read_bytes())
    j2k = decode((shared_data / "dicom/cr_chest_15bit_j2k_lossless.dcm").read_bytes())
    assert raw.source_kind == "dicom"
    np.testing.assert_array_equal(raw.pixels, j2k.pixels)


def test_lossy_jpeg2000_is_close_to_the_raw_film(shared_data: Path) -> None:
    raw = decode((shared_data / "dicom/cr_chest_15bit_monochrome1.dcm").read_bytes())
    lossy = decode((shared_data / "dicom/cr_chest_15bit_j2k_lossy.dcm").read_bytes())
    assert 0 < np.abs(raw.pixels - lossy.pixels).mean() < 0.01


def test_monochrome1_is_windowed_then_inverted(shared_data: Path) -> None:
    path = shared_data / "dicom/cr_chest_15bit_monochrome1.dcm"
    stored = dcmread(path).pixel_array.astype(np.float64)
    expected = 1 - np.clip((stored - 14999.5) / 29999 + 0.5, 0, 1)  # PS3.3 C.11.2.1.2.1
    np.testing.assert_allclose(decode(path.read_bytes()).pixels, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["dx_chest_no_finding", "dx_chest_cardiomegaly", "dx_chest_effusion"])
def test_eight_bits_without_a_window_are_taken_as_they_are(shared_data: Path, name: str) -> None:
    path = shared_data / f"dicom/{name}.dcm"
    image = decode(path.read_bytes())
    np.testing.assert_array_equal(image.pixels, dcmread(path).pixel_array.astype(np.float32) / np.float32(255))
    assert "ViewPosition missing" in image.notes


def test_jpeg_baseline(shared_data: Path) -> None:
    path = shared_data / "dicom/cr_chest_jpeg_baseline.dcm"
    np.testing.assert_allclose(decode(path.read_bytes()).pixels, dcmread(path).pixel_array / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dx_ribcage_same_film", r"BodyPartExamined \(0018,0015\) is 'RIBCAGE'"),
        ("dx_dog_thorax_monochrome1", r"AcquisitionDeviceProcessingDescription \(0018,1400\) names a lateral view"),
    ],
)
def test_real_films_that_are_no_chest_films(shared_data: Path, name: str, words: str) -> None:
    with pytest.raises(UnsuitableImage, match=words) as caught:
        decode((shared_data / f"dicom/{name}.dcm").read_bytes())
    assert "VeryGood" not in str(caught.value)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_other_modalities(name: str) -> None:
    data = Path(get_testdata_file(name, download=False)).read_bytes()
    with pytest.raises(UnsuitableImage, match=rf"Modality \(0008,0060\) is '{name[:2]}'"):
        decode(data)


@pytest.mark.parametrize("keyword", ["BodyPartExamined", "ViewPosition"])
def test_a_missing_tag_is_noted(keyword: str) -> None:
    assert f"{keyword} missing" in decode(part10(film(**{keyword: None}))).notes


@pytest.mark.parametrize("view", ["PA", "AP"])
@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_frontal_films_are_taken(modality: str, view: str) -> None:
    assert pixels_of(film(Modality=modality, ViewPosition=view)).shape == (256, 256)


# Refusals


def without_pixels() -> Dataset:
    return film(PixelData=None)


def mpeg2() -> Dataset:
    dataset = film(PixelData=encapsulate([b"\0" * 100]))
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = MPEG2
    return dataset


def colour() -> Dataset:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[..., 0] = np.arange(256)
    return film(
        pixels.reshape(256, 768), Columns=256, SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )  # fmt: skip


REFUSED: dict[str, tuple[Callable[[], Dataset], type[InputError], str]] = {
    "mammogram": (lambda: film(Modality="MG"), UnsuitableImage, r"Modality \(0008,0060\) is 'MG'"),
    "no modality": (lambda: film(Modality=None), UnsuitableImage, r"Modality \(0008,0060\) is absent"),
    "hand": (lambda: film(BodyPartExamined="HAND"), UnsuitableImage, r"\(0018,0015\) is 'HAND'"),
    "name in the body part": (lambda: film(BodyPartExamined="DOE JANE"), UnsuitableImage, r"\(0018,0015\)"),
    "lateral": (lambda: film(ViewPosition="LL"), UnsuitableImage, r"ViewPosition \(0018,5101\) is 'LL'"),
    "animal": (lambda: film(PatientSpeciesDescription="Canis lupus"), UnsuitableImage, r"\(0010,2201"),
    "no pixels": (without_pixels, MalformedImage, r"PixelData \(7FE0,0010\) is absent"),
    "MPEG2": (mpeg2, UnsupportedMedia, "transfer syntax MPEG2"),
    "colour": (colour, UnsuitableImage, r"PhotometricInterpretation \(0028,0004\) is 'RGB', and"),
    "several frames": (
        lambda: film(stored12()[:, :], NumberOfFrames=2, PixelData=stored12().tobytes() * 2),
        UnsuitableImage,
        r"NumberOfFrames \(0028,0008\)",
    ),
    "60000 rows": (lambda: film(Rows=60_000, Columns=60_000), ImageTooLarge, "60000 x 60000"),
    "fewer pixels than claimed": (lambda: film(Rows=300, Columns=300), MalformedImage, "damaged or cut short"),
    "no rows": (lambda: film(Rows=None), MalformedImage, r"Rows \(0028,0010\)"),
    "zero columns": (lambda: film(Columns=0), MalformedImage, r"Columns \(0028,0011\)"),
    "thumbnail": (lambda: film(stored12()[:100, :100].copy()), UnsuitableImage, "at least 224"),
    "constant": (lambda: film(np.full((256, 256), 9, np.uint8)), UnsuitableImage, "one value"),
    "constant of 12 bits": (lambda: film(np.full((256, 256), 9, np.uint16)), UnsuitableImage, "too little range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, error, words = REFUSED[name]
    with pytest.raises(error, match=words) as caught:
        decode(part10(make()))
    assert type(caught.value) is error
    shown = str(caught.value).upper()
    assert "DOE" not in shown
    assert "JANE" not in shown
    assert PATIENT_ID not in shown


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01], ids=lambda part: f"{part:.1%} of the file")
def test_truncated(kept: float) -> None:
    data = part10(film())
    with pytest.raises(MalformedImage) as caught:
        decode(data[: max(140, int(kept * len(data)))])
    assert "Doe" not in str(caught.value)


def test_a_data_set_without_a_part_10_header_is_not_guessed_at() -> None:
    with pytest.raises(MalformedImage, match="DICM"):
        decode(part10(film())[132:])


def test_an_animal_is_refused_at_any_size(shared_data: Path) -> None:
    """The dog's film is small; enlarged to a usable size its tags still say THORAX, and nothing of a species."""
    dog = dcmread(shared_data / "dicom/dx_dog_thorax_monochrome1.dcm")
    assert not dog.get("PatientSpeciesDescription")
    enlarged = np.kron(dog.pixel_array, np.ones((2, 2), dog.pixel_array.dtype))
    dog.Rows, dog.Columns = enlarged.shape
    dog.PixelData = enlarged.tobytes()
    dog.PatientSpeciesDescription = "Canis lupus familiaris"
    with pytest.raises(UnsuitableImage, match="animal"):
        decode(part10(dog))
