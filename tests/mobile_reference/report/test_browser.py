"""Every page in a real browser: wide and narrow, light and dark, by keyboard, in print, by axe-core."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.report.bundle_page import bundle_page
from mien.mobile_reference.report.page import jpeg, write_page
from mien.mobile_reference.serving.app import make_app
from mien.mobile_reference.serving.look import Look
from tests.commands import run_mien

from .pages import GREY, page_of

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; .ci/run installs Debian's")
PAGES = ("every block", "export", "verify", "bench", "appraise", "compare")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, sample_folder: Path) -> dict[str, Path]:
    """One page of each command, made by it, but that of an export, which takes minutes."""
    folder, bundle = tmp_path_factory.mktemp("pages"), shipped_bundle()
    found = {name: folder / f"{name}.html" for name in PAGES}
    found["every block"].write_text(write_page(page_of()))
    found["export"].write_text(bundle_page(open_bundle(bundle), ["a warning"]))
    run_mien("verify", "--page", found["verify"])
    run_mien("bench", "--processes", 1, "--runs", 2, "--page", found["bench"])
    photographs = sorted(sample_folder.glob("nobody-0[1-4]*.jpg"))
    run_mien("appraise", *photographs, folder, "--page", found["appraise"], expect=2)
    run_mien("compare", bundle, bundle, "--page", found["compare"])
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        # A sandbox needs what a container's root does not have.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        opened = play.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=300_000)
        yield opened
        opened.close()


def opened(browser: Browser, file: Path, width: int, scheme: Any) -> tuple[Page, list[str]]:
    """Open a page, and gather what the console and the network heard of it."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(300_000)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.goto(file.as_uri())
    return page, [one for one in heard if one != file.as_uri() and not one.startswith("data:")]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound(name: str, width: int, scheme: str, browser: Browser, pages: dict[str, Path]):
    page, heard = opened(browser, pages[name], width, scheme)
    assert heard == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
    found = Axe().run(page).response["violations"]
    grave = [(one["id"], one["help"]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []
    page.close()


def test_a_table_is_sorted_by_keyboard(browser: Browser, pages: dict[str, Path]):
    page, _ = opened(browser, pages["every block"], 1280, "light")
    # An arrow beside its name is for eyes alone.
    page.get_by_role("button", name="n", exact=True).focus()
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent)"
    assert page.evaluate(column) == ["2", "10", "-"]
    page.keyboard.press("Enter")
    assert page.evaluate(column) == ["2", "10", "-"]
    assert page.evaluate("document.activeElement.parentNode.ariaSort") == "ascending"
    page.keyboard.press("Enter")
    assert page.evaluate(column) == ["10", "2", "-"]
    page.close()


@pytest.fixture
def served() -> Iterator[str]:
    """The address of a page that takes photographs, and gives each of them the same score."""
    look = Look(24.0, "100 is typical", (jpeg(GREY, "a face", "input"),) * 4, {"run the models": 1.0})
    server = uvicorn.Server(uvicorn.Config(make_app("a bundle", lambda file: look), log_level="critical"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_browser_sends_a_photograph_to_the_page_of_serve(
    width: int, scheme: Any, served: str, browser: Browser
):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(300_000)
    page.goto(served)
    page.get_by_label("photograph").set_input_files(
        {"name": "a face.jpg", "mimeType": "image/jpeg", "buffer": b"x"}
    )
    page.get_by_role("button", name="Rate it").click()
    page.get_by_role("heading", name="a face.jpg").wait_for()
    assert page.get_by_text("24.0 (100 is typical)").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.close()


def test_a_page_is_printed_in_black_on_white(browser: Browser, pages: dict[str, Path]):
    page, _ = opened(browser, pages["appraise"], 1280, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_a_page_that_overflows_is_seen(browser: Browser, tmp_path: Path):
    wide = tmp_path / "wide.html"
    wide.write_text(
        "<!doctype html><title>x</title><div style='width:2000px'>x</div><script>nothing()</script>"
    )
    page, heard = opened(browser, wide, 390, "light")
    assert page.evaluate("document.documentElement.scrollWidth") > 390
    assert heard
    page.close()
