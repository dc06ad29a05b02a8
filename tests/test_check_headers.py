"""``cxr-gate check-headers`` says what each combination of a table would get, why, and how many films that is."""

from pathlib import Path

import pytest

from app.cli import main
from app.headers import checked
from app.pipeline.dicom.rules import DEFAULT_RULES, HeaderRules

REAL = Path(__file__).parent / "pipeline" / "data" / "openi_headers.csv"


def test_a_real_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-headers", str(REAL)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "not looked at: PhotometricInterpretation, PresentationLUTShape, expected"
    assert (
        printed[1].split()
        == "2913 accepted Modality=CR BodyPartExamined=CHEST ViewPosition=PA PatientOrientation=L\\F".split()
    )
    refused = next(number for number, line in enumerate(printed) if "LARGE LATERAL" in line)
    assert printed[refused].split()[:2] == ["2", "refused"]
    assert printed[refused + 1].strip().startswith("ViewPosition (0018,5101) names a lateral view")
    assert printed[-1].startswith("7,469 films in 46 combinations: 6,586 accepted, 883 refused by their headers.")


def test_a_film_a_line_under_a_sites_words(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("\ufeffBodyPartExamined,Modality,ViewPosition\nTRX,CR,PA\nTRX,CR,PA\nTRX,MG,\n", encoding="utf-8")
    assert list(checked(table, DEFAULT_RULES))[-1].startswith("3 films in 2 combinations: 0 accepted, 3 refused")
    site = HeaderRules(word_changes=("chest+TRX",))
    assert list(checked(table, site))[-1].startswith("3 films in 2 combinations: 2 accepted, 1 refused")


@pytest.mark.parametrize(("content", "reason"), [
    (b"BodyPartExamined\nCHEST\n", "has no column Modality"),
    (b"films,Modality\nmany,CR\n", "is no table in CSV and UTF-8"),
    (b"Modality\n\xff\n", "is no table in CSV and UTF-8"),
    (b"", "has no column Modality"),
    (None, "No such file"),
])  # fmt: skip
def test_what_is_no_table(
    content: bytes | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    if content is not None:
        table.write_bytes(content)
    assert main(["check-headers", str(table)]) == 1
    assert reason in capsys.readouterr().err
