"""Writes the report's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import distributions, pictures, plots
from .page import Plot, page
from .plot_style import render
from .reading import Evaluation, plain, read
from .tables import write_tables


def write_report(
    evaluation: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], folder: Path, *, show_films: bool = False
) -> None:
    """Write report.html, evaluation.json, CSV files, and plots/ with the plots as PNG.

    Parameters
    ----------
    evaluation : mapping
        The numbers. The report calls missing ones unmeasured. JSON has no NaN: it is written as null.
    arrays : mapping of name to ndarray
        ``scores/val``, ``scores/test`` and ``scores/<attack>``, shape (N,), log densities in nats;
        ``features/test`` and ``features/<attack>``, shape (N, 1024); and one film as ``example/clean`` and
        ``example/attacked``, shape (224, 224) in [0, 1], ``example/maps_clean`` and ``example/maps_attacked``,
        shape (K, 7, 7), ``example/probabilities_clean`` and ``example/probabilities_attacked``, shape (L,),
        and ``example/scores``, shape (2,), clean then attacked. Each may be missing.
    folder : Path
        Made where it is not there; files of an earlier report are overwritten.
    show_films : bool
        Show the example film itself. False: no pixel of it is written, since it may be a real person's film.

    Raises
    ------
    OSError
        The folder cannot be written.
    pydantic.ValidationError
        The evaluation has a field of another type than ``cxr-offline evaluate`` gives it.
    """
    measured = read(evaluation)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _draw(measured, arrays, show_films)
    pictures_folder = folder / "plots"
    pictures_folder.mkdir(exist_ok=True)
    for name, images in drawn.items():
        path = pictures_folder / f"{name}.png"
        # A plot of an earlier report would look like one of this report.
        path.unlink(missing_ok=True)
        if images is not None:
            path.write_bytes(images[0])
    text = json.dumps(plain(evaluation), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    write_tables(measured, folder)
    (folder / "report.html").write_text(page(measured, drawn, show_films=show_films), encoding="utf-8")


def _draw(evaluation: Evaluation, arrays: Mapping[str, NDArray[Any]], show_films: bool) -> dict[str, Plot]:
    """Every plot by name, in both themes; None where there is nothing to draw."""
    threshold, target = evaluation.gate.threshold, evaluation.gate.target
    places = distributions.embed(arrays, evaluation.seed or 0)
    return {
        "attackers": render(lambda theme: plots.attackers(evaluation, theme)),
        "harmless": render(lambda theme: plots.refusals(evaluation.harmless, target, theme, ranked=True)),
        "groups": render(lambda theme: plots.refusals(evaluation.groups, target, theme, ranked=False)),
        "learning_curve": render(lambda theme: plots.learning_curve(evaluation, theme)),
        "figure_1": render(lambda theme: pictures.example(arrays, threshold, theme, show_films=show_films)),
        "figure_2a": render(lambda theme: pictures.feature_maps(arrays, theme)),
        "figure_2b": None if places is None else render(lambda theme: distributions.tsne(places, theme)),
        "roc": render(lambda theme: distributions.roc(arrays, target, theme)),
        "scores": render(lambda theme: distributions.histograms(arrays, threshold, theme)),
    }
