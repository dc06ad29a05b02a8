"""``cxr-offline locate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.pipeline import choose_device

from ..data.command import add_data, films_of
from ..data.films import fingerprint
from ..evaluation.subject import LoadedBundle
from ..options import Commands, add_bundle
from ..run import a_run
from .boxes import read_boxes
from .locate import REPORT, Explained, locate
from .plot import draw
from .words import sentences


def add_locate(commands: Commands) -> None:
    command = commands.add_parser(
        "locate",
        help="does a heatmap show where the finding is? Measured on boxes that radiologists drew",
        description="Compares maps of a finding with boxes: the class activation map, the same relative to typical films, "
        "Grad-CAM, LayerCAM and a product, each also spread over its neighbours, as what is served is. Told are: whether the "
        "strongest place lies in the box, how much the strongest tenth overlaps it, how many maps are empty or strongest beside "
        "the chest; the same of points that look at no film, and of another film's map. The report lists films "
        "that the network was trained on separately. Writes located.json, and located.png, which shows films.",
        epilog="Example: cxr-offline locate --bundle artifacts/default --boxes BBox_List_2017.csv --output runs/located",
    )
    add_data(command)
    made = command.add_mutually_exclusive_group()
    made.add_argument("--run", type=a_run, help="a run after 'calibrate'")
    add_bundle(made)
    command.add_argument(
        "--boxes",
        type=Path,
        help="the NIH's list: image, finding, x, y, width, height in pixels of the 1024x1024 originals (default: boxes.csv in "
        "the folder of --data)",
    )
    command.add_argument(
        "--films",
        type=int,
        default=0,
        help="so many test films, evenly spread, are asked whether a heatmap shows something (default: 0, all of them)",
    )
    command.add_argument("--output", type=Path, default=Path("runs/located"), help="folder (default: %(default)s)")
    command.set_defaults(run_command=_locate)


def _locate(parsed: argparse.Namespace) -> int:
    films, device = films_of(parsed), choose_device(parsed.device)
    boxes = read_boxes(parsed.boxes or parsed.data / "boxes.csv", films)
    if parsed.run is not None:
        explained = Explained.of_run(parsed.run)
    else:
        explained = Explained.of_bundle(LoadedBundle.load(parsed.bundle, device).bundle)
    test = [film for film in films if film.split == "test"]
    others = test[:: max(1, len(test) // parsed.films)][: parsed.films] if parsed.films else test
    report, located = locate(explained, others, boxes, parsed.output, data=fingerprint(films), device=device)
    picture = draw(located, parsed.output)
    print("\n".join(sentences(report)))
    print(f"{parsed.output / REPORT}; {picture} shows films, so keep it where they are kept")
    return 0
