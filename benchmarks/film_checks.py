"""What it costs a good film to be searched for a second one, and for what costs out of proportion: CPU time of one thread.

``python -m benchmarks.film_checks`` decodes, resizes and judges a film with the checks, then without them, then with them, and so
on, and prints the medians. The network is that of the bundle.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from app.pipeline import Screener, choose_backends, decode, exposed_field, film_tensor, raster, read_bundle
from app.pipeline.dicom import choice, metered, presentation, stored

SIDE, PNG_SIDE = 2048, 1024
#: Each check: its module, its name, and its replacement.
CHECKS: list[tuple[object, str, Callable[..., object]]] = [
    (choice, "require_one_film", lambda *_, **__: []),
    (stored, "_other_bits", lambda *_: ()),
    (presentation, "require_plain_padding", lambda *_: None),
    (metered, "_Once", lambda *_: lambda *__: False),
    (exposed_field, "rounded_outline", lambda *_: None),
    (raster, "_usual", lambda data, _: data),
]


def film(picture: Image.Image) -> bytes:
    """12 bits, Explicit VR Little Endian, three windows."""
    greys = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PixelRepresentation = "MONOCHROME2", 1, 0
    dataset.Rows, dataset.Columns = greys.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.WindowCenter, dataset.WindowWidth = [2048, 2048, 2048], [4096, 3600, 4500]
    dataset.PixelData = (greys * 16 + np.random.default_rng(0).integers(0, 16, greys.shape).astype(np.uint16)).tobytes()
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.resize((PNG_SIDE, PNG_SIDE), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, instead in CHECKS:
            stack.enter_context(patch.object(owner, name, instead))
        yield


def milliseconds(judge: Callable[[bytes], object], data: bytes, rounds: int) -> tuple[float, float]:
    """Median CPU milliseconds with the checks, and without them."""
    with_checks: list[float] = []
    without: list[float] = []
    judge(data)
    for _ in range(rounds):
        for spent, context in ((with_checks, contextlib.nullcontext()), (without, unchecked())):
            with context:
                began = time.process_time()
                judge(data)
                spent.append(1000 * (time.process_time() - began))
    return statistics.median(with_checks), statistics.median(without)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--film", type=Path, required=True, help="a chest film as PNG")
    parser.add_argument(
        "--bundle", type=Path, default=Path("artifacts/default"), help="the bundle (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=40, help="of each (default: %(default)s)")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    (backend,) = choose_backends(bundle.network, "auto", "cpu", max_batch=1, threads=1)
    screener = Screener(bundle, backend)
    with Image.open(options.film) as image:
        picture = image.convert("L")
    for name, data in (("DICOM, 12 bits, 2048 x 2048", film(picture)), ("PNG, 1024 x 1024", png(picture))):
        with_checks, without = milliseconds(
            lambda each: screener.screen(film_tensor(decode(each))), data, options.rounds
        )
        share = (with_checks - without) / with_checks
        print(f"{name}: {with_checks:.1f} ms with the checks, {without:.1f} ms without them: {share:.1%}")


if __name__ == "__main__":
    main()
