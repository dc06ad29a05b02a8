"""Images that are no frontal chest film, and what the check of content says of films.

What is no chest film here was not fitted on: files of the packages pydicom and pydicom-data, sample pictures of scikit-learn
and matplotlib, and text, noise and patterns made here in another way than in ``offline/gate/content/drawn.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib.cbook
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.data import get_testdata_file
from scipy import ndimage
from sklearn.datasets import load_sample_image
from torch import Tensor

from app.pipeline import Screener, decode, film_tensor, picture_tensor
from app.pipeline.errors import InputError
from app.pipeline.image import INPUT_SIDE
from app.pipeline.network import LogitsOnly
from app.pipeline.verdict import Verdict
from offline.attacks import as_posted, attack, paper_attacks
from offline.data.films import of_split, read_films
from offline.data.harmless import CHANGES
from offline.data.loading import as_written, load_pixels
from offline.gate.content.changed import Shapes, bent, toned
from offline.gate.content.exposed import exposures
from offline.gate.content.project import read_projections
from offline.gate.orientation import in_every_sense

Grey = NDArray[np.float32]
BATCH: Final = 16
EPSILON: Final = 0.02
#: Test films that are changed and turned, and that are attacked.
CHANGED: Final = 60
ATTACKED: Final = 24
#: Names in pydicom and pydicom-data -> what they show.
FILES: Final[dict[str, str]] = {
    "CT": "693_UNCI CT_small eCT_Supplemental explicit_VR-UN J2K_pixelrep_mismatch",
    "MR": "MR2_UNCI MR_small MR-SIEMENS-DICOM-WithOverlays emri_small examples_overlay",
    "US": "US1_UNCI OBXXXX1A gdcm-US-ALOKA-16 color-px examples_palette color3d_jpeg_baseline "
    "examples_rgb_color examples_ybr_color",
    "NM": "JPEG2000_UNC",
    "CR of a leg": "RG3_UNCI",
    "test pictures": "mlut_18 vlut_04 image_dfl SC_rgb SC_rgb_jpeg liver_1frame SC_jpeg_no_color_transform",
}


def stretched(values: Any) -> Grey:
    """Grey between the .5th and the 99.5th percentile, in [0, 1]; colours by their luma."""
    grey = np.asarray(values, dtype=np.float32)
    if grey.ndim == 3:
        grey = grey[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    low, high = np.percentile(grey, [0.5, 99.5])
    if low == high:
        low, high = grey.min(), grey.max()
    return np.asarray(np.clip((grey - low) / (high - low), 0, 1), dtype=np.float32)


def dicom_pictures() -> Iterator[tuple[str, str, Grey]]:
    """(kind, name, picture) of ``FILES``: of films of many frames the first, the middle and the last."""
    for kind, names in FILES.items():
        for name in names.split():
            path = get_testdata_file(f"{name}.dcm", download=False)
            if path is None:
                raise SystemExit(f"{name}.dcm is not there: install the package pydicom-data")
            film = pydicom.dcmread(str(path))
            frames = film.pixel_array
            count = int(film.get("NumberOfFrames") or 1)
            chosen = [frames] if count == 1 else [frames[i] for i in sorted({0, count // 2, count - 1})]
            for number, frame in enumerate(chosen):
                picture = stretched(frame)
                yield (
                    kind,
                    f"{name} {number}",
                    1 - picture if film.PhotometricInterpretation == "MONOCHROME1" else picture,
                )
                if kind == "CT":
                    units = frame * float(film.get("RescaleSlope", 1)) + float(film.get("RescaleIntercept", 0))
                    yield kind, f"{name} {number}, soft tissue", np.clip((units + 160) / 400, 0, 1).astype(np.float32)


def other_pictures() -> Iterator[tuple[str, str, Grey]]:
    """(kind, name, picture): photographs, text, noise, patterns."""
    face = Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("L")
    photographs = {
        "china": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
        "face": np.asarray(face),
    }
    for name, photograph in photographs.items():
        picture = stretched(photograph)
        half = picture.shape[1] // 2
        for part, shown in (("", picture), (", left", picture[:, :half]), (", right", picture[:, half:])):
            yield "photographs", name + part, shown
        yield "photographs", f"{name}, negative", 1 - picture
    generator = np.random.default_rng(0)
    for size in (12, 16, 22, 30, 44, 70):
        page = Image.new("L", (800, 1000), 255)
        draw = ImageDraw.Draw(page)
        for row in range(40, 960, int(1.5 * size)):
            draw.text((40, row), "No acute finding. The heart is normal. " * 3, fill=0, font_size=size)
        yield "text", f"{size} pixels", stretched(page)
        yield "text", f"{size} pixels, bright on dark", 1 - stretched(page)
    for deviation in (0, 1, 2, 4, 8, 16, 32, 64):
        yield (
            "noise",
            f"blurred by {deviation}",
            stretched(ndimage.gaussian_filter(generator.normal(size=(512, 512)), deviation)),
        )
    y, x = np.mgrid[0:512, 0:512] / 511
    discs = (np.hypot(x - 0.3, (y - 0.5) * 0.6) < 0.18) | (np.hypot(x - 0.7, (y - 0.5) * 0.6) < 0.18)
    patterns: dict[str, NDArray[Any]] = {
        "ramp across": x,
        "ramp down": y,
        "rings": np.cos(300 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)),
        "checks": (np.floor(x * 8) + np.floor(y * 8)) % 2,
        "stripes": np.floor(x * 12) % 2,
        "disc": np.hypot(x - 0.5, y - 0.5) < 0.3,
        "two bright ovals": discs,
        "two dark ovals": ~discs,
        "half": x > 0.5,
        "stairs": np.floor(x * 16),
    }
    for name, pattern in patterns.items():
        yield "patterns", name, stretched(pattern)


def as_input(picture: Grey) -> Tensor:
    """A picture of any size as the gate's input, shape (1, 1, 224, 224); a small one is enlarged first."""
    enlarge = INPUT_SIDE / min(picture.shape)
    if enlarge > 1:
        rows, columns = (int(np.ceil(side * enlarge)) for side in picture.shape)
        image = Image.fromarray((picture * 255).astype(np.uint8)).resize((columns, rows), Image.Resampling.BICUBIC)
        picture = np.asarray(image, np.float32) / np.float32(255)
    return picture_tensor(as_written(picture))


