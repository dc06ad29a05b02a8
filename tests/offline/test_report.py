"""The report holds the evaluation's numbers, loads nothing from elsewhere, and says what was not measured."""

import csv
import io
import json
import re
from dataclasses import fields
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from offline.detectors.comparison import AttackMeasures, CurvePoint, DetectorMeasures
from offline.detectors.measures import DetectionAt, FindingAuroc
from offline.report import reading, sentences, summary, write, write_report
from offline.report.plot_style import DARK, LIGHT, THEMES, Theme
from offline.report.reading import PAPER_ATTACKS
from offline.report.summary import headlines
from offline.report.tables import write_tables
from offline.report.words import strength

from .report_material import DETECTORS, arrays, evaluation

ROOT = Path(__file__).parents[2]
TABLES = ("detectors", "substitutes", "aware", "harmless", "orientation", "groups", "learning_curve", "table1")
PLOTS = ("attackers", "harmless", "groups", "learning_curve", "figure_1", "figure_2a", "figure_2b", "roc", "scores")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    write_report(evaluation(), arrays(), folder)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    write_report({"preset": "quick", "aware": None, "clean": {"auroc": {"Mass": float("nan")}}}, {}, folder)
    return folder


def words(folder: Path) -> str:
    """What a reader sees: no tags, no images, one space between words."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    body = page.split("</head>")[1]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def read(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text(encoding="utf-8"))))


def test_every_file_is_there(full: Path) -> None:
    assert {path.name for path in full.iterdir()} == {
        "report.html",
        "evaluation.json",
        "plots",
        *(f"{name}.csv" for name in TABLES),
    }
    assert {path.name for path in (full / "plots").iterdir()} == {f"{name}.png" for name in PLOTS}
    for path in (full / "plots").iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_the_page_loads_nothing(full: Path, bare: Path) -> None:
    for folder in (full, bare):
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert not re.search(r"https?:|<script|<link|<iframe|@import|url\(", page)
        assert all(
            found.startswith("data:image/png;base64,") for found in re.findall(r'(?:src|srcset)="([^"]*)"', page)
        )
        assert "default-src 'none'" in page


def test_every_tag_is_closed_in_order(full: Path, bare: Path) -> None:
    for folder in (full, bare):
        open_tags: list[str] = []
        for closing, tag in re.findall(r"<(/?)([a-z0-9]+)[^>]*>", (folder / "report.html").read_text(encoding="utf-8")):
            if closing:
                assert open_tags.pop() == tag
            elif tag not in ("meta", "img", "source", "br"):
                open_tags.append(tag)
        assert not open_tags


def test_the_json_is_the_evaluation(full: Path) -> None:
    written = json.loads((full / "evaluation.json").read_text(encoding="utf-8"))
    expected = json.loads(json.dumps(evaluation()).replace("NaN", "null"))
    assert written == expected


def test_the_first_screen_has_each_number_with_interval_and_count(full: Path) -> None:
    first = words(full).split("Table 1 of the paper")[0]
    for card in headlines(reading.read(evaluation())):
        assert f"{card.title} {card.value} {card.interval} {card.films} films {card.note}" in first
    assert "Not a medical device." in first
    assert "93.3% 89.3% to 97.3% 56 of 60 films" in first
    assert "6.7% 2.7% to 10.7% 4 of 60 films" in first


def test_the_key_numbers_are_on_the_page(full: Path) -> None:
    seen, made = words(full), evaluation()
    for row in made["aware"]:
        assert f"{row['evasion_rate']['value']:.1%}" in seen
        assert f"{row['evaded']} of {row['eligible']}" in seen
        assert strength(row["epsilon"]) in seen
    for row in made["detectors"]:
        for attack in row["attacks"].values():
            assert f"{attack['detection_rate']['value']:.1%}" in seen
            assert f"{attack['detection_auroc']['value']:.3f}" in seen
    for name in PAPER_ATTACKS:
        assert f"0.500 / {made['no_defence'][name]['mean']:.3f}" in seen
    for row in made["substitutes"]:
        assert f"{row['name']} {row['films']:,}" in seen
        for transfer in row["transfer"]:
            assert f"{transfer['passed']} of {transfer['films']} changed {transfer['changed']} of" in seen
    assert "24.5 images/s" in seen
    for row in made["orientation"]:
        assert f"{row['film']} {row['films']} {row['unsuitable']} {row['rejected']} {row['passed']}" in seen
    for part in ("harmless", "groups"):
        for row in made[part]:
            assert f"{row['rejected']} {row['false_rejection_rate']['value']:.1%}" in seen
    for row in made["sanity"]:
        assert row["detail"] in seen
    for point in made["learning_curve"]:
        assert f"{point['false_rejection_rate']:.1%}" in seen
    for label, auroc in made["clean"]["auroc"].items():
        assert f"{label.replace('_', ' ')} {auroc:.3f}" in seen


def test_the_papers_cells_stand_beside_ours(full: Path) -> None:
    cells = {(row["defence"], row["attack"]): row for row in read(full, "table1")}
    assert len(cells) == 4 * len(PAPER_ATTACKS)
    gate = cells["MGM (the paper's gate)", "black-box PGD"]
    assert (gate["paper_accuracy"], gate["paper_auroc"]) == (".903", ".808")
    assert float(gate["accuracy"]) == pytest.approx(0.975)
    assert gate["auroc"] == ""  # nothing to measure it on
    assert cells["Isolation Forest", "white-box FGSM"]["paper_accuracy"] == "n/a in our notes"
    nothing = cells["No defence", "white-box BIM"]
    assert (nothing["accuracy"], nothing["f1"], nothing["paper_auroc"]) == ("0.5", "0.0", ".591 to .749")
    seen = words(full)
    assert ".903 / .808" in seen
    assert ".591 to .749" in seen


def test_csv_has_a_row_for_each_measurement(full: Path) -> None:
    made = evaluation()
    for name in ("aware", "harmless", "orientation", "groups", "learning_curve"):
        assert len(read(full, name)) == len(made[name])
    assert len(read(full, "substitutes")) == 4
    rows = read(full, "detectors")
    assert len(rows) == len(DETECTORS) * len(made["detectors"][0]["attacks"])
    assert rows[0]["held_out_at_0.001"] == ""
    assert (
        float(rows[0]["held_out_at_0.05"])
        == made["detectors"][0]["attacks"]["white-box FGSM"]["detection_rate"]["value"]
    )


def test_what_was_not_measured_is_said(bare: Path) -> None:
    seen = words(bare)
    assert seen.count("Not measured in this evaluation") == 5 + 14  # the cards, and the sections without numbers
    assert "n/a" in seen
    assert "nan" not in seen.lower().split()
    assert "None" not in seen
    assert not list((bare / "plots").iterdir())
    assert json.loads((bare / "evaluation.json").read_text(encoding="utf-8"))["clean"]["auroc"]["Mass"] is None
    assert {name: len(read(bare, name)) for name in TABLES} == {name: 32 if name == "table1" else 0 for name in TABLES}
    assert all(row["accuracy"] == row["auroc"] == "" for row in read(bare, "table1"))


@pytest.mark.parametrize("missing", sorted(evaluation()))
def test_any_part_may_be_missing(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_draw", lambda *_: dict.fromkeys(PLOTS))  # plots take seconds
    made = evaluation()
    del made[missing]
    assert all(sentences(made))
    write_report(made, {}, tmp_path)
    assert "nan" not in words(tmp_path).lower().split()


def test_a_film_is_shown_only_when_asked(full: Path, tmp_path: Path) -> None:
    figure_1 = ("example/clean", "example/attacked", "example/probabilities", "example/scores")
    only = {key: value for key, value in arrays().items() if key.startswith(figure_1)}
    write_report({}, only, tmp_path, show_films=True)
    why = "X-rays of real people are not published"
    assert why in words(full)
    assert why not in words(tmp_path)
    # No pixel of the film: the picture is the same for any film with the same attack.
    pictures = []
    for shift in (0.0, 0.25):
        moved = dict(only)
        moved["example/clean"] = np.full((224, 224), 0.25 + shift)
        moved["example/attacked"] = moved["example/clean"] + np.where(np.arange(224) % 2, 0.0078125, -0.0078125)
        write_report({}, moved, tmp_path)
        pictures.append((tmp_path / "plots" / "figure_1.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_an_earlier_plot_does_not_linger(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "roc.png").write_bytes(b"of another evaluation")
    write_report({}, {}, tmp_path)
    assert not (tmp_path / "plots" / "roc.png").exists()


def test_the_material_has_the_fields_of_the_measures() -> None:
    row = evaluation()["detectors"][0]
    attack = row["attacks"]["white-box FGSM"]
    assert list(row) == [field.name for field in fields(DetectorMeasures)]
    assert list(attack) == [field.name for field in fields(AttackMeasures)]
    assert list(attack["detection_at"][0]) == [field.name for field in fields(DetectionAt)]
    assert list(attack["passed_auroc"]) == [field.name for field in fields(FindingAuroc)]
    assert list(evaluation()["learning_curve"][0]) == [field.name for field in fields(CurvePoint)]


def test_numbers_of_numpy_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_draw", lambda *_: dict.fromkeys(PLOTS))
    share = {"value": np.float32(0.25), "low": np.float64(0.125), "high": np.float32(0.5)}
    row = {"attacker": "joint", "informed": np.True_, "goal": "hide", "evaded": np.int64(5), "eligible": np.int64(20)}
    write_report({"aware": [row | {"evasion_rate": share}]}, {}, tmp_path)
    assert "25.0% 12.5% to 50.0% 5 of 20 films" in words(tmp_path)


@pytest.mark.parametrize("name", ["default", "paper"])
def test_committed_evaluations_can_be_read(name: str, tmp_path: Path) -> None:
    """They are of older versions, whose tables had fewer columns: what stood in these stands there still."""
    folder = ROOT / "reports" / name
    made = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    write_tables(reading.read(made), tmp_path)
    tables = [path.stem for path in folder.glob("*.csv")]
    assert set(tables) == set(TABLES)
    for table in tables:
        for was, now in zip(read(folder, table), read(tmp_path, table), strict=True):
            was.pop("defence", None)  # the paper's gate was called the gate
            assert was.items() <= now.items(), table


def test_a_number_that_is_none_is_an_error_that_names_the_field() -> None:
    with pytest.raises(ValueError, match=r"aware\.0\.evaded"):
        reading.read({"aware": [{"attacker": "joint", "evaded": "many"}]})


def test_text_is_escaped(tmp_path: Path) -> None:
    write_report({"run": "<b>&", "sanity": [{"attacker": "<i>", "detail": "1 < 2"}]}, {}, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;" in page
    assert "<i>" not in page


def test_the_verdict_follows_the_numbers() -> None:
    made = evaluation()
    assert verdict(made).startswith("Yes, if the attack is a textbook one.")
    assert verdict(made).endswith("No, if the attacker knows the gate.")
    made["detectors"][0]["attacks"]["white-box PGD"]["detection_rate"]["value"] = 0.2
    made["aware"] = [row | {"evasion_rate": {"value": 0.0, "low": 0.0, "high": 0.0}} for row in made["aware"]]
    assert verdict(made) == "No, if the attack is a textbook one. Mostly yes, if the attacker knows the gate."
    assert verdict({}) == "Not measured: this evaluation holds no attack on the gate."


def verdict(evaluation: dict[str, Any]) -> str:
    return summary.verdict(reading.read(evaluation))


def test_the_sentences_name_the_worst() -> None:
    said = " ".join(sentences(evaluation()))
    assert "93.3% (89.3% to 97.3%); the weakest result is 56 of 60 films, on white-box FGSM" in said
    assert "minimal, epsilon 1/255" in said  # of equals, the smallest epsilon
    assert "rotation by 90°" in said
    assert "not a medical device" in said


@pytest.mark.parametrize(
    ("epsilon", "shown"), [(1 / 255, "1/255"), (8 / 255, "8/255"), (0.02, "0.02"), (0.05, "0.05"), (None, "n/a")]
)
def test_epsilon_is_written_as_people_say_it(epsilon: float | None, shown: str) -> None:
    assert strength(epsilon) == shown


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_colours_can_be_seen(theme: Theme) -> None:
    """WCAG 2.2: 4.5 for text (1.4.3), so for lines too, as they are labelled in their colour."""
    assert _contrast(theme.text, theme.paper) >= 7
    assert _contrast(theme.faint, theme.paper) >= 4.5
    assert all(_contrast(colour, theme.paper) >= 4.5 for colour in theme.hues.values())


def test_the_pages_colours_can_be_read(bare: Path) -> None:
    page = (bare / "report.html").read_text(encoding="utf-8")
    for block, theme in zip(re.findall(r":root \{(.*?)\}", page, re.DOTALL), (LIGHT, DARK), strict=True):
        colours: dict[str, Any] = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", block))
        assert colours["paper"] in (theme.paper, "#fff")
        for name in ("text", "faint", "link", "good", "bad"):
            assert _contrast(colours[name], colours["paper"]) >= 4.5
            assert _contrast(colours[name], colours["panel"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    levels = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
