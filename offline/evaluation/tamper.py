"""Judge films that were altered by hand as the service does: whether the gate refuses them, and how the answers change."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from app.pipeline.backends import torch_backend
from app.pipeline.bundle import read_bundle
from app.pipeline.errors import NumericalError, UnsuitableImage
from app.pipeline.preprocess import picture_tensor
from app.pipeline.screener import Screener
from app.pipeline.signature import TrustedKeys
from app.pipeline.verdict import Verdict

from ..attacks.tampering import TAMPERINGS
from ..data.films import Film, FilmsError, of_split, some_of
from ..data.loading import as_written, load_pixels

REPORT: Final = "tampering.json"
FILMS: Final = 36
_OPPOSITE: Final = frozenset({("absent", "present"), ("present", "absent")})

Answer = Verdict | NumericalError | UnsuitableImage


def tamper(
    folder: Path,
    films: list[Film],
    output: Path,
    device: torch.device,
    count: int = FILMS,
    seed: int = 0,
    trusted: TrustedKeys | None = None,
) -> dict[str, Any]:
    """Tamper with test films in every way, judge them as the service does, and write ``tampering.json``.

    Film and tampered film are processed alike: 8 bits at the film's own size, exposed field, 224x224. The donor is the next
    chosen film of another patient. The same seed gives the same films.

    Parameters
    ----------
    folder : Path
        Folder of the bundle.
    count : int
        Number of test films, evenly spread.

    Raises
    ------
    BundleError
    FilmsError
        The films belong to fewer than two patients.
    """
    bundle = read_bundle(folder, trusted)
    screener = Screener(bundle, torch_backend(bundle.network, device))
    screener.require_golden()
    chosen = some_of(of_split(films, "test"), count)
    others = [_another(chosen, index) for index in range(len(chosen))]
    judged: dict[str, list[Answer]] = {"none": [], **{name: [] for name in TAMPERINGS}}
    changed: dict[str, list[float]] = {name: [] for name in judged}
    for index, film in enumerate(tqdm(chosen, desc="tampered films", unit="film")):
        pixels = load_pixels(film.path)
        donor = load_pixels(chosen[others[index]].path)
        versions = [pixels]
        for number, make in enumerate(TAMPERINGS.values()):
            versions.append(make(pixels, donor, np.random.default_rng([seed, index, number])))
        written = [as_written(each) for each in versions]
        answers = screener.screen(torch.cat([picture_tensor(each) for each in written]))
        for name, answer, each in zip(judged, answers, written, strict=True):
            judged[name].append(answer)
            changed[name].append(float(np.abs(each - written[0]).mean() * 255))
    clean = judged["none"]
    report = {
        "bundle": bundle.manifest.model_version,
        "films": len(chosen),
        "seed": seed,
        "rows": [
            _row(screener, name, answers, clean, [clean[other] for other in others], changed[name])
            for name, answers in judged.items()
        ],
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    return report


def _another(chosen: list[Film], index: int) -> int:
    """Index of the next film of another patient."""
    for step in range(1, len(chosen)):
        other = (index + step) % len(chosen)
        if chosen[other].patient != chosen[index].patient:
            return other
    raise FilmsError("films of two patients are needed, so that there are lungs of another")


def _row(
    screener: Screener,
    name: str,
    answers: list[Answer],
    clean: list[Answer],
    donors: list[Answer],
    changed: list[float],
) -> dict[str, Any]:
    """Counts of films. Counts of calls cover the films that were accepted before and after."""
    calls = Counter[str]()
    for answer, before, donor in zip(answers, clean, donors, strict=True):
        now, then, theirs = (_calls(screener, each) for each in (answer, before, donor))
        if now is None or then is None:
            continue
        calls["films"] += 1
        opposite = sum(pair in _OPPOSITE for pair in zip(then, now, strict=True))
        calls["opposite_findings"] += opposite
        calls["opposite_films"] += opposite > 0
        calls["changed_films"] += then != now
        if theirs is not None:
            differing = [place for place, pair in enumerate(zip(then, theirs, strict=True)) if pair[0] != pair[1]]
            calls["differing"] += len(differing)
            calls["as_donor"] += sum(now[place] == theirs[place] for place in differing)
    return {
        "tampering": name,
        "films": len(answers),
        "accepted": sum(isinstance(each, Verdict) and each.accepted for each in answers),
        "rejected": sum(isinstance(each, Verdict) and not each.accepted for each in answers),
        "unsuitable": sum(isinstance(each, UnsuitableImage) for each in answers),
        "calls": {
            key: calls[key]
            for key in ("films", "changed_films", "opposite_films", "opposite_findings", "differing", "as_donor")
        },
        "grey_change": float(np.mean(changed)),
    }


def _calls(screener: Screener, answer: Answer) -> list[str] | None:
    if not isinstance(answer, Verdict) or answer.probabilities is None:
        return None
    return [one.call for one in screener.bundle.calls.of(answer.probabilities)]


def sentences(report: dict[str, Any]) -> list[str]:
    """The report in words, one line for each kind of tampering."""
    return [
        f"{row['tampering']}: {row['accepted']} of {row['films']} accepted, {row['rejected']} rejected as adversarial, "
        f"{row['unsuitable']} told to be no suitable film; another call on {row['calls']['changed_films']} of "
        f"{row['calls']['films']}, an opposite one on {row['calls']['opposite_films']}; "
        f"mean change {row['grey_change']:.2f} grey levels"
        for row in report["rows"]
    ]
