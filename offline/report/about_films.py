"""Sections on clean films (harmless changes, groups, learning curve), the paper's figures, and how it was all made."""

from __future__ import annotations

from .markup import Html, Section, details, html, joined, paragraph, picture, table, unmeasured
from .plots import hardest_attack
from .reading import Tree, at, branch, decimal, number, percent, rate, rows, spread, text

Plot = tuple[bytes, bytes] | None


def harmless(evaluation: Tree, plot: Plot) -> Section:
    """False rejection after changes that nobody would call an attack."""
    title = "Harmless changes"
    if not rows(evaluation, "harmless"):
        return Section("harmless", title, unmeasured("false rejection after harmless changes"))
    words = (
        "Clean films after changes that scanners, archives and people make. No one attacked; every refusal here is a false one. "
        "Red: over the target by more than chance."
    )
    return Section("harmless", title, _refusals(evaluation, plot, "harmless", "change", words))


def orientation(evaluation: Tree) -> Section:
    """Turned and inverted films, and whether attacked ones are taken for such."""
    title = "Turned and inverted films"
    measured = rows(evaluation, "orientation")
    if not measured:
        return Section("orientation", title, unmeasured("films that are turned or inverted"))
    body = [
        [text(at(row, "film")), *(text(at(row, key)) for key in ("films", "unsuitable", "rejected", "passed"))]
        for row in measured
    ]
    return Section(
        "orientation",
        title,
        joined(
            paragraph(
                "Before the gate speaks, a linear model on the same features refuses films that are turned or inverted, which a "
                "sender can mend (400), so that they are not called tampered (422). It must leave upright clean films alone, and "
                "must not take an attacked film for a turned one. Every other table here is of the gate alone; this model "
                "can only add to what it refuses."
            ),
            table(["The film is", "Films", "Refused as turned", "Rejected by the gate", "Passed"], body),
        ),
    )


def groups(evaluation: Tree, plot: Plot) -> Section:
    """False rejection by group."""
    title = "Groups of films and people"
    if not rows(evaluation, "groups"):
        return Section("groups", title, unmeasured("false rejection by group"))
    words = (
        "Clean films refused by view, sex, age, finding and source. One threshold for all does not mean one rate for all. "
        "Small groups have wide intervals. Red: over the target by more than chance."
    )
    return Section("groups", title, _refusals(evaluation, plot, "groups", "group", words))


def _refusals(evaluation: Tree, plot: Plot, part: str, name: str, words: str) -> Html:
    body = [
        [
            text(at(row, name)),
            text(at(row, "films")),
            text(at(row, "rejected")),
            percent(rate(row, "false_rejection_rate").value),
            spread(rate(row, "false_rejection_rate")),
        ]
        for row in rows(evaluation, part)
    ]
    numbers = table([name.capitalize(), "Films", "Refused", "Rate", "95% interval"], body)
    return joined(
        paragraph(words),
        None if plot is None else picture(plot, f"Clean films refused by {name}; the numbers are in the table below"),
        details("The numbers", numbers),
    )


def learning_curve(evaluation: Tree, plot: Plot) -> Section:
    """False rejection and detection against the number of fitting films."""
    title = "How many films does a fit need?"
    points = rows(evaluation, "learning_curve")
    if not points or plot is None:
        return Section("learning-curve", title, unmeasured("detection against the number of fitting films"))
    attack = hardest_attack(points)
    body = [
        [
            text(at(point, "detector")),
            text(at(point, "n")),
            text(at(point, "seed")),
            percent(number(point, "false_rejection_rate")),
            percent(None if attack is None else number(point, "detection_rate", attack)),
        ]
        for point in points
    ]
    return Section(
        "learning-curve",
        title,
        joined(
            paragraph(
                "Detectors fitted on fewer films; the threshold is from all held-out films each time. A line runs through means, "
                "and each dot is one draw of films."
            ),
            picture(plot, "False rejection and detection against the number of fitting films"),
            details(
                "The numbers", table(["Detector", "Films", "Seed", "Clean refused", f"{text(attack)} detected"], body)
            ),
        ),
    )


def figure_1(plot: Plot, *, show_films: bool) -> Section:
    """One film, its attack and both answers."""
    title = "Figure 1: one film, its attack, both answers"
    if plot is None:
        return Section("figure-1", title, unmeasured("an example film with its attack"))
    why = (
        "The attack alone is shown, and not the film, because X-rays of real people are not published with this report."
        if not show_films
        else "The attack is amplified; the two films look alike."
    )
    caption = f"{why} Grey in the attack is no change, white brighter and black darker."
    return Section(
        "figure-1", title, picture(plot, "An attack on one film and the network's answers before and after", caption)
    )


