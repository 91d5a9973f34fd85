"""The page on a bundle of all seven tasks, in a real browser: every tab asks, and shows what comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from support.browser import chromium
from support.served import Server

pytestmark = pytest.mark.slow

TABS = {
    "match": "True or false",
    "ask": "Questions",
    "caption": "Caption",
    "classify": "Classes",
    "segment": "Where",
    "retrieve": "Find",
    "generate": "Draw",
}
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(params=[(1200, 900), (390, 844)], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, whole_server: Server) -> Iterator[Page]:
    """The opened page, wide or on a phone; fails the test on a script error, a failed request or a foreign address."""
    width, height = request.param
    context = browser.new_context(base_url=whole_server.url, viewport={"width": width, "height": height})
    opened, wrong = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda sent: wrong.append(sent.url) if not _own(sent.url, whole_server.url) else None)
    opened.on("response", lambda got: wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    opened.goto("/")
    expect(opened.locator("#samples button[aria-pressed=true]")).to_have_count(1)
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert not wrong


def _own(address: str, url: str) -> bool:
    return address.startswith((url, "blob:", "data:"))


def shown(page: Page, endpoint: str) -> None:
    page.get_by_role("tab", name=TABS[endpoint]).click()
    expect(page.locator(f"#panel-{endpoint}")).to_be_visible()


def say(page: Page, endpoint: str, label: str, text: str, button: str) -> None:
    panel = page.locator(f"#panel-{endpoint}")
    panel.get_by_label(label).fill(text)
    panel.get_by_role("button", name=button, exact=True).click()


def test_every_task_has_its_tab(page: Page) -> None:
    assert [tab.inner_text() for tab in page.get_by_role("tab").all()] == list(TABS.values())


def test_statements_are_judged_and_the_first_is_explained_on_the_picture(page: Page) -> None:
    expect(page.locator(".answer .verdict").first).to_have_text(re.compile("True|False"))
    expect(page.locator("#stage")).to_have_class(re.compile("explained"))
    assert page.locator("#overlay").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    )


def test_a_question_is_answered_with_the_others_beside(page: Page) -> None:
    shown(page, "ask")
    say(page, "ask", "A question about the picture", "how many circles are there?", "Ask")
    expect(page.locator("#panel-ask .big")).to_have_text(re.compile(r"\S"))
    expect(page.locator("#panel-ask .scores li")).to_have_count(5)
    page.locator("#panel-ask .chips button").first.click()
    expect(page.locator("#panel-ask .lead").last).not_to_have_text("how many circles are there?")


def test_a_caption_and_the_classes_come_by_themselves_and_anew_for_another_picture(page: Page) -> None:
    for endpoint in ("caption", "classify"):
        shown(page, endpoint)
        expect(page.locator(f"#panel-{endpoint} .result .big, #panel-{endpoint} .result .scores").first).to_be_visible()
        with page.expect_response(f"**/{endpoint}") as answered:
            page.locator("#samples button[aria-pressed=false]").nth(2).click()
        assert answered.value.status == 200


def test_a_mask_is_laid_over_the_picture(page: Page) -> None:
    shown(page, "segment")
    say(page, "segment", "Something in the picture", "the circle", "Show")
    expect(page.locator("#panel-segment .big")).to_contain_text(re.compile("covers .* of the picture|finds no"))
    expect(page.locator("#stage")).to_have_class(re.compile("explained"))


def test_pictures_are_found_by_words_and_by_the_picture_that_is_shown(page: Page) -> None:
    shown(page, "retrieve")
    say(page, "retrieve", "A description", "two blue squares", "Find")
    pictures = page.locator("#panel-retrieve .gallery img")
    expect(pictures).to_have_count(8)
    page.get_by_role("button", name="Like this picture").click()
    expect(pictures.first).to_have_attribute("alt", "01.jpg")  # the sample itself is the most like it
    # Not by `wait_for_function`: what it asks again it evaluates as a string, and the page's own policy forbids that.
    for picture in pictures.all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)


def test_a_picture_is_drawn_and_another_one_the_next_time(page: Page) -> None:
    shown(page, "generate")
    drawn = page.locator("#panel-generate img.made")
    say(page, "generate", "What to draw", "there is a red circle", "Draw")
    expect(drawn).to_have_attribute("alt", "Drawn by the model: there is a red circle")
    first = drawn.get_attribute("src")
    page.locator("#panel-generate").get_by_role("button", name="Draw", exact=True).click()
    expect(drawn).not_to_have_attribute("src", str(first))
    expect(drawn).not_to_have_js_property("naturalWidth", 0)


def test_tabs_are_walked_by_arrow_keys(page: Page) -> None:
    page.get_by_role("tab", name=TABS["match"]).focus()
    for title in [*list(TABS.values())[1:], TABS["match"]]:
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=title)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel")).to_have_count(1)
