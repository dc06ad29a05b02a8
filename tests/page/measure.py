"""How long a person waits: from the drop of a real 15-bit DICOM film to its verdict, and to the film on the canvas.

``python -m tests.page.measure`` serves artifacts/default and prints one table.
"""

from __future__ import annotations

import base64
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from pydicom.data import get_testdata_file

from tests.support.processes import ROOT
from tests.support.served import serve

TIMES = 11
#: A second drop waits in the list, so the page is opened anew for each.
_PREPARE = """(content) => {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "chest.dcm"));
    window.event_ = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
}"""
_DROP = """() => new Promise((done) => {
    const started = performance.now();
    let verdict = null;
    const look = () => {
        const now = performance.now() - started;
        if (verdict === null && document.querySelectorAll(".finding").length === 14) verdict = now;
        if (verdict !== null && document.querySelector(".readout").textContent) done([verdict, now]);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    document.body.dispatchEvent(window.event_);
})"""


def once(page: Page, url: str, film: bytes) -> tuple[float, float]:
    """Seconds to the verdict and to the film."""
    page.goto(url)
    page.evaluate(_PREPARE, base64.b64encode(film).decode())
    verdict, shown = page.evaluate(_DROP)
    return verdict / 1000, shown / 1000


def main() -> None:
    """Measure, and print."""
    path, executable = get_testdata_file("RG1_UNCR.dcm"), shutil.which("chromium")
    assert path
    assert executable
    film = Path(path).read_bytes()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(ROOT / "artifacts" / "default", Path(folder) / "log") as service,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        times = [once(page, str(service.client.base_url), film) for _ in range(TIMES)]
        browser.close()
    for name, seconds in zip(("verdict", "film"), zip(*times, strict=True), strict=True):
        print(
            f"{name}: first {seconds[0]:.2f} s, median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s"
        )


if __name__ == "__main__":
    main()
