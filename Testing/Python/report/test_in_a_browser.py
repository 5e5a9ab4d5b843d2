"""The reports as a browser shows them: opened as files, without a server."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from LandmarkDetectionLib.report.folder import FRONT

CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
MISSING_IN_DRAWINGS = """
Promise.all(Array.from(document.querySelectorAll("svg image")).map((image) => new Promise((done) => {
  const copy = new Image();
  copy.onload = () => done(0);
  copy.onerror = () => done(1);
  copy.src = image.href.baseVal;
}))).then((all) => all.reduce((sum, one) => sum + one, 0))
"""
PAGES = [
    ("evaluation", FRONT),
    ("evaluation", "cases/0001.html"),
    ("evaluation", "cases/0003.html"),
    ("evaluation", "landmarks/0000.html"),
    ("annotations", FRONT),
    ("annotations", "cases/0000.html"),
    ("cohort", FRONT),
    ("cohort", "cases/0000.html"),
    ("training", FRONT),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.complaints = []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("requestfailed", lambda request: page.complaints.append(request.url))
    yield page
    page.close()


def open_page(page: Any, path: Path) -> None:
    page.goto(path.as_uri())
    if page.query_selector("#viewer"):
        page.wait_for_function("document.getElementById('viewer').dataset.state", timeout=120_000)


@pytest.mark.parametrize(("kind", "name"), PAGES)
def test_a_page_has_all_its_pictures_and_no_error_and_is_fit_for_everybody(
    reports: dict[str, Path], page: Any, kind: str, name: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    open_page(page, reports[kind] / name)
    assert page.complaints == []
    broken = "Array.from(document.images).filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate(MISSING_IN_DRAWINGS) == 0
    grave = [
        (item["id"], [node["html"][:120] for node in item["nodes"]])
        for item in Axe().run(page).response["violations"]
        if item["impact"] in ("serious", "critical")
    ]
    assert grave == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "it is wider than the window"
    )


def test_the_viewer_draws_the_scan_and_goes_to_a_landmark(reports: dict[str, Path], page: Any) -> None:
    open_page(page, reports["evaluation"] / "cases" / "0000.html")
    assert page.eval_on_selector("#viewer", "canvas => canvas.dataset.state") == "drawn"
    assert page.locator("#viewer-landmarks button").count() == 12
    page.wait_for_timeout(300)
    first = page.locator("#viewer").screenshot()
    assert len(greys(first)) > 20, "more than a black picture"
    button = page.locator("#viewer-landmarks button").last
    button.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#viewer-status") == button.inner_text()
    page.wait_for_timeout(300)
    assert page.locator("#viewer").screenshot() != first
    assert page.complaints == []


def greys(png: bytes) -> set[int]:
    return set(Image.open(io.BytesIO(png)).convert("L").resize((80, 60)).tobytes())


def test_without_javascript_all_but_the_viewer_is_there(reports: dict[str, Path], browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((reports["evaluation"] / "cases" / "0000.html").as_uri())
    assert "The viewer needs JavaScript; the pictures below do not." in page.inner_text("main")
    assert page.locator(".crop svg[role=img]").count() == 6
    context.close()


def test_the_keyboard_skips_to_the_content_and_follows_a_number_to_its_picture(
    reports: dict[str, Path], page: Any
) -> None:
    open_page(page, reports["evaluation"] / FRONT)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.locator(".heat td a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/landmarks/*.html#c*")
    assert page.locator("figure:target").count() == 1


def test_a_printed_report_has_no_navigation_and_no_viewer(reports: dict[str, Path], page: Any) -> None:
    open_page(page, reports["evaluation"] / "cases" / "0000.html")
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#viewer").is_visible()
    assert page.locator(".crop").first.is_visible()
