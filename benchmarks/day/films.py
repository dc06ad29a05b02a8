"""The films of the day: real ones, those of another scanner, attacked ones, and files of broken senders.

All films are the data set's own, 512x512 of 8 bits, and stay so but where said: clean, noisy and attacked ones of a size differ
in their pixels and in nothing else. Neither the network nor the gate's Gaussian has seen any of their patients; the threshold of
the served bundle is from the val patients' films.

=============  ======================================================================================
clean          the test films as they are
scanner        another scanner (gamma, then noise), val patients and a third of the test patients:
               the films from which the site is recalibrated
fresh          the same scanner, the other test patients: posted when all is done
attacked       FGSM, BIM, PGD and MIM on some of the clean films
attacked-fresh the same on some of the fresh films
...-224        fresh films at 224x224, and attacks on these: so ``cxr-offline recalibrate`` makes its attacks
broken         cut off, noise behind a right signature, and a right film with a wrong Content-Type
misrouted      DICOM films whose tags say that they are lateral, and films turned by a quarter
=============  ======================================================================================
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from app.pipeline.bundle import Bundle
from app.pipeline.decode import decode
from app.pipeline.network import LogitsOnly
from app.pipeline.preprocess import film_tensor
from benchmarks.films import undecodable
from offline.attacks import AttackOptions, attack, paper_attacks
from offline.attacks.native import NativeNetwork
from offline.attacks.posting import posted_within
from offline.data.films import Film, evenly, of_split, read_films
from offline.evaluation.observing import to_levels
from offline.evaluation.store import Outcome, Stages

SEED: Final = 1
GAMMA: Final = 0.8
NOISE: Final = 0.025  # sd at 512x512, in units of [0,1]; the resize to 224x224 averages much of it away
EPSILON: Final = 0.02
ATTACKED: Final = 24  # clean films that are attacked, and
STORED: Final = 60  # fresh films; all of them by FGSM, which is cheap, and detected least
FEW: Final = 24  # of each kind that a broken sender sends
BATCH: Final = 8
PNG: Final = "image/png"

Levels = NDArray[np.uint8]  # (rows, columns)


@dataclass(frozen=True)
class Posted:
    """One film as it is sent; ``attack`` is empty where there is none, and ``patient`` where nobody asks for it."""

    body: bytes
    media_type: str
    name: str
    patient: str = ""
    attack: str = ""


def load(data: Path, bundle: Bundle, store: Stages) -> dict[str, list[Posted]]:
    """Every kind of film; attacks are made once, and kept in the store.

    Raises
    ------
    FilmsError
        The folder of films cannot be used.
    """
    every = read_films(data)
    val, test = of_split(every, "val"), of_split(every, "test")
    people = np.random.default_rng(SEED).permutation(sorted({film.patient for film in test}))
    at_site = set(people[: len(people) // 3])
    site = val + [film for film in test if film.patient in at_site]
    others = [film for film in test if film.patient not in at_site]
    fresh = [scanned(levels_of(film), film.path.name) for film in others]
    small = [at_input_side(levels) for levels in fresh]
    return {
        "clean": [Posted(film.path.read_bytes(), PNG, film.path.name, film.patient) for film in test],
        "scanner": [_posted(film, scanned(levels_of(film), film.path.name)) for film in site],
        "fresh": [_posted(film, levels) for film, levels in zip(others, fresh, strict=True)],
        "attacked": _attacked(bundle, store, "attacked", test, [levels_of(film) for film in test], ATTACKED, ATTACKED),
        "attacked-fresh": _attacked(bundle, store, "attacked-fresh", others, fresh, STORED, len(others)),
        "fresh-224": [_posted(film, levels) for film, levels in zip(others, small, strict=True)],
        "attacked-fresh-224": _attacked(bundle, store, "attacked-fresh-224", others, small, STORED, len(others)),
        "broken": _broken(test[:FEW]),
        "misrouted": _misrouted(test[:FEW]),
    }


def levels_of(film: Film) -> Levels:
    """The pixels of a film's file."""
    return np.asarray(Image.open(film.path).convert("L"))


def scanned(levels: Levels, name: str) -> Levels:
    """The film as the other scanner gives it: the same every time, as a film that is sent twice is."""
    random = np.random.default_rng([SEED, *name.encode()])
    film = (levels / 255) ** GAMMA + random.normal(0, NOISE, levels.shape)
    return np.asarray((film.clip(0, 1) * 255).round(), dtype=np.uint8)


def at_input_side(levels: Levels) -> Levels:
    """The film at 224x224, as the network gets it, of 8 bits."""
    return to_levels(film_tensor(decode(png(levels)))[0, 0])


def png(levels: Levels) -> bytes:
    """As a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    return stream.getvalue()


def _posted(film: Film, levels: Levels) -> Posted:
    return Posted(png(levels), PNG, film.path.name, film.patient)


def _attacked(
    bundle: Bundle,
    store: Stages,
    title: str,
    films: list[Film],
    levels: list[Levels],
    wanted: int,
    wanted_one_step: int,
) -> list[Posted]:
    """At the films' own size, through the service's resize, and rounded inside the ball."""
    network = LogitsOnly(NativeNetwork(bundle.network))
    posted = []
    for name, options in paper_attacks(EPSILON).items():
        chosen = evenly(len(films), wanted_one_step if options.steps == 1 else wanted)
        clean = torch.from_numpy(np.stack([levels[index] for index in chosen])[:, None]).float() / 255
        images = store.stage(f"{title}-{name}", _maker(network, clean, options))[1]["images"]
        posted += [
            Posted(png(image), PNG, films[index].path.name, films[index].patient, name)
            for index, image in zip(chosen, images, strict=True)
        ]
    return posted


def _maker(network: torch.nn.Module, clean: torch.Tensor, options: AttackOptions) -> Callable[[], Outcome]:
    def make() -> Outcome:
        made = []
        for number, images in enumerate(clean.split(BATCH)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = attack(network, images, options, seed=number)
            made.append((posted_within(found, images, options.epsilon) * 255).round().to(torch.uint8)[:, 0].numpy())
        return {}, {"images": np.concatenate(made)}

    return make


def _broken(films: list[Film]) -> list[Posted]:
    made = []
    for number, film in enumerate(films):
        body = film.path.read_bytes()
        made += [Posted(undecodable(body, kind), PNG, film.path.name) for kind in (3 * number, 3 * number + 1)]
        made.append(Posted(body, "application/octet-stream", film.path.name))
    return made


def _misrouted(films: list[Film]) -> list[Posted]:
    made = []
    for number, film in enumerate(films):
        levels = levels_of(film)
        made.append(Posted(_lateral(levels, number), "application/dicom", film.path.name))
        made.append(Posted(png(np.rot90(levels, 1 + 2 * (number % 2)).copy()), PNG, film.path.name))
    return made


def _lateral(levels: Levels, number: int) -> bytes:
    film = Dataset()
    film.SOPClassUID = DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.{number + 1}")
    film.Modality, film.BodyPartExamined, film.ViewPosition = "DX", "CHEST", "LL"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = levels.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 8, 8, 7, 0
    film.PixelData = levels.tobytes()
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film["PixelData"].VR = "OW"
    stream = io.BytesIO()
    dcmwrite(stream, film, enforce_file_format=True)
    return stream.getvalue()
