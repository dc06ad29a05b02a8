"""Whether high values are bright: this service says what Orthanc's preview says, also where a header contradicts itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from app.pipeline import decode
from tests.pipeline import dcmtk
from tests.pipeline.films import film
from tests.support.films import part10
from tests.support.orthanc import Orthanc

RAMP = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
CONTRADICTIONS = {("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")}


def falls(pixels: np.ndarray) -> bool:
    return bool(pixels[0, 0] > pixels[0, -1])


def test_as_orthanc_shows_it_and_as_dcmtk_where_the_header_is_consistent(orthanc: Orthanc, tmp_path: Path) -> None:
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for shape in (None, "IDENTITY", "INVERSE"):
            tags = {
                "PhotometricInterpretation": photometric,
                "StudyInstanceUID": "1.2.3",
                "SeriesInstanceUID": "1.2.4",
            }
            data = part10(film(RAMP, **tags, **({"PresentationLUTShape": shape} if shape else {})))
            stored = orthanc.client.post("/instances", content=data).json()["ID"]
            preview = orthanc.client.get(f"/instances/{stored}/preview", headers={"Accept": "image/png"}).content
            with Image.open(io.BytesIO(preview)) as image:
                shown = np.asarray(image.convert("L"))
            assert falls(decode(data).pixels) == falls(shown) == (photometric == "MONOCHROME1")
            agrees = falls(dcmtk.rendered(data, bits=8, folder=tmp_path)) == falls(shown)
            assert agrees == ((photometric, shape) not in CONTRADICTIONS)
