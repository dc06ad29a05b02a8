"""Writes the report's files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import about_attackers, about_films, about_gate, distributions, pictures, plots
from .page import page
from .plot_style import render
from .reading import number
from .tables import write_tables


def write_report(
    evaluation: dict[str, Any], arrays: Mapping[str, NDArray[Any]], folder: Path, *, show_films: bool = False
) -> None:
    """Write report.html, evaluation.json, CSV files, and plots/ with the plots as PNG.

    Parameters
    ----------
    evaluation : dict
        The numbers. What is missing is said to be unmeasured. JSON knows no NaN: it is written as null.
    arrays : mapping of name to ndarray
        ``scores/val``, ``scores/test`` and ``scores/<attack>``, shape (N,), log densities in nats;
        ``features/test`` and ``features/<attack>``, shape (N, 1024); and one film as ``example/clean`` and
        ``example/attacked``, shape (224, 224) in [0, 1], ``example/maps_clean`` and ``example/maps_attacked``,
        shape (K, 7, 7), ``example/probabilities_clean`` and ``example/probabilities_attacked``, shape (14,),
        and ``example/scores``, shape (2,), clean then attacked. Each may be missing.
    folder : Path
        Made where it is not there; files of an earlier report are overwritten.
    show_films : bool
        Show the example film itself. Off, no pixel of it is written: it may be a real person's.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    evaluation = _plain(evaluation)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _draw(evaluation, arrays, show_films)
    pictures_folder = folder / "plots"
    pictures_folder.mkdir(exist_ok=True)
    for name, images in drawn.items():
        path = pictures_folder / f"{name}.png"
        # A plot of an earlier report would pass for one of this.
        path.unlink(missing_ok=True)
        if images is not None:
            path.write_bytes(images[0])
    text = json.dumps(evaluation, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    write_tables(evaluation, folder)
    sections = [
        about_gate.table1(evaluation),
        about_attackers.outsiders(evaluation),
        about_attackers.aware(evaluation, drawn["attackers"]),
        about_gate.detectors(evaluation),
        about_attackers.sanity(evaluation),
        about_attackers.libraries(evaluation),
        about_films.harmless(evaluation, drawn["harmless"]),
        about_films.orientation(evaluation),
        about_films.groups(evaluation, drawn["groups"]),
        about_films.learning_curve(evaluation, drawn["learning_curve"]),
        about_films.figure_1(drawn["figure_1"], show_films=show_films),
        about_films.figure_2a(drawn["figure_2a"]),
        about_films.figure_2b(drawn["figure_2b"]),
        about_films.roc(drawn["roc"]),
        about_films.histograms(drawn["scores"]),
        about_films.provenance(evaluation),
    ]
    (folder / "report.html").write_text(page(evaluation, sections), encoding="utf-8")


def _draw(
    evaluation: dict[str, Any], arrays: Mapping[str, NDArray[Any]], show_films: bool
) -> dict[str, tuple[bytes, bytes] | None]:
    """Every plot by name, in both themes; None where there is nothing to draw."""
    threshold, target = number(evaluation, "gate", "threshold"), number(evaluation, "gate", "target")
    places = distributions.embed(arrays, int(number(evaluation, "seed") or 0))
    return {
        "attackers": render(lambda theme: plots.attackers(evaluation, theme)),
        "harmless": render(lambda theme: plots.refusals(evaluation, theme, "harmless", "change", ranked=True)),
        "groups": render(lambda theme: plots.refusals(evaluation, theme, "groups", "group", ranked=False)),
        "learning_curve": render(lambda theme: plots.learning_curve(evaluation, theme)),
        "figure_1": render(lambda theme: pictures.example(arrays, threshold, theme, show_films=show_films)),
        "figure_2a": render(lambda theme: pictures.feature_maps(arrays, theme)),
        "figure_2b": None if places is None else render(lambda theme: distributions.tsne(places, theme)),
        "roc": render(lambda theme: distributions.roc(arrays, target, theme)),
        "scores": render(lambda theme: distributions.histograms(arrays, threshold, theme)),
    }


def _plain(value: Any) -> Any:
    """The evaluation with NaN and infinities as None, and numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
