"""Makers of DICOM files whose judged and displayed film differ: each is a way to hide one film behind another.

A and B are two unlike films of 8 bits; the greater part of the makers puts both into the words of one file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.support.films import compressed, part10

from .films import film

SIDE = 256
_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE]


def _film(waves: NDArray[np.floating], seed: int) -> NDArray[np.int64]:
    spread = (waves - waves.min()) / (waves.max() - waves.min()) * 250
    noise = np.random.default_rng(seed).normal(0, 2, waves.shape)
    return np.clip(np.rint(spread + noise), 0, 255).astype(np.int64)


A = _film(np.sin(_COLUMNS / 40) * np.cos(_ROWS / 30), 1)
B = _film(np.cos(_COLUMNS / 17 + _ROWS / 23) + _ROWS / 90, 2)
BOTH = (A << 8 | B).astype(np.uint16)
SIXTEEN = {"BitsStored": 16, "HighBit": 15}
WHOLE = {"WindowCenter": 32_768, "WindowWidth": 65_536}
LOW = np.arange(65_536) & 0xFF
FOLD = np.abs(np.arange(65_536) - 32_768).clip(0, 32_767)
RANDOM = np.random.default_rng(3)


def lut(table: NDArray[np.integer], bits: int = 8, first: int = 0) -> Dataset:
    """An item of a LUT sequence, of as many entries as `table`."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [table.size % 65_536, first, bits])
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return item


def voi(*tables: Dataset) -> dict[str, object]:
    return {"VOILUTSequence": Sequence(tables)}


def modality(table: Dataset) -> dict[str, object]:
    table.ModalityLUTType = "US"
    return {"ModalityLUTSequence": Sequence([table])}


def wide(stored: NDArray[np.integer] = BOTH, **tags: object) -> Dataset:
    """16 bits, of which the high byte is A and the low byte B."""
    return film(stored, **(SIXTEEN | tags))


def narrow(stored: NDArray[np.integer] = BOTH, bits: int = 8, **tags: object) -> Dataset:
    """Fewer bits stored than the words hold."""
    return film(stored, **({"BitsStored": bits, "HighBit": bits - 1} | tags))


def interleaved(share: int, low: NDArray[np.int64] = A, high: NDArray[np.int64] = B) -> NDArray[np.uint16]:
    """12 bits: of each `share` columns one holds a film in the upper half of the values, the others one in the lower."""
    return np.where(_COLUMNS % share == 0, 2048 + high * 8, low * 8).astype(np.uint16)


def native_as(syntax: str, make: Callable[[], Dataset]) -> bytes:
    """In another native transfer syntax."""
    dataset = make()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        for item in dataset.get("VOILUTSequence", ()):
            item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    return part10(dataset)


def rle(make: Callable[[], Dataset], **tags: object) -> bytes:
    dataset = make()
    dataset.compress(RLELossless)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return part10(dataset)


def coded(frame: bytes, syntax: str, make: Callable[[], Dataset]) -> bytes:
    return part10(compressed(frame, syntax, make()))


def twice(data: bytes, group: int, element: int, other: bytes) -> bytes:
    """A second element behind the first, of the same length: explicit VR, little endian."""
    tag = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    at = data.index(tag, 0 if group == 2 else 300)
    long = data[at + 4 : at + 6] in {b"OW", b"OB", b"SQ"}
    start = at + (12 if long else 8)
    length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
    second = data[at:start] + (other + bytes(length))[:length]
    return data[: start + length] + second + data[start + length :]


def frames(*each: bytes) -> bytes:
    """Several code streams where one frame should be."""
    dataset = compressed(each[0], JPEGBaseline8Bit, film(A.astype(np.uint8)))
    dataset.PixelData = encapsulate(list(each))
    return part10(dataset)


def overlaid(dataset: Dataset, *positions: int) -> Dataset:
    """Overlays that lie in bits of the words."""
    for number, position in enumerate(positions):
        group = 0x6000 + 2 * number
        for element, vr, value in [(0x10, "US", SIDE), (0x11, "US", SIDE), (0x40, "CS", "G"), (0x50, "SS", [1, 1])]:
            dataset.add_new((group, element), vr, value)
        dataset.add_new((group, 0x100), "US", 16)
        dataset.add_new((group, 0x102), "US", position)
    return dataset


def drawn() -> Dataset:
    """B in one bit, drawn over A by viewers that show overlays."""
    dataset = overlaid(film((A << 4).astype(np.uint16), WindowCenter=2048, WindowWidth=4096), 0)
    dataset.add_new((0x6000, 0x3000), "OW", np.packbits(B > 127, bitorder="little").tobytes())
    return dataset


