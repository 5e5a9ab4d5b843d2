"""Draws pictures of reports for the documentation, in headless Chromium.

    python Testing/report_pictures.py EVALUATION ANNOTATIONS COHORT docs/pictures

The three are folders that `--report` of evaluate, check and detect wrote.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 1280, 900
PICTURES = (
    (0, "index.html", "report-evaluation.png", 1500),
    (0, "cases/0000.html", "report-case.png", HEIGHT),
    (0, "landmarks/0000.html", "report-landmark.png", HEIGHT),
    (1, "index.html", "report-annotations.png", HEIGHT),
    (2, "index.html", "report-cohort.png", HEIGHT),
)
"""Which report, its page, the picture, and its height."""


def main(reports: list[Path], output: Path) -> None:
    """Draw all pictures."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for report, page, name, height in PICTURES:
            (output / name).write_bytes(draw(browser, reports[report] / page, height))
        browser.close()


def draw(browser: Any, page: Path, height: int) -> bytes:
    """A page as it is seen in a window of that height, PNG with few colours."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": height})
    tab.goto(page.resolve().as_uri())
    if tab.query_selector("#viewer"):
        tab.wait_for_function("document.getElementById('viewer').dataset.state")
        tab.wait_for_timeout(1000)
    picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB").quantize(128)
    tab.close()
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    *folders, target = map(Path, sys.argv[1:])
    main(folders, target)
