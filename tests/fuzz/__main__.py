"""``python -m tests.fuzz TARGET FOLDER SECONDS``: fuzz decode, multipart or connection; FOLDER keeps the corpus and the findings.

Needs atheris, which ``make fuzz`` installs into an environment of its own. Only Python is instrumented: the codecs' own
code runs uninstrumented, and in the service in processes that may crash (docs/faults.md).
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["app", "pydicom", "python_multipart", "starlette.formparsers", "PIL", "h11", "uvicorn.protocols"]
):
    from tests.fuzz.targets import TARGETS

import numpy as np
from imagecodecs import jpeg2k_encode, jpegls_encode
from PIL import Image
from pydicom.data import get_testdata_files
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.pipeline.films import film
from tests.support.films import compressed, part10

#: Of an input: a film of the smallest side in 8 bits has 50 KB.
MAX_BYTES = 100_000
SECONDS_EACH, MEMORY_MB = 10, 3_000
COMMITTED = Path(__file__).parent / "corpus"
SIDE = 224


def decode_seeds() -> Iterator[bytes]:
    """Small films of every format, and the test files of pydicom, whose pictures are none of a chest."""
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype(np.uint16)
    grey = (ramp // 2).astype(np.uint8)
    for image in (Image.fromarray(grey), Image.fromarray(ramp), Image.fromarray(grey).convert("P")):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        yield buffer.getvalue()
    for mode in ("L", "RGB"):
        buffer = io.BytesIO()
        Image.fromarray(grey).convert(mode).save(buffer, "JPEG", quality=30, progressive=mode == "RGB")
        yield buffer.getvalue()
    tags = {"WindowCenter": 128, "WindowWidth": 256, "RescaleSlope": 1, "RescaleIntercept": 0}
    yield part10(film(grey, **tags))
    yield part10(film(grey, PhotometricInterpretation="MONOCHROME1"))
    deflated = film(grey, **tags)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    yield part10(deflated)
    rle = film(grey)
    rle.compress(RLELossless, generate_instance_uid=False)
    yield part10(rle)
    yield part10(compressed(jpeg2k_encode(grey, codecformat="j2k", reversible=True), JPEG2000Lossless, film(grey)))
    yield part10(compressed(jpegls_encode(grey), JPEGLSLossless, film(grey)))
    for path in sorted(get_testdata_files("*.dcm")):
        if Path(path).stat().st_size < MAX_BYTES // 4:
            yield Path(path).read_bytes()


def multipart_seeds() -> Iterator[bytes]:
    """Bodies as senders write them: forms and multipart/related."""
    disposition = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n'
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    form = b"multipart/form-data; boundary=b\n"
    yield b"\x00\xff" + form + b"--b\r\n" + disposition + b"\r\n" + png + b"\r\n--b--\r\n"
    yield (
        b"\x00\x07"
        + form
        + b"--b\r\n"
        + disposition
        + b"\r\n"
        + png
        + b"\r\n--b\r\n"
        + disposition
        + b"\r\n\r\n--b--\r\n"
    )
    yield b"\x00\x01" + form + b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--'
    related = b'multipart/related; type="application/dicom"; boundary=b\n'
    part = b"Content-Type: application/dicom\r\n\r\n" + bytes(128) + b"DICM" + b"x" * 20
    for step in (b"\x01", b"\x07", b"\xff"):
        yield b"\xff" + step + related + b"--b\r\n" + part + b"\r\n--b\r\n" + part + b"\r\n--b--\r\n"
    yield b"\xff\x05" + related + b"preamble\n--b \n" + part.replace(b"\r\n", b"\n") + b"\n--b--\nepilogue"
    yield b"\xff\xff" + related + b"--b\r\n\r\n" + b"y" * 5000 + b"\r\n--b\r\n\r\n\r\n--b--"


def connection_seeds() -> Iterator[bytes]:
    """Requests as clients write them, one behind the other."""
    get = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
    post = b"POST /c HTTP/1.1\r\nHost: h\r\n"
    for step in (b"\x01", b"\x09", b"\xff"):
        yield step + get + post + b"Content-Length: 3\r\n\r\nxyz" + get
        yield step + post + b"Transfer-Encoding: chunked\r\n\r\n3;e=1\r\nxyz\r\n0\r\nT: u\r\n\r\n" + get
        yield step + post + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nxyz" + get
    yield b"\xff" + b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get
    yield b"\xff" + get[:-2] + b"Connection: close\r\nExpect: 100-continue\r\n\r\n" + get


SEEDS = {"decode": decode_seeds, "multipart": multipart_seeds, "connection": connection_seeds}


def main(name: str, folder: Path, seconds: str) -> None:
    """Fuzz until the time is over, or something is found: the process then ends with another code than 0."""
    seeds, corpus = folder / f"{name}-seeds", folder / f"{name}-corpus"
    seeds.mkdir(parents=True, exist_ok=True)
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        (seeds / f"{number:02d}").write_bytes(seed)
    target = TARGETS[name]
    logging.disable()  # what parsers say of each input would take most of the time
    warnings.simplefilter("ignore")
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={SECONDS_EACH}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={folder}/{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *options, *map(str, (corpus, seeds, COMMITTED / name))],
        lambda data: [None, target(data)][0],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
