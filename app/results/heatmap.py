"""A class activation map for people: a PNG to lay over the film, or a Secondary Capture of both."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Final

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from app import __version__
from app.pipeline.exposed_field import ExposedField
from app.pipeline.heatmap import Heatmap
from app.pipeline.image import DecodedImage

from .identity import keyed_uid
from .source import Source

#: Longest side of the picture in pixels: a map of 7 x 7 does not get sharper.
LONGEST_SIDE: Final = 1024
#: Share of the film that shows through the warmest place.
STRONGEST: Final = 0.6
#: Raised whenever the picture changes, so that one UID never stands for two.
LAYOUT: Final = "heatmap/4"
SERIES_NUMBER: Final = 9901
#: The line of text under a map that shows nothing.
NOT_LOCALISED: Final = "no place of the film stands out for it"
#: From cold to warm, dark to bright, so that it reads in grey too (matplotlib's inferno, at five places).
COLOURS: Final = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)


def warmth(shown: NDArray[np.float32], field: ExposedField) -> NDArray[np.float32]:
    """The evidence for the finding, as a share of the strongest place, at the size shown.

    Parameters
    ----------
    shown : ndarray, shape (7, 7)
        ``Heatmap.shown``, over the exposed field.
    field : ExposedField
        The film's field. The size shown has the whole film's shape, and no side over ``LONGEST_SIDE``.

    Returns
    -------
    ndarray, float32, in [0, 1]
        Zero where nothing speaks for the finding, and outside of the field.
    """
    scale = min(1.0, LONGEST_SIDE / max(field.rows, field.columns))
    whole = np.zeros((max(1, round(field.rows * scale)), max(1, round(field.columns * scale))), np.float32)
    top, left = round(field.top * scale), round(field.left * scale)
    size = (max(1, round(field.right * scale) - left), max(1, round(field.bottom * scale) - top))
    positive = np.clip(shown, 0, None)
    most = float(positive.max())
    if most > 0:
        positive = positive / most
    enlarged = Image.fromarray(positive.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    whole[top : top + size[1], left : left + size[0]] = np.clip(np.asarray(enlarged, dtype=np.float32), 0, 1)
    for outline in field.outlines:
        within = Image.new("1", whole.shape[::-1], 0)
        ImageDraw.Draw(within).polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in outline], fill=1)
        whole *= np.asarray(within)
    return whole


def overlay_png(heatmap: Heatmap, field: ExposedField) -> bytes:
    """The map alone, as an RGBA PNG that is transparent where nothing speaks for the finding, or all over: not localised."""
    warm = warmth(heatmap.shown, field)
    picture = np.dstack([_coloured(warm), (warm * 255).round()]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture, "RGBA").save(buffer, "PNG")
    return buffer.getvalue()


def make_secondary_capture(
    source: Source,
    image: DecodedImage,
    heatmap: Heatmap,
    finding: str,
    *,
    key: bytes,
    pixels_digest: str,
    model_version: str,
    made: datetime,
) -> Dataset:
    """The film with the map laid over it, as a Secondary Capture (PS3.3 A.8.1) in the film's study.

    The finding, the model and "not a medical device" are burned into it, since a picture is passed on without its header.

    Parameters
    ----------
    image : DecodedImage
        The film.
    heatmap : Heatmap
        From ``Screener.explain``. If it shows nothing, the line of text says so.
    key : bytes
        Key of the capture's UIDs (``identity.keyed_uid``).
    """
    warm = warmth(heatmap.shown, image.field)
    grey = np.asarray(
        Image.fromarray(image.pixels).resize(warm.shape[::-1], Image.Resampling.BILINEAR), dtype=np.float64
    )
    weight = (STRONGEST * warm)[..., None]
    picture = ((1 - weight) * (grey * 255)[..., None] + weight * _coloured(warm)).round().clip(0, 255).astype(np.uint8)
    said = finding if heatmap.localised else f"{finding}: {NOT_LOCALISED}"
    about = (*source.subject, pixels_digest, model_version, LAYOUT, finding)
    local = made.astimezone(source.offset)
    capture = SCImage(
        pixel_array=_captioned(picture, f"cxr-gate {model_version}: {said}. Not a medical device."),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.study_instance_uid,
        series_instance_uid=keyed_uid(key, *about, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=keyed_uid(key, *about, "instance"),
        instance_number=1,
        manufacturer="cxr-gate",
        patient_orientation=("L", "F"),
        specific_character_set="ISO_IR 192",
    )
    more = Dataset()
    more.update(source.identity)
    # The standard's term (PS3.16 annex L) replaces the film's own word, since the film was judged as a chest film. A
    # chest is not paired, so Laterality (0020,0060) must be absent, and is not copied from the film (PS3.3 C.7.3.1).
    more.BodyPartExamined = "CHEST"
    # Only the film's header can say how it lies, and a frontal film need not say it. The film is shown as it lies.
    more.PatientOrientation = list(source.orientation or ())
    more.ConversionType = "SYN"  # a synthetic image (PS3.3 C.8.6.1)
    more.SeriesDescription = f"cxr-gate heatmap: {finding}, not a medical device"
    more.DerivationDescription = "class activation map, less that of typical films, laid over the film"
    more.BurnedInAnnotation = "YES"
    more.SoftwareVersions = [__version__, model_version]
    more.ContentDate = more.InstanceCreationDate = DA(local.date())
    more.ContentTime = more.InstanceCreationTime = TM(local.time().replace(microsecond=0))
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.sop_class_uid, source.sop_instance_uid
    more.SourceImageSequence = [reference]
    capture.update(more)
    return capture


def _coloured(warm: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shape (rows, columns) in [0, 1] -> RGB in [0, 255]."""
    stops = np.linspace(0, 1, len(COLOURS))
    return np.dstack([np.interp(warm, stops, COLOURS[:, channel]) for channel in range(3)])


def _captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """With a line of text beneath."""
    rows, columns = picture.shape[:2]
    font = ImageFont.load_default(size=max(11, columns // 52))
    height = round(2 * font.getbbox(text)[3])
    whole = Image.new("RGB", (columns, rows + height))
    whole.paste(Image.fromarray(picture))
    ImageDraw.Draw(whole).text((height // 4, rows + height // 4), text, fill="white", font=font)
    return np.asarray(whole)