JPEGS = [jpeg8_encode(each.astype(np.uint8), level=95) for each in (A, B)]
TWELVE = (A << 4 | B >> 4).astype(np.uint16)
PLAIN = film(TWELVE, WindowCenter=2048, WindowWidth=4096)
BITS = "bits set outside BitsStored"
TURNS = "both rises and falls"
TWO = "show two films"

#: What is refused: its maker, and words of the refusal.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    # A LUT that shows what no window can.
    "LUT of the low byte, and a window": (lambda: part10(wide(**voi(lut(LOW)), **WHOLE)), TURNS),
    "LUT of the low byte alone": (lambda: part10(wide(**voi(lut(LOW)))), TURNS),
    "LUT of the low byte, of 16 bits": (lambda: part10(wide(**voi(lut(LOW << 8, 16)), **WHOLE)), TURNS),
    "LUT of the low byte, inverted": (lambda: part10(wide(**voi(lut(255 - LOW)), **WHOLE)), TURNS),
    "LUT of the low byte, implicit": (lambda: native_as(ImplicitVRLittleEndian, lambda: wide(**voi(lut(LOW)))), TURNS),
    "LUT of the low byte, big endian": (lambda: native_as(ExplicitVRBigEndian, lambda: wide(**voi(lut(LOW)))), TURNS),
    "LUT of the low byte, RLE": (lambda: rle(lambda: wide(**voi(lut(LOW)), **WHOLE)), TURNS),
    "LUT of the low byte, JPEG-LS": (
        lambda: coded(jpegls_encode(BOTH), JPEGLSLossless, lambda: wide(**voi(lut(LOW)))), TURNS,
    ),
    "LUT of the low byte, JPEG 2000": (
        lambda: coded(
            jpeg2k_encode(BOTH, level=0, reversible=True, codecformat="j2k"), JPEG2000Lossless, lambda: wide(**voi(lut(LOW)))
        ), TURNS,
    ),
    "LUT of the low byte, MONOCHROME1": (
        lambda: part10(wide(**voi(lut(LOW)), **WHOLE, PhotometricInterpretation="MONOCHROME1")), TURNS,
    ),
    "LUT of the low nibbles of 12 bits": (lambda: part10(film(TWELVE, **voi(lut((np.arange(4096) & 15) << 4)))), TURNS),
    "LUT of the low 7 bits": (lambda: part10(wide(**voi(lut((np.arange(65_536) & 127) * 2)), **WHOLE)), TURNS),
    "LUT of the second kind is the false one": (
        lambda: part10(wide(**voi(lut(np.arange(65_536), 16), lut(LOW)), **WHOLE)), TURNS,
    ),
    "LUT that folds": (lambda: part10(wide(**voi(lut(FOLD, 15)), **WHOLE)), TURNS),
    "LUT that folds to the dark": (lambda: part10(wide(**voi(lut(32_767 - FOLD, 15)), **WHOLE)), TURNS),
    "LUT of a saw of four teeth": (lambda: part10(wide(**voi(lut(np.arange(65_536) % 16_384, 14)), **WHOLE)), TURNS),
    "LUT of sines": (
        lambda: part10(wide(**voi(lut(np.rint(127.5 + 127.5 * np.sin(np.arange(65_536) / 800))))) ), TURNS,
    ),
    "LUT in random order": (lambda: part10(wide(**voi(lut(RANDOM.permutation(65_536), 16)), **WHOLE)), TURNS),
    "LUT with one deep dip": (
        lambda: part10(wide(**voi(lut(np.where(np.abs(np.arange(65_536) - 30_000) < 3000, 0, np.arange(65_536)), 16)))), TURNS,
    ),
    "LUT of signed values": (
        lambda: part10(wide(BOTH.view(np.int16), **voi(lut(LOW, first=32_768)), WindowCenter=0, WindowWidth=65_536)), TURNS,
    ),
    "LUT for values that were rescaled": (
        lambda: part10(film(TWELVE, RescaleSlope=2, RescaleIntercept=0, **voi(lut((np.arange(8192) & 31) << 3)))), TURNS,
    ),
    "LUT that falls, and a window that rises": (
        lambda: part10(wide(**voi(lut(65_535 - np.arange(65_536), 16)), **WHOLE)), "contradict each other",
    ),
    "LUT that hides what the window shows": (
        lambda: part10(wide(**voi(lut(np.clip(np.arange(65_536) - 30_000, 0, 30_000), 15)), **WHOLE)), "viewers may use either",
    ),
    "LUT of one grey over the middle": (
        lambda: part10(
            wide(**voi(lut(np.interp(np.arange(65_536), [0, 9000, 52_000, 65_535], [0, 30_000, 30_000, 65_535]), 16)), **WHOLE)
        ), "viewers may use either",
    ),
    "window that hides what the LUT shows, and the reverse": (
        lambda: part10(
            film(interleaved(4), WindowCenter=3072, WindowWidth=2048, **voi(lut(np.clip(np.arange(4096), 0, 2047), 11)))
        ), f"{TWO}|viewers may use either",
    ),
    "modality LUT of the low byte": (lambda: part10(wide(**modality(lut(LOW)))), TURNS),
    "modality LUT of the low byte, of 16 bits": (lambda: part10(wide(**modality(lut(LOW << 8, 16)), **WHOLE)), TURNS),
    "modality LUT that folds": (lambda: part10(wide(**modality(lut(FOLD, 15)))), TURNS),
    # Windows that show two films.
    "two windows on two films, in columns": (
        lambda: part10(film(interleaved(4), WindowCenter=[1024, 3072], WindowWidth=[2048, 2048])), TWO,
    ),
    "two windows on two films, the other first": (
        lambda: part10(film(interleaved(2, A, B), WindowCenter=[3072, 1024], WindowWidth=[2048, 2048])), TWO,
    ),
    "three windows, the last on another film": (
        lambda: part10(film(interleaved(4), WindowCenter=[1024, 1050, 3072], WindowWidth=[2048, 2100, 2048])), TWO,
    ),
    "two windows on two films, MONOCHROME1": (
        lambda: part10(
            film(interleaved(4), WindowCenter=[1024, 3072], WindowWidth=[2048, 2048], PhotometricInterpretation="MONOCHROME1")
        ), TWO,
    ),
    "padding over a half of the film": (
        lambda: part10(film(interleaved(2), PixelPaddingValue=2048, PixelPaddingRangeLimit=4095)),
        "make 50% of the pixels padding",
    ),
    "padding over the dark of a film": (
        lambda: part10(film(TWELVE, WindowCenter=2048, WindowWidth=4096, PixelPaddingValue=0, PixelPaddingRangeLimit=1000)),
        "of the pixels padding",
    ),
    "more windows than any film has": (
        lambda: part10(film(TWELVE, WindowCenter=[2048] * 33, WindowWidth=[4096] * 33)), "over 32 VOI LUTs and windows",
    ),
    # Bits that are not stored.
    "8 bits stored in 16": (lambda: part10(narrow()), BITS),
    "8 bits stored in 16, and a window": (lambda: part10(narrow(WindowCenter=128, WindowWidth=256)), BITS),
    "8 bits stored at the top": (lambda: part10(narrow(HighBit=15)), BITS),
    "8 bits stored in the middle": (lambda: part10(narrow(HighBit=11)), BITS),
    "8 bits stored in 16, signed": (lambda: part10(narrow(BOTH.view(np.int16))), BITS),
    "8 bits stored in 16, big endian": (lambda: native_as(ExplicitVRBigEndian, narrow), BITS),
    "8 bits stored in 16, implicit": (lambda: native_as(ImplicitVRLittleEndian, narrow), BITS),
    "8 bits stored in 16, RLE": (lambda: rle(wide, BitsStored=8, HighBit=7), BITS),
    "8 bits stored in 16, JPEG-LS": (lambda: coded(jpegls_encode(BOTH), JPEGLSLossless, narrow), BITS),
    "8 bits stored in 16, JPEG 2000": (
        lambda: coded(jpeg2k_encode(BOTH, level=0, reversible=True, codecformat="j2k"), JPEG2000Lossless, narrow), BITS,
    ),
    "12 bits stored, and four of another film above": (lambda: part10(narrow(bits=12)), BITS),
    "12 bits stored, and four of another film below": (lambda: part10(narrow(bits=12, HighBit=15)), BITS),
    "15 bits stored, and one above": (lambda: part10(narrow(bits=15)), BITS),
    "one pixel has a bit more": (
        lambda: part10(narrow((TWELVE | ((_ROWS + _COLUMNS) == 9) << 15).astype(np.uint16), bits=12)), BITS,
    ),
    "8 bits stored, and eight overlays": (lambda: part10(overlaid(narrow(), *range(8, 16))), BITS),
    "12 bits stored, and an overlay in another bit": (
        lambda: part10(overlaid(narrow((TWELVE | (B > 127) << 13).astype(np.uint16), bits=12), 15)), BITS,
    ),
    # Two of a kind.
    "pixels twice": (
        lambda: twice(part10(PLAIN), 0x7FE0, 0x10, (B << 4).astype("<u2").tobytes()), r"PixelData \(7FE0,0010\) comes twice",
    ),
    "window center twice": (lambda: twice(part10(PLAIN), 0x28, 0x1050, b"100 "), "WindowCenter .* comes twice"),
    "window width twice": (lambda: twice(part10(PLAIN), 0x28, 0x1051, b"100 "), "WindowWidth .* comes twice"),
    "bits stored twice": (lambda: twice(part10(PLAIN), 0x28, 0x101, b"\x08\0"), "BitsStored .* comes twice"),
    "photometric interpretation twice": (
        lambda: twice(part10(PLAIN), 0x28, 0x4, b"MONOCHROME1 "), "PhotometricInterpretation .* comes twice",
    ),
    "modality twice": (lambda: twice(part10(PLAIN), 8, 0x60, b"MR"), "Modality .* comes twice"),
    "transfer syntax twice": (
        lambda: twice(part10(PLAIN), 2, 0x10, b"1.2.840.10008.1.2.2\0"), "TransferSyntaxUID .* comes twice",
    ),
    "two frames of which one is declared": (lambda: frames(*JPEGS), "several code streams"),
}  # fmt: skip

