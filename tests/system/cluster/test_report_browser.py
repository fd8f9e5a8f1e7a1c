"""Pages in a real browser: Chromium without a network, on a phone and on a desk. Screenshots are kept in build/screenshots."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.bench_results import write_results
from tests.support.eventually import eventually
from tests.support.report_run import HOSTILE_VALUES, evaluation, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        own = Path(started.chromium.executable_path)
        found = str(own) if own.is_file() else next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One run and two side by side, as files of a page."""
    from cluster.report import write_bench_report, write_report

    folder = tmp_path_factory.mktemp("pages")
    first = write_run(folder / "first")
    second = write_run(folder / "second", evaluation(auc=0.85, failures=["auc 0.8500 is below 0.9"]))
    results = [write_results(folder / name / "read.json", f"2026-11-{name}") for name in ("01", "20")]
    return {
        "bench": write_bench_report(results, folder / "bench.html"),
        "run": write_report([first], folder / "run.html"),
        "runs": write_report([first, second], folder / "runs.html"),
    }


@pytest.fixture
def opened(browser):
    """Opens a page at a width and a colour scheme; whatever it says on the console or asks of the network fails the test."""
    contexts, heard = [], []

    def open_page(path, width=1440, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not heard


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "runs", "bench"])
def test_page_draws_all_its_charts_and_runs_nothing_of_the_run(pages, opened, name, width, scheme):
    page = opened(pages[name], width, scheme)
    charts = page.locator(".chart")
    assert charts.count() >= 5 and page.locator(".chart[data-drawn] svg").count() == charts.count()
    assert page.evaluate("window.hit") is None
    assert (
        page.evaluate("document.documentElement.scrollWidth") == width
    )  # nothing sticks out; tables scroll in themselves
    cut = "e => e.getBoundingClientRect().right > e.closest('.scroll').getBoundingClientRect().right + 1"
    assert not [c.inner_text() for c in page.locator("caption:visible span").all() if c.evaluate(cut)]
    for box in charts.all():
        assert box.locator("svg").bounding_box()["width"] <= box.bounding_box()["width"] + 1
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report-{name}-{width}-{scheme}.png", full_page=True)


def test_legends_stay_in_their_charts_at_every_width_and_no_two_series_look_alike(pages, opened):
    page = opened(pages["bench"])
    outside = """() => [...document.querySelectorAll(".chart svg .role-legend")].filter((e) => {
      const mine = e.getBoundingClientRect(), all = e.closest("svg").getBoundingClientRect();
      return mine.right > all.right + 1 || mine.left < all.left - 1 || mine.top < all.top - 1;
    }).map((e) => e.textContent)"""
    assert any("independent copies" in text for text in page.locator(".chart svg .role-legend").all_text_contents())
    for width in (1440, 768, 390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        eventually(lambda: not page.evaluate(outside), f"legends in their charts at {width} pixels", 20)
    chart = page.locator(".chart", has=page.locator(".role-legend text", has_text="independent copies")).first
    colours = chart.locator(".role-legend-symbol path").evaluate_all("all => all.map((e) => e.getAttribute('fill'))")
    assert len(colours) == len(set(colours)) == 8


def column(table, i):
    return table.locator(f"tbody tr > :nth-child({i + 1})").all_inner_texts()


def test_tables_sort_by_mouse_and_keyboard_and_say_so(pages, opened):
    page = opened(pages["run"])
    table = page.locator("table", has_text="Metrics by").first
    head = table.locator("thead th").nth(2)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [text.split()[0] for text in column(table, 2)] == ["0.9000", "0.8800", "0.8600", "0.8200", "0.8000", "–"]
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [text.split()[0] for text in column(table, 2)] == ["0.8000", "0.8200", "0.8600", "0.8800", "0.9000", "–"]
    assert table.locator("th[aria-sort]").count() == 1


def test_search_keeps_the_rows_that_hold_all_words(pages, opened):
    page = opened(pages["runs"])
    box = page.locator("[data-searchable]", has_text="Metrics by").first
    rows = box.locator("tbody tr:visible")
    assert rows.count() == 2 * len(HOSTILE_VALUES)
    box.get_by_role("searchbox").fill("brackets second")
    assert rows.count() == 1 and "1 of 12 rows" in box.get_by_role("status").inner_text()


def test_keyboard_reaches_the_content_with_a_visible_focus(pages, opened):
    page = opened(pages["run"])
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the content" and skip.bounding_box()["x"] >= 0
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("id") == "theme"
    assert page.locator(":focus").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_colours_follow_the_scheme_and_text_stays_readable(pages, opened):
    for scheme in ("light", "dark"):
        page = opened(pages["run"], scheme=scheme)
        for selector in (".verdict", ".tiles dt", "tbody td", ".chart svg text", "nav a", "summary", "td.bad"):
            assert contrast(page, selector) >= 4.5, (scheme, selector)


def contrast(page, selector):
    """WCAG's contrast of an element's text against what lies behind it."""
    script = """e => {
      const numbers = c => c.match(/[\\d.]+/g).map(Number), style = getComputedStyle(e);
      let behind = e;
      while (behind && (numbers(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
      const text = e instanceof SVGElement ? style.fill : style.color;
      return [numbers(text), numbers(getComputedStyle(behind).backgroundColor)];
    }"""
    values = []
    for colour in page.locator(selector).first.evaluate(script):
        parts = [v / 255 for v in colour[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        values.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(values) + 0.05) / (min(values) + 0.05)


def test_each_table_has_a_caption_and_headers_for_screen_readers(pages, opened):
    page = opened(pages["runs"])
    tables = page.locator("table")
    assert tables.count() > 10
    assert tables.count() == page.locator("table > caption").count()
    assert page.locator("thead th:not([scope=col])").count() == page.locator("tbody th:not([scope=row])").count() == 0
    assert page.locator("tbody tr").count() == page.locator("tbody tr > th").count()
    assert page.locator("main section").count() == page.locator("main section[aria-labelledby] > h2").count()


def test_print_is_dark_on_white_without_what_a_mouse_is_needed_for(pages, opened):
    page = opened(pages["run"], scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav:visible, #theme:visible, .search:visible").count() == 0
    pdf = page.pdf(path=SCREENSHOTS / "report-run.pdf", format="A4")
    assert pdf.startswith(b"%PDF") and page.locator(".chart svg:visible").count() == page.locator(".chart").count()
