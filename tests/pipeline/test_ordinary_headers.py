"""Headers as vendors send them, on films of the collection: none is refused, and each shows the film that it was made of.

A film of the collection was made for a screen. Here it is carried back to a detector's values, lungs and spine spread as a
logarithmic detector has them, and gets air that grows brighter to one side, and noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpeg_encode, jpegls_encode
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from scipy.stats import spearmanr

from app.pipeline import decode
from app.pipeline.errors import MalformedImage
from tests.support.films import compressed, part10

from .films import film
from .two_films import lut, overlaid

DEPTHS = (10, 12, 14, 16)
FILMS = (5, 700)
Values = NDArray[np.int64]


@pytest.fixture(scope="module")
def shown(shared_data: Path) -> list[NDArray[np.float64]]:
    """Films as they look, in [0, 1], 256 x 256."""
    paths = sorted((shared_data / "chest_xrays/images").glob("*.png"))
    return [np.asarray(Image.open(paths[at]).convert("L").reduce(2)) / 255.0 for at in FILMS]


class Detector:
    """A film as a detector of so many bits has it, and what is sent with it."""

    def __init__(self, shown: NDArray[np.float64], bits: int) -> None:
        self.bits, self.most = bits, 2**bits - 1
        clipped = np.clip(shown, 0.015, 0.985)
        values = 0.5 + np.log(clipped / (1 - clipped)) / 8.6
        values += (shown < 0.03) * 0.08 * (np.linspace(0, 1, shown.shape[1]) - 0.9)
        values += np.random.default_rng(bits).normal(0, 0.005, shown.shape)
        self.values: Values = np.clip(np.rint(values * self.most), 0, self.most).astype(np.int64)
        self.low, self.high = np.percentile(self.values, [1, 99])
        self.middle, self.width = (self.low + self.high) / 2, self.high - self.low

    def film(self, values: Values | None = None, **tags: object) -> Dataset:
        stored = self.values if values is None else values
        kind = np.int16 if stored.min() < 0 else np.uint16
        return film(stored.astype(kind), **({"BitsStored": self.bits, "HighBit": self.bits - 1} | tags))

    def windows(self, *widths: float, shift: float = 0) -> dict[str, object]:
        """About the middle, of so many times the film's width."""
        centers = [round(self.middle + shift)] * len(widths)
        return {"WindowCenter": centers, "WindowWidth": [round(self.width * each) for each in widths]}

    def whole(self) -> dict[str, object]:
        return {"WindowCenter": (self.most + 1) // 2, "WindowWidth": self.most + 1}

    def sigmoid(self, width: float = 1.0, bits: int = 12, inverse: bool = False) -> Dataset:
        middle = self.most - self.middle if inverse else self.middle
        return lut(_sigmoid((np.arange(self.most + 1) - middle) / self.width / width, bits), bits)

    def curve(self, bits: int = 12, stated: int | None = None) -> Dataset:
        """Toe and shoulder, as of film."""
        place = np.clip((np.arange(self.most + 1) - self.low) / self.width, 0, 1)
        return lut(np.rint((2**bits - 1) * place**2 * (3 - 2 * place)), stated or bits)

    def inverted(self) -> Values:
        return self.most - self.values


def _sigmoid(place: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    return np.rint((2**bits - 1) / (1 + np.exp(-4 * place)))


def luts(*tables: Dataset) -> dict[str, object]:
    return {"VOILUTSequence": Sequence(tables)}


def annotated(values: Values, most: int) -> Values:
    values = values.copy()
    values[8:16, 8:48:2] = most
    values[120] = most
    return values


def collimated(values: Values, scatter: float = 0) -> Values:
    values = values.copy()
    values[:, :40] = values[:, :40] * scatter
    values[:, -30:] = values[:, -30:] * scatter
    return values


NORMAL_SOFT_HARD = {"WindowCenterWidthExplanation": ["NORMAL", "SOFTER", "HARDER"]}
MONOCHROME1 = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
PlainMaker = Callable[[Detector], Dataset]
HEADERS: dict[str, PlainMaker] = {
    "no window": lambda of: of.film(),
    "window of all values": lambda of: of.film(**of.whole()),
    "window": lambda of: of.film(**of.windows(1)),
    "window, exact": lambda of: of.film(**of.windows(1), VOILUTFunction="LINEAR_EXACT"),
    "window, sigmoid": lambda of: of.film(**of.windows(1), VOILUTFunction="SIGMOID"),
    "normal, softer, harder": lambda of: of.film(**of.windows(1, 1.25, 0.75), **NORMAL_SOFT_HARD),
    "harder first": lambda of: of.film(**of.windows(0.75, 1, 1.25)),
    "normal, softer, harder, sigmoid": lambda of: of.film(**of.windows(1, 1.25, 0.75), VOILUTFunction="SIGMOID"),
    "window, and that of all values": lambda of: of.film(
        WindowCenter=[round(of.middle), of.most // 2], WindowWidth=[round(of.width), of.most]
    ),
    "LUT": lambda of: of.film(**luts(of.sigmoid())),
    "LUT of 16 bits": lambda of: of.film(**luts(of.curve(16))),
    "LUT of 8 bits": lambda of: of.film(**luts(of.curve(8))),
    "LUT of 10 bits, said to be of 16": lambda of: of.film(**luts(of.curve(10, 16))),
    "LUTs normal, soft, hard": lambda of: of.film(**luts(of.sigmoid(), of.sigmoid(1.3), of.sigmoid(0.75))),
    "LUT, and its window": lambda of: of.film(**luts(of.sigmoid()), **of.windows(1)),
    "LUT, and three windows": lambda of: of.film(**luts(of.sigmoid()), **of.windows(1, 1.25, 0.75)),
    "LUT, and the window of all values": lambda of: of.film(**luts(of.sigmoid()), **of.whole()),
    "LUT with toe and shoulder, and its window": lambda of: of.film(**luts(of.curve()), **of.windows(1)),
    "LUT with toe and shoulder, and a narrow window": lambda of: of.film(**luts(of.curve()), **of.windows(0.7)),
    "LUTs, and windows": lambda of: of.film(**luts(of.sigmoid(), of.sigmoid(0.8)), **of.windows(1, 1.4)),
    "rescaled, by 1": lambda of: of.film(RescaleSlope=1, RescaleIntercept=0, RescaleType="US", **of.windows(1)),
    "rescaled below 0": lambda of: of.film(
        RescaleSlope=1, RescaleIntercept=-of.most // 2, **of.windows(1, shift=-of.most // 2)
    ),
    "signed": lambda of: of.film(of.values - of.most // 2 - 1, **of.windows(1, shift=-of.most // 2)),
    "signed, rescaled": lambda of: of.film(
        of.values - of.most // 2 - 1, RescaleSlope=1, RescaleIntercept=of.most // 2 + 1, **of.windows(1)
    ),
    "MONOCHROME1": lambda of: of.film(of.inverted(), **MONOCHROME1, **of.windows(1, shift=of.most - 2 * of.middle)),
    "MONOCHROME1, LUT": lambda of: of.film(of.inverted(), **MONOCHROME1, **luts(of.sigmoid(inverse=True))),
    "MONOCHROME1, LUT and window": lambda of: of.film(
        of.inverted(), **MONOCHROME1, **luts(of.sigmoid(inverse=True)), **of.windows(1, shift=of.most - 2 * of.middle)
    ),
    "MONOCHROME1 without a shape": lambda of: of.film(
        of.inverted(), PhotometricInterpretation="MONOCHROME1", **of.whole()
    ),
    "burned-in annotation": lambda of: of.film(annotated(of.values, of.most), **of.windows(1)),
    "burned-in annotation, LUT": lambda of: of.film(annotated(of.values, of.most), **luts(of.sigmoid()), **of.windows(1)),
    "collimated": lambda of: of.film(collimated(of.values), **of.windows(1), PixelPaddingValue=0),
    "collimated, LUT and window": lambda of: of.film(collimated(of.values), **luts(of.sigmoid()), **of.windows(1)),
    "collimated with scatter": lambda of: of.film(collimated(of.values, 0.05), **luts(of.sigmoid()), **of.windows(1)),
    "overlay in a high bit": lambda of: overlaid(
        of.film((of.values + (_text() << 15)) if of.bits < 15 else None, **of.windows(1)), *[15] * (of.bits < 15)
    ),
    "at the top of 16": lambda of: of.film(of.values << (16 - of.bits), HighBit=15, **of.windows(1)),
}  # fmt: skip


def _text() -> Values:
    text = np.zeros((256, 256), np.int64)
    text[10:20, 200:240:3] = 1
    return text


def detectors(
    shown: list[NDArray[np.float64]], depths: tuple[int, ...] = DEPTHS
) -> Iterator[tuple[Detector, NDArray[np.float64]]]:
    for each in shown:
        for bits in depths:
            yield Detector(each, bits), each


def require_the_film(pixels: NDArray[np.float32], shown: NDArray[np.float64], least: float) -> None:
    """In other tones at most: the order of brightness stays, away from what was drawn or cut off at the sides."""
    part = np.s_[130:, 45:220]
    assert spearmanr(pixels[part].ravel(), shown[part].ravel()).statistic > least


def test_there_are_more_than_two_hundred() -> None:
    assert len(HEADERS) * len(FILMS) * len(DEPTHS) > 200


@pytest.mark.parametrize("name", HEADERS)
def test_an_ordinary_header_is_not_refused(name: str, shown: list[NDArray[np.float64]]) -> None:
    for detector, original in detectors(shown):
        require_the_film(decode(part10(HEADERS[name](detector))).pixels, original, 0.95)


# Lossy compression, which carries white beyond the bits stored


def with_white(of: Detector) -> Values:
    """A white border and white text, where every codec overshoots."""
    values = annotated(of.values, of.most)
    values[:24] = values[:, :16] = of.most
    return values


LOSSY: dict[str, tuple[str, Callable[[Detector, NDArray[np.uint16]], bytes]]] = {
    "JPEG of 12 bits, quality 50": (
        JPEGExtended12Bit,
        lambda of, words: jpeg_encode(words, level=50, bitspersample=12),
    ),
    "JPEG of 12 bits, quality 90": (
        JPEGExtended12Bit,
        lambda of, words: jpeg_encode(words, level=90, bitspersample=12),
    ),
    "JPEG-LS": (JPEGLSNearLossless, lambda of, words: jpegls_encode(words, level=3)),
    "JPEG 2000 of 16 bits": (JPEG2000, lambda of, words: jpeg2000(words, 80, 16)),
    "JPEG 2000": (JPEG2000, lambda of, words: jpeg2000(words, 50, of.bits)),
}


def jpeg2000(words: NDArray[np.uint16], decibels: int, bits: int) -> bytes:
    return jpeg2k_encode(words, level=decibels, bitspersample=bits, reversible=False, codecformat="j2k")


def coded(name: str, of: Detector, words: NDArray[np.integer], **tags: object) -> bytes:
    syntax, encode = LOSSY[name]
    words = words.astype(np.uint16)
    return part10(compressed(encode(of, words), syntax, of.film(words.astype(np.int64), **of.whole(), **tags)))


@pytest.mark.parametrize("name", LOSSY)
def test_white_that_overshoots_stays_white(name: str, shown: list[NDArray[np.float64]]) -> None:
    for of, original in detectors(shown, (10, 12)):
        image = decode(coded(name, of, with_white(of)))
        require_the_film(image.pixels, original, 0.9)
        assert image.pixels[:20].min() > 0.9, image.notes


@pytest.mark.parametrize("name", LOSSY)
def test_air_that_overshoots_stays_black(name: str, shown: list[NDArray[np.float64]]) -> None:
    for of, original in detectors(shown, (10, 12)):
        of.values = of.inverted()
        image = decode(coded(name, of, with_white(of), **MONOCHROME1))
        require_the_film(image.pixels, original, 0.9)
        assert image.pixels[:20].max() < 0.1, image.notes


def test_baseline_jpeg_is_read(shown: list[NDArray[np.float64]]) -> None:
    for original in shown:
        stored = np.rint(original * 255).astype(np.uint8)
        stored[:24] = 255
        frame = jpeg8_encode(stored, level=60)
        data = part10(compressed(frame, JPEGBaseline8Bit, film(stored, WindowCenter=128, WindowWidth=256)))
        require_the_film(decode(data).pixels, original, 0.95)


def test_a_film_in_the_bits_of_a_lossy_stream_is_refused(shown: list[NDArray[np.float64]]) -> None:
    """What overshoots far, or in part of the film: the upper bits of a second film are no overshoot."""
    first, second = (Detector(each, 10).values for each in shown)
    of = Detector(shown[0], 10)
    both = first // 2 + np.where(np.arange(256) % 4 == 0, 1024 + second // 2, 0)
    for name in ("JPEG of 12 bits, quality 90", "JPEG-LS", "JPEG 2000 of 16 bits"):
        with pytest.raises(MalformedImage, match="bits set outside BitsStored"):
            decode(coded(name, of, both))