#: What is accepted, since the film is the same in other tones or has something drawn over it: its maker, and the note.
NOTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "overlay plane": (lambda: part10(drawn()), "overlay in group 6000: neither judged nor shown here"),
    "overlay in a bit": (
        lambda: part10(overlaid(narrow((TWELVE | (B > 127) << 15).astype(np.uint16), bits=12), 15)), "OverlayBitPosition",
    ),
    "window that hides the bright": (
        lambda: part10(film(TWELVE, WindowCenter=1600, WindowWidth=3200)), "hides .* percentiles of its pixels show",
    ),
    "window that hides the dark": (
        lambda: part10(film(TWELVE, WindowCenter=2800, WindowWidth=3000)), "hides .* percentiles of its pixels show",
    ),
    "sigmoid that hides": (
        lambda: part10(film(TWELVE, WindowCenter=2000, WindowWidth=700, VOILUTFunction="SIGMOID")), "hides .* percentiles",
    ),
    "LUT that hides": (
        lambda: part10(wide(**voi(lut(np.clip(np.arange(65_536) - 20_000, 0, 32_767), 15)))), "hides .* percentiles",
    ),
    "second window that shows more": (
        lambda: part10(film(TWELVE, WindowCenter=[1600, 2048], WindowWidth=[3000, 4096])),
        "number 2 of 2.* shows .* presentation hides",
    ),
    "two windows": (lambda: part10(film(TWELVE, WindowCenter=[2048, 2000], WindowWidth=[4096, 3900])), "first of 2"),
    "LUT that inverts": (lambda: part10(wide(**voi(lut(65_535 - np.arange(65_536), 16)))), "which inverts"),
    "modality LUT that inverts": (
        lambda: part10(film(TWELVE, **modality(lut(4095 - np.arange(4096), 12)))), "falls, which inverts the film",
    ),
    "window of another modality": (lambda: part10(film(TWELVE, WindowCenter=40, WindowWidth=400)), "passed over: it shows"),
    "window of stored values": (
        lambda: part10(film(TWELVE, WindowCenter=2048, WindowWidth=4096, RescaleSlope=16, RescaleIntercept=0)), "passed over",
    ),
    "slope of 0": (
        lambda: part10(film(TWELVE, WindowCenter=2048, WindowWidth=4096, RescaleSlope=0, RescaleIntercept=0)),
        "passed over: it is 0",
    ),
    "shape against the photometric interpretation": (
        lambda: part10(film(TWELVE, WindowCenter=2048, WindowWidth=4096, PresentationLUTShape="INVERSE")), "it contradicts",
    ),
    "padding": (
        lambda: part10(film(np.where(_COLUMNS < 20, 4095, TWELVE).astype(np.uint16), PixelPaddingValue=4095)), "padding shown as",
    ),
    "more pixels than are declared": (lambda: part10(film(TWELVE, Rows=240)), "PixelData is longer than the film"),
    "a mirrored film": (lambda: part10(film(TWELVE, PatientOrientation=["R", "F"])), "says that the film is mirrored"),
    "a shutter": (
        lambda: part10(
            film(
                TWELVE, ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=60, ShutterRightVerticalEdge=220,
                ShutterUpperHorizontalEdge=20, ShutterLowerHorizontalEdge=230,
            )
        ), "left out, since it is not of the exposed field",
    ),
}  # fmt: skip