def outcomes(screener: Screener, images: list[Tensor] | Tensor) -> list[str]:
    """What becomes of images, each of shape (1, 1, 224, 224)."""
    found = []
    stacked = images if isinstance(images, Tensor) else torch.cat(images)
    for batch in stacked.split(BATCH):  # type: ignore[no-untyped-call]
        for result in screener.screen(batch.contiguous()):
            if isinstance(result, Verdict):
                found.append("probabilities" if result.accepted else "422 adversarial")
            else:
                words = str(result)
                found.append(
                    "400 lateral"
                    if "lateral view" in words
                    else "400 no chest film"
                    if "frontal" in words
                    else "400 turned"
                )
    return found


def hospitals(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Films of the shared folder's DICOM files; tags that say what they show are taken out."""
    for path in sorted(folder.glob("*.dcm")):
        film = pydicom.dcmread(path)
        for word in ("BodyPartExamined", "ViewPosition", "PatientSpeciesDescription", "PatientOrientation"):
            film.pop(word, None)
        try:
            stream = pydicom.filebase.DicomBytesIO()
            film.save_as(stream)
            yield path.name, film_tensor(decode(stream.getvalue()))
        except InputError:
            pixels = stretched(film.pixel_array)
            yield path.name, as_input(1 - pixels if film.PhotometricInterpretation == "MONOCHROME1" else pixels)


def rows(screeners: Mapping[str, Screener], data: Path) -> Iterator[dict[str, Any]]:
    """A row for each bundle and kind of picture: the counts of each answer, and the pictures that are not refused as
    unsuitable."""
    for bundle, screener in screeners.items():
        for row in _of_bundle(screener, data):
            yield {"bundle": bundle, **row}


def _of_bundle(screener: Screener, data: Path) -> Iterator[dict[str, Any]]:
    def row(name: str, images: list[Tensor] | Tensor, names: list[str] | None = None) -> dict[str, Any]:
        found = outcomes(screener, images)
        told: dict[str, Any] = {"images": name, "outcomes": dict(sorted(Counter(found).items()))}
        if names is not None:
            told["not told"] = [n for n, one in zip(names, found, strict=True) if not one.startswith("400")]
        return told

    test = of_split(read_films(data / "chest_xrays"), "test")
    pixels = [load_pixels(film.path) for film in test]
    yield row("test films", [picture_tensor(one) for one in pixels])
    some = pixels[:: max(1, len(pixels) // CHANGED)][:CHANGED]
    for name, change in CHANGES.items():
        if not name.startswith(("none", "rotation 90")):
            yield row(f"test films, {name}", [picture_tensor(as_written(change(one))) for one in some])
    for sense, turned in in_every_sense(torch.cat([picture_tensor(one) for one in some])).items():
        yield row(f"test films, {sense}", torch.cat(turned))
    generator = np.random.default_rng(7)
    for view, rays in (("frontal", read_projections().frontal), ("lateral", read_projections().lateral)):
        shown = toned(bent(exposures(rays, 60, generator, view == "lateral"), generator, Shapes()), generator)
        yield row(
            f"projections, {view}", torch.nn.functional.interpolate(shown[:, None], size=(INPUT_SIDE, INPUT_SIDE))
        )
    dicom = dict(hospitals(data / "dicom"))
    yield row("frontals of other hospitals", [film for name, film in dicom.items() if "dog" not in name])
    yield row("a dog's lateral", [film for name, film in dicom.items() if "dog" in name])
    kinds: dict[str, list[tuple[str, Grey]]] = {}
    for kind, name, picture in (*dicom_pictures(), *other_pictures()):
        kinds.setdefault(kind, []).append((name, picture))
    for kind, named in kinds.items():
        yield row(f"no chest film: {kind}", [as_input(picture) for _, picture in named], [name for name, _ in named])
    victims = torch.cat([picture_tensor(one) for one in pixels[:: len(pixels) // ATTACKED][:ATTACKED]])
    for name, options in paper_attacks(EPSILON).items():
        moved = torch.cat([attack(LogitsOnly(screener.bundle.network), one, options) for one in victims.split(BATCH)])  # type: ignore[no-untyped-call]
        yield row(f"attacked, {name} at {EPSILON}", as_posted(moved))
