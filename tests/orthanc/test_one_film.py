"""What is judged is what Orthanc shows, in other tones at most: by its page's preview, and by its rendering with the window.

Both are pictures of a program that shares no code with this one. Films that they show otherwise are refused or noted.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from scipy.stats import spearmanr

from app.pipeline import decode
from app.pipeline.errors import InputError
from tests.pipeline.test_ordinary_headers import HEADERS, Detector
from tests.pipeline.test_two_films import PLAIN, SAME
from tests.pipeline.two_films import NOTED, REFUSED, A
from tests.support.films import part10
from tests.support.orthanc import Orthanc

#: Of ranks: 1 where one picture is the other in other tones. Clipped black and white have one rank each.
ALIKE = 0.98
REAL = (
    "cr_chest_15bit_monochrome1",
    "cr_chest_jpeg_baseline",
    "dx_chest_cardiomegaly",
    "dx_chest_effusion",
    "dx_chest_no_finding",
)
ORDINARY = (
    "no window", "window", "window, exact", "window, sigmoid", "normal, softer, harder", "LUT, and its window",
    "LUT with toe and shoulder, and its window", "signed, rescaled", "MONOCHROME1", "MONOCHROME1, LUT and window",
)  # fmt: skip
#: A few of each kind; Orthanc's own reader takes one of two tags before it could show the other.
HOSTILE = (
    "LUT of the low byte, and a window", "LUT of the low nibbles of 12 bits", "LUT that folds", "LUT in random order",
    "LUT that falls, and a window that rises", "LUT that hides what the window shows", "modality LUT of the low byte",
    "two windows on two films, in columns", "padding over a half of the film", "8 bits stored in 16, and a window",
    "12 bits stored, and four of another film above", "two frames of which one is declared",
)  # fmt: skip


def shown(orthanc: Orthanc, data: bytes) -> list[NDArray[np.uint8]]:
    """What Orthanc shows of a film, as greys."""
    dataset = dcmread(io.BytesIO(data))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):  # without them it stores nothing
        setattr(dataset, keyword, dataset.get(keyword) or "1.2.3")
    stream = io.BytesIO()
    dataset.save_as(stream)
    instance = orthanc.client.post("/instances", content=stream.getvalue()).json()["ID"]
    pictures = []
    for way in ("preview", "rendered"):
        answer = orthanc.client.get(f"/instances/{instance}/{way}", headers={"Accept": "image/png"})
        assert answer.status_code == 200, answer.text
        with Image.open(io.BytesIO(answer.content)) as image:
            pictures.append(np.asarray(image.convert("L")))
    orthanc.client.delete(f"/instances/{instance}")
    return pictures


def likeness(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Rank correlation; 0 where a picture is of one grey."""
    return float(np.nan_to_num(spearmanr(one.ravel(), other.ravel()).statistic))


def ordinary(shared_data: Path) -> dict[str, bytes]:
    films = {name: (shared_data / f"dicom/{name}.dcm").read_bytes() for name in REAL}
    films |= {name: part10(dataset) for name, dataset in SAME.items()}
    path = min((shared_data / "chest_xrays/images").glob("*.png"))
    with Image.open(path) as image:
        detector = Detector(np.asarray(image.convert("L").reduce(2)) / 255.0, 12)
    return films | {name: part10(HEADERS[name](detector)) for name in ORDINARY}


@pytest.mark.filterwarnings("ignore:An input array is constant")  # a film that Orthanc shows as one grey
def test_orthanc_shows_what_is_judged(orthanc: Orthanc, shared_data: Path) -> None:
    for name, data in ordinary(shared_data).items():
        pixels = decode(data).pixels
        for picture in shown(orthanc, data):
            assert likeness(pixels, picture) > ALIKE, name
    differing = []
    for name, (make, _) in NOTED.items():
        image = decode(make())
        if min(likeness(image.pixels, picture) for picture in shown(orthanc, make())) <= ALIKE:
            differing.append(name)
            assert [note for note in image.notes if not PLAIN.fullmatch(note)], name
    assert {"LUT that inverts", "window of another modality"} <= set(differing)
    for name in HOSTILE:
        with pytest.raises(InputError):
            decode(REFUSED[name][0](), kind="dicom")
        shown(orthanc, REFUSED[name][0]())  # it shows what is refused here
    # Two films for one: A on Orthanc's pages, where the LUT would have B judged.
    for picture in shown(orthanc, REFUSED["LUT of the low byte, and a window"][0]()):
        assert likeness(A, picture) > ALIKE
