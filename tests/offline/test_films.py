"""Folders of films in both layouts are read and split by patient, and what is wrong with one is said."""

import gzip
from pathlib import Path

import pytest

from app.pipeline import LABELS
from offline.data.films import FilmsError, SplitRule, fingerprint, of_split, read_films, targets_of

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
ROWS = [
    "1_0.png,Cardiomegaly|Effusion,0,1,57,M,PA",
    "1_1.png,No Finding,1,1,058Y,M,AP",
    "2_0.png,Hernia,0,2,,F,PA",
    "3_0.png,Pleural_Thickening,0,3,33,F,PA",
]
SPLIT = ["train", "train", "val", "test"]


def folder_of(
    tmp_path: Path,
    *,
    header: str = HEADER,
    rows: list[str] = ROWS,
    split: list[str] | None = None,
    table: str = "labels.csv",
) -> Path:
    """A folder with a table, and an empty file in ``images/`` for each row."""
    if split is not None:
        header, rows = header + ",split", [f"{row},{name}" for row, name in zip(rows, split, strict=True)]
    (tmp_path / table).write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "images").mkdir()
    for row in rows:
        (tmp_path / "images" / row.split(",")[0]).touch()
    return tmp_path


def test_labels_csv(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, split=SPLIT)
    films = read_films(folder)
    assert [film.split for film in films] == SPLIT
    assert films[0].path == folder / "images/1_0.png"
    assert [film.age for film in films] == [57, 58, -1, 33]
    assert (films[0].patient, films[0].view, films[0].sex) == ("1", "PA", "M")
    targets = targets_of(films)
    assert targets.shape == (4, len(LABELS))
    assert [LABELS[column] for column in targets[0].nonzero()[0]] == ["Cardiomegaly", "Effusion"]
    assert targets[1].sum() == 0
    assert of_split(films, "val") == [films[2]]


def test_images_beside_the_table(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, split=SPLIT)
    (folder / "images/2_0.png").rename(folder / "2_0.png")
    assert read_films(folder)[2].path == folder / "2_0.png"


def nih_folder(tmp_path: Path) -> Path:
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    for number, row in enumerate(ROWS, start=1):
        place = tmp_path / f"images_{number:03d}" / "images"
        place.mkdir(parents=True)
        (place / row.split(",")[0]).touch()
    return tmp_path


def test_nih_layout(tmp_path: Path) -> None:
    folder = nih_folder(tmp_path)
    films = read_films(folder)
    assert [film.path for film in films] == [
        folder / f"images_{number:03d}/images" / row.split(",")[0] for number, row in enumerate(ROWS, start=1)
    ]
    assert films[0].split == films[1].split  # one patient


def test_papers_split(tmp_path: Path) -> None:
    folder = nih_folder(tmp_path)
    listed = tmp_path / "paper.csv.gz"
    names = [row.split(",")[0] for row in ROWS]
    with gzip.open(listed, "wt") as stream:
        stream.write("Image Index,split\n" + "".join(f"{n},{s}\n" for n, s in zip(names, SPLIT, strict=True)))
    for rule in ("auto", "paper"):
        assert [film.split for film in read_films(folder, split_rule=rule, paper_split=listed)] == SPLIT


def test_patient_split_depends_on_the_patient_and_the_seed_alone(tmp_path: Path) -> None:
    rows = [
        f"{patient}_{visit}.png,No Finding,{visit},{patient},50,F,PA" for patient in range(2000) for visit in (0, 1)
    ]
    (tmp_path / "labels.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    films = read_films(tmp_path, split_rule="patient", need_images=False)
    shares = {name: len(of_split(films, name)) / len(films) for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.03)
    (tmp_path / "labels.csv").write_text("\n".join([HEADER, *rows[1000:1100]]) + "\n")
    fewer = read_films(tmp_path, split_rule="patient", need_images=False)
    assert [film.split for film in fewer] == [film.split for film in films[1000:1100]]
    (tmp_path / "labels.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    assert films != read_films(tmp_path, split_rule="patient", seed=1, need_images=False)


def test_a_patient_in_two_splits(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match="both 'train' and 'test'"):
        read_films(folder_of(tmp_path, split=["train", "test", "val", "test"]))


@pytest.mark.parametrize("column", ["Image Index", "Finding Labels", "Patient ID"])
def test_a_missing_column(tmp_path: Path, column: str) -> None:
    with pytest.raises(FilmsError, match=f"lacks the column.*{column}"):
        read_films(folder_of(tmp_path, header=HEADER.replace(column, "Something")))


@pytest.mark.parametrize(
    ("rows", "split", "rule", "words"),
    [
        pytest.param(["1.png,Broken Heart,0,1,5,M,PA"], None, "auto", "unknown finding 'Broken Heart'", id="finding"),
        pytest.param(["1.png,hernia,0,1,5,M,PA"], None, "auto", "unknown finding 'hernia'", id="finding in lower case"),
        pytest.param([], None, "auto", "no rows", id="no rows"),
        pytest.param(ROWS[:1], ["dev"], "auto", "split 'dev'", id="unknown split"),
        pytest.param(ROWS[:1], None, "column", "split ''", id="no split column"),
        pytest.param(ROWS[:1], None, "paper", "--paper-split", id="no paper list"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, rows: list[str], split: list[str] | None, rule: SplitRule, words: str
) -> None:
    with pytest.raises(FilmsError, match=words):
        read_films(folder_of(tmp_path, rows=rows, split=split), split_rule=rule)


def test_a_missing_image(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, split=SPLIT)
    (folder / "images/2_0.png").unlink()
    with pytest.raises(FilmsError, match=r"1 of 4 images .*2_0\.png"):
        read_films(folder)
    assert len(read_films(folder, need_images=False)) == 4


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match=r"neither labels\.csv nor"):
        read_films(tmp_path)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    films = read_films(folder_of(tmp_path, split=["train"] * 4))
    with pytest.raises(FilmsError, match="'val'"):
        of_split(films, "val")


def test_fingerprint_tells_labels_and_splits_and_not_order_or_place(tmp_path: Path) -> None:
    films = read_films(folder_of(tmp_path, split=SPLIT))
    assert fingerprint(films) == fingerprint(films[::-1])
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "images").rename(tmp_path / "old")
    other = read_films(folder_of(tmp_path, split=["train", "train", "test", "test"]))
    assert fingerprint(films) != fingerprint(other)


def test_the_whole_nih_table_and_the_papers_split(shared_data: Path) -> None:
    folder = shared_data / "nih_metadata"
    if not folder.is_dir():
        pytest.skip("the NIH's table is not among the shared data")
    listed = folder / "paper_split.csv.gz"
    films = read_films(folder, split_rule="paper", paper_split=listed, need_images=False)
    assert len(films) == 112_120
    sizes = {name: len(of_split(films, name)) for name in ("train", "val", "test")}
    assert sizes == {"train": 78_468, "val": 11_219, "test": 22_433}
    assert int(targets_of(films)[:, LABELS.index("Hernia")].sum()) == 227  # Wang et al., CVPR 2017


def test_the_shared_films(shared_data: Path) -> None:
    films = read_films(shared_data / "chest_xrays")
    assert [len(of_split(films, name)) for name in ("train", "val", "test")] == [954, 139, 260]