def figure_2a(plot: Plot) -> Section:
    """Feature maps."""
    title = "Figure 2a: what the network makes of it"
    if plot is None:
        return Section("figure-2a", title, unmeasured("feature maps of an example"))
    caption = (
        "Some of the network's last feature maps (7 by 7) for one film, clean and attacked; each pair has one scale."
    )
    return Section(
        "figure-2a", title, picture(plot, "Feature maps of the clean film above those of the attacked", caption)
    )


def figure_2b(plot: Plot) -> Section:
    """t-SNE of features."""
    title = "Figure 2b: clean and attacked features"
    if plot is None:
        return Section("figure-2b", title, unmeasured("features of clean and attacked films"))
    caption = (
        "t-SNE, one embedding for all panels. Grey dots: clean films; triangles: the same films attacked. Clouds apart are "
        "easily told apart; distances between clouds mean nothing."
    )
    return Section("figure-2b", title, picture(plot, "t-SNE of features, a panel for each attack", caption))


def roc(plot: Plot) -> Section:
    """ROC curves."""
    title = "ROC curves"
    if plot is None:
        return Section("roc", title, unmeasured("scores of clean and attacked films"))
    caption = "Attacked films caught against clean films refused, over all thresholds. Dashed: black-box. Dotted: stops early."
    return Section("roc", title, picture(plot, "ROC curves of the gate, one for each attack", caption))


def histograms(plot: Plot) -> Section:
    """Histograms of scores."""
    title = "Scores about the threshold"
    if plot is None:
        return Section("scores", title, unmeasured("scores of clean and attacked films"))
    caption = (
        "Films left of the dashed line are refused. The scale is linear near the threshold and logarithmic far from it, where "
        "textbook attacks lie."
    )
    return Section("scores", title, picture(plot, "Histograms of log density, a strip for each set of films", caption))


def _total(seconds: Tree) -> float:
    return sum(number(seconds, name) or 0 for name in seconds)


def provenance(evaluation: Tree) -> Section:
    """How the evaluation was made, and how to read it."""
    gate, films = branch(evaluation, "gate"), branch(evaluation, "films")
    seconds, aurocs = branch(evaluation, "seconds"), branch(evaluation, "clean", "auroc")
    facts: list[list[object]] = [
        ["Run", text(at(evaluation, "run"))],
        ["Model version", text(at(evaluation, "model_version"))],
        ["Preset", text(at(evaluation, "preset"))],
        ["Seed", text(at(evaluation, "seed"))],
        ["Created", text(at(evaluation, "created"))],
        ["Machine", text(at(evaluation, "machine"))],
        [
            "Versions",
            ", ".join(f"{name} {text(value)}" for name, value in branch(evaluation, "versions").items()) or None,
        ],
        ["Films", ", ".join(f"{name.replace('_', ' ')} {text(value)}" for name, value in films.items()) or None],
        [
            "Threshold",
            f"{decimal(number(gate, 'threshold'), 2)} nats, aiming at {percent(number(gate, 'target'))} refused",
        ],
        [
            "Bound",
            f"{percent(number(gate, 'bound'))}: with 95% confidence, films like the held-out ones are refused less often",
        ],
        ["Shrinkage", text(at(gate, "shrinkage"))],
    ]
    extraction = branch(evaluation, "extraction")
    if extraction:
        facts.append(
            [
                "Feature extraction",
                f"{decimal(number(extraction, 'images_per_second'), 1)} images/s, decoding included; the "
                f"{text(at(extraction, 'chest_xray14_images'))} images of ChestX-ray14 would take "
                f"{decimal(number(extraction, 'chest_xray14_hours'), 1)} h in one process, and shards divide that",
            ]
        )
    if seconds:
        facts.append(["Time", f"{decimal(_total(seconds) / 60, 1)} minutes in all; each part is in evaluation.json"])
    mean = rate(evaluation, "clean", "mean_auroc")
    interval = "" if mean.low is None else f" ({decimal(mean.low)} to {decimal(mean.high)})"
    network = [[name.replace("_", " "), decimal(number(aurocs, name))] for name in aurocs]
    return Section(
        "made",
        "How this was made, and how to read it",
        joined(
            table(["What", "Value"], facts, words=2),
            paragraph(
                "Intervals are 95% bootstraps over patients. Where nothing or everything was counted a bootstrap has no width: "
                "after n films without an exception, up to about 3/n may still be exceptions. The worst of many settings is an "
                "extreme, and the tables show them all. Numbers: evaluation.json and the CSV files beside this page."
            ),
            paragraph(f"Mean AUROC of the network on clean films: {decimal(mean.value)}{interval}."),
            details("AUROC of each finding on clean films", table(["Finding", "AUROC"], network))
            if network
            else html(""),
        ),
    )
