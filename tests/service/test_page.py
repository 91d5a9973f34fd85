"""The page in a real browser, against the real service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from support.browser import chromium
from support.bundles import png, write_toy_classifier
from support.served import Server, served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The opened page; fails the test on a script error or a request to any other address."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1200, "height": 900})
    opened, wrong = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
    opened.on("request", lambda sent: wrong.append(sent.url) if not _own(sent.url, server.url) else None)
    opened.goto("/")
    expect(opened.locator("#samples button")).to_have_count(8)
    expect(opened.locator("#samples button[aria-pressed=true]")).to_have_count(1)
    yield opened
    context.close()
    assert not wrong


def _own(address: str, url: str) -> bool:
    return address.startswith((url, "blob:", "data:"))


def show(page: Page, tmp_path: Path, colour: str) -> None:
    (tmp_path / f"{colour}.png").write_bytes(png(colour))
    page.locator("#file").set_input_files(tmp_path / f"{colour}.png")
    expect(page.locator("#shown")).to_have_attribute("alt", f"Your picture, {colour}.png")


def say(page: Page, text: str) -> None:
    page.get_by_label("A statement about the picture").fill(text)
    page.get_by_role("button", name="Ask").click()


def test_a_statement_about_an_uploaded_picture_is_judged(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, "red")
    say(page, "a red square")
    row = page.locator(".answer", has_text="a red square")
    expect(row.locator(".verdict")).to_have_text("True")
    expect(row.locator("output")).to_have_text("100.0 %")
    say(page, "a blue square")
    expect(page.locator(".answer", has_text="a blue square").locator(".verdict")).to_have_text("False")
    expect(page.locator("#status")).to_contain_text("a blue square: false")
    show(page, tmp_path, "blue")
    expect(page.locator(".answer", has_text="a blue square").locator(".verdict")).to_have_text("True")


def test_why_lays_the_map_over_the_picture(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, "red")
    say(page, "a red square")
    row = page.locator(".answer", has_text="a red square")
    row.locator(".why").click()
    expect(page.locator("#stage")).to_have_class("stage explained")
    expect(page.locator("#legend")).to_be_visible()
    assert page.locator("#overlay").evaluate("canvas => canvas.width === canvas.height && canvas.width > 100")
    page.get_by_role("button", name="Hide").click()
    expect(page.locator("#stage")).to_have_class("stage")
    expect(row.locator(".why")).to_have_text("Why?")


def test_the_keyboard_stays_where_it_was(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, "red")
    say(page, "a red square")
    row = page.locator(".answer", has_text="a red square")
    row.locator(".why").focus()
    page.keyboard.press("Enter")
    expect(row.locator(".why")).to_have_text("Shown on the picture")
    expect(row.locator(".why")).to_be_focused()
    page.get_by_role("button", name="Hide").focus()
    page.keyboard.press("Enter")
    expect(row.locator(".why")).to_have_text("Why?")
    expect(page.get_by_label("A statement about the picture")).to_be_focused()


def test_a_refused_picture_or_text_costs_no_statement(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, "red")
    say(page, "a red square")
    row = page.locator(".answer", has_text="a red square")
    expect(row.locator(".verdict")).to_have_text("True")
    say(page, "?!")
    expect(page.get_by_role("alert").first).to_contain_text("empty: no letter")
    expect(page.get_by_label("A statement about the picture")).to_have_value("?!")
    (tmp_path / "text.png").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "text.png")
    expect(page.get_by_role("alert").first).to_contain_text("not_an_image")
    expect(row.locator(".verdict")).to_have_text("–")
    show(page, tmp_path, "red")
    expect(row.locator(".verdict")).to_have_text("True")


def test_without_a_picture_it_asks_for_one(browser: Browser, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    with (
        served(bundle, tmp_path / "run", samples=tmp_path / "samples") as server,
        browser.new_context(base_url=server.url) as context,
    ):
        page = context.new_page()
        page.goto("/")
        say(page, "a red square")
        expect(page.get_by_role("alert").first).to_have_text("Take a picture first.")
        show(page, tmp_path, "red")
        say(page, "a red square")
        expect(page.locator(".answer", has_text="a red square").locator(".verdict")).to_have_text("True")


def test_samples_bring_statements_to_try(page: Page) -> None:
    page.locator("#samples button").nth(2).click()
    expect(page.locator("#shown")).to_have_attribute("alt", "A drawn scene: large blue square, small red triangle")
    expect(page.locator("#source")).to_contain_text("scripts/samples.py")


def test_the_keyboard_is_enough(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, "red")
    page.locator("body").press("Tab")
    reached = []
    for _ in range(40):
        focused = page.evaluate("document.activeElement.outerHTML.slice(0, 300)")
        reached.append(focused)
        if "A statement about" in focused:
            break
        page.keyboard.press("Tab")
    assert any('id="file"' in one for one in reached)
    assert sum("data-file" in one for one in reached) == 8
    page.keyboard.type("a red circle")
    page.keyboard.press("Enter")
    expect(page.locator(".answer", has_text="a red circle").locator(".verdict")).to_have_text("True")


def test_what_the_service_refuses_is_said_in_its_words(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, "red")
    say(page, "?!")
    expect(page.get_by_role("alert").first).to_contain_text("empty: no letter and no digit")
    expect(page.locator(".answer", has_text="?!")).to_have_count(0)
    (tmp_path / "text.png").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "text.png")
    say(page, "a red square")
    expect(page.get_by_role("alert").first).to_contain_text("not_an_image")


def test_what_the_bundle_lacks_is_not_offered(page: Page) -> None:
    offered = {endpoint["name"] for endpoint in page.request.get("/tasks").json()["endpoints"]}
    shown = {tab.get_attribute("id") for tab in page.get_by_role("tab").all()}
    assert shown
    assert shown <= {f"tab-{name}" for name in offered}


def test_about_tells_the_bundle_and_closes(page: Page) -> None:
    page.get_by_role("button", name="About this model").click()
    expect(page.locator("#facts")).to_contain_text("matching: accuracy")
    page.keyboard.press("Escape")
    expect(page.locator("#about")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 390, 820])
def test_nothing_overflows_on_a_narrow_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_follow_the_system_and_the_button(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    page.get_by_role("button", name="Switch between light and dark").click()
    assert paper() == light
    page.reload()
    assert paper() == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Page, scheme: str) -> None:
    """WCAG 2.2, success criterion 1.4.3: a contrast of at least 4.5 to 1."""
    page.emulate_media(color_scheme=scheme)
    pairs = [("--ink", "--paper"), ("--ink", "--card"), ("--muted", "--card"), ("--muted", "--sunken")]
    pairs += [("--on-accent", "--accent"), ("--accent", "--card"), ("--yes", "--yes-soft"), ("--no", "--no-soft")]
    read = "name => getComputedStyle(document.documentElement).getPropertyValue(name)"
    for ink, ground in pairs:
        assert contrast(page.evaluate(read, ink), page.evaluate(read, ground)) >= 4.5, (scheme, ink, ground)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Of ``#rrggbb``, relative; https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    levels = [int(colour.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in levels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_locked_service_asks_for_its_key(browser: Browser, locked: tuple[Server, str]) -> None:
    server, key = locked
    with browser.new_context(base_url=server.url) as context:
        page = context.new_page()
        page.goto("/")
        page.get_by_label("API key").fill("not-the-key-at-all")
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#key-problem")).to_be_visible()
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Open").click()
        expect(page.locator(".answer .verdict").first).to_have_text(re.compile("True|False"))
        for sample in page.locator("#samples img").all():
            expect(sample).not_to_have_js_property("naturalWidth", 0)
        assert page.evaluate("localStorage.getItem('vlp-key')") is None
        page.get_by_role("link", name="Lineage").click()
        expect(page.locator("body")).to_contain_text('"bundle"')


def test_a_classifier_of_texts_is_asked_with_a_text(browser: Browser, tmp_path: Path) -> None:
    write_toy_classifier(tmp_path / "bundle", tmp_path / "parts")
    with (
        served(tmp_path / "bundle", tmp_path / "run") as server,
        browser.new_context(base_url=server.url) as context,
    ):
        told = httpx.get(f"{server.url}/tasks").json()["endpoints"]
        assert told == [{"name": "classify", "task": "classification", "modality": "text"}]
        found = httpx.post(f"{server.url}/classify", files={"text": (None, "a red square")}).json()
        assert found["labels"] == ["red, or rose"]
        page = context.new_page()
        page.goto("/")
        for text, said in (("a red square", "red, or rose"), ("a purple square", "None of the classes")):
            page.get_by_label("A text to classify").fill(text)
            page.get_by_role("button", name="Classify", exact=True).click()
            expect(page.locator("#panel-classify .big")).to_have_text(said)
            expect(page.locator("#status")).to_have_text(said)
