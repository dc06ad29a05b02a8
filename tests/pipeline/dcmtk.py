"""DCMTK's tools as an independent judge of pixels: its encoders make the files, its decoders say what is in them."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

#: Decoder of what each encoder writes.
DECODERS = {"dcmcjpeg": "dcmdjpeg", "dcmcjpls": "dcmdjpls", "dcmcrle": "dcmdrle", "dcmconv": "dcmconv"}


def run(tool: str, *arguments: str | Path) -> None:
    """Run one of DCMTK's tools; a missing one fails the test, since CI must have it."""
    if shutil.which(tool) is None:
        raise AssertionError(f"{tool} is not installed; scripts/debian-packages.sh installs it (Debian package dcmtk)")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{tool} failed: {done.stderr}"


def encoded(data: bytes, tool: str, *options: str, folder: Path) -> bytes:
    """A Part 10 file in another transfer syntax."""
    (folder / "plain.dcm").write_bytes(data)
    run(tool, *options, folder / "plain.dcm", folder / "encoded.dcm")
    return (folder / "encoded.dcm").read_bytes()


def decoded(data: bytes, tool: str, folder: Path) -> tuple[bytes, NDArray[np.integer]]:
    """The file as Explicit VR Little Endian, and its stored values, read without any image library."""
    (folder / "compressed.dcm").write_bytes(data)
    run(tool, "+te", folder / "compressed.dcm", folder / "decoded.dcm")
    return (folder / "decoded.dcm").read_bytes(), stored(folder / "decoded.dcm")


def stored(path: Path | io.BytesIO) -> NDArray[np.integer]:
    """Stored values of a native, little endian film whose high bit is its last."""
    dataset = dcmread(path)
    assert dataset.HighBit == dataset.BitsStored - 1
    words = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}")[: dataset.Rows * dataset.Columns]
    values = words.reshape(dataset.Rows, dataset.Columns).astype(np.int64) % (1 << dataset.BitsStored)
    if dataset.PixelRepresentation:
        values[values >= 1 << (dataset.BitsStored - 1)] -= 1 << dataset.BitsStored
    return values


def rendered(data: bytes, *options: str, bits: int, folder: Path) -> NDArray[np.integer]:
    """What DCMTK shows of a film, as grey values of `bits` bits (8 and 16 as image files, others as text)."""
    (folder / "film.dcm").write_bytes(data)
    form = {8: ["+op"], 16: ["+on2"]}.get(bits, ["+opn", str(bits)])
    run("dcmj2pnm", *options, *form, folder / "film.dcm", folder / "shown")
    if bits in {8, 16}:
        with Image.open(folder / "shown") as image:
            return np.asarray(image).astype(np.int64)
    words = (folder / "shown").read_text().split("\n", 1)[1].split()
    words = [word for word in words if word.isdigit()]
    columns, rows, most = map(int, words[:3])
    assert most == 2**bits - 1
    return np.array(words[3:], dtype=np.int64).reshape(rows, columns)
