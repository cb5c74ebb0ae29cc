"""The demo in headless Chromium: paste, mark, compare, upload, cancel, limits, HTML, keyboard, 375 pixels."""

import json
import time

import pytest
from chromium import CHROMIUM, Browser
from demo_runs import Scripted, served, write_dictionary

from pipelines.demo.answering import open_runs
from pipelines.demo.server import Serving, serving
from pipelines.examples import Prediction, Span

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in"),
]
HTML = "No flu, <b>gout</b> ${alert(1)} {{value}} <img src=x onerror=alert(1)>"
READY = "document.querySelector('#text textarea')"
BUTTON = "document.querySelector('#mark')"


@pytest.fixture(scope="module")
def slow_run():
    return served(Scripted(Prediction("0", spans=(Span(0, 2, "Odd<i>", 0.5),)), seconds=0.3), "s<l")


@pytest.fixture(scope="module")
def address(tmp_path_factory, slow_run):
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("runs")
    [run] = open_runs([str(write_dictionary(folder / "dictionary"))])
    with serving([run, slow_run], Serving(port=0, max_chars=200, max_file_mb=0.1)) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser, address):
    browser.resize(1280, 1000)
    browser.requests.clear()
    browser.open(address, READY)
    browser.wait(BUTTON)
    yield browser
    # Nothing was loaded from elsewhere, and no text became a script.
    outside = [url for url in browser.requests if not url.startswith((address, "data:", "blob:"))]
    assert outside == []
    assert browser.dialogs == []


def paste(page, text):
    page.click("#text textarea")
    page.insert(text)


def shown(page, number):
    return page.js(f"document.querySelector('#answer-{number}').innerText")


def file_tab(page):
    page.js("[...document.querySelectorAll('[role=tab]')].find(t => t.innerText == 'File').click()")
    page.wait("document.querySelector('#upload input[type=file]')")


def status(page):
    return page.js("document.querySelector('#status').innerText")


def test_a_pasted_text_is_marked_by_both_models_and_html_is_text(page):
    paste(page, HTML)
    page.click("#mark")
    page.wait("document.querySelectorAll('#answer-1 th').length == 6")
    page.wait("document.querySelectorAll('#answer-0 th').length == 6")
    marks = "[...document.querySelectorAll('#answer-0 mark')].map(m => m.title)"
    assert page.js(marks) == ["Disease 0.67", "Disease 0.67"]
    first = page.js(
        "(p => {p.querySelectorAll('small').forEach(s => s.remove()); return p.textContent})"
        "(document.querySelector('#answer-0 .text'))"
    )
    assert first == HTML
    assert "s<l" in shown(page, 1)
    assert "Odd<i>" in shown(page, 1)
    assert page.js("document.querySelectorAll('.answer img, .answer b, .answer i').length") == 0
    # What one model alone has found is outlined on its side.
    assert page.js("document.querySelectorAll('mark.other').length") == 3
    link = "document.querySelector('#answer-0 a[download=\"prediction.jsonl\"]').href"
    row = json.loads(page.js(f"atob({link}.split(',')[1])"))
    assert [span["start"] for span in row["spans"]] == [3, 11]


def test_an_example_of_the_corpus_is_taken(page):
    page.js(
        "[...document.querySelectorAll('button')].find(b => b.innerText.includes('gout')).click()"
    )
    page.wait(f"{READY}.value == 'She has gout.'")


def test_a_text_that_is_too_long_is_refused_on_the_page(page):
    paste(page, "x" * 201)
    page.click("#mark")
    page.wait("document.querySelector('[role=alert]')")
    assert "got a text of 201 characters; wanted at most 200" in shown(page, 0)


def test_the_keyboard_alone_is_enough(page):
    def focus_on(condition, most=40):
        for _ in range(most):
            if page.js(f"(e => Boolean({condition}))(document.activeElement)"):
                return
            page.press("Tab")
        raise AssertionError(f"Tab never reaches {condition}")

    focus_on("e.matches('#text textarea')")
    page.insert("She has gout.")
    focus_on("e.id == 'mark'")
    page.press("Enter")
    page.wait("document.querySelector('#answer-1 table')")
    focus_on("e.matches('#answer-0 .scroll')")
    focus_on("e.matches('#answer-0 a[download]')")
    focus_on("e.matches('#answer-1 a[download]')")
    focus_on("e.innerText.includes('BRCA1')")


def test_a_narrow_page_does_not_scroll_sideways(page):
    page.resize(375, 800)
    paste(page, HTML)
    page.click("#mark")
    page.wait("document.querySelectorAll('#answer-1 th').length == 6")
    assert page.js("document.documentElement.scrollWidth") <= 375
    left = "n => document.querySelector(`#answer-${n}`).getBoundingClientRect().left"
    assert page.js(f"({left})(0) == ({left})(1)")


def test_a_file_is_answered(page, tmp_path):
    upload = tmp_path / "texts.csv"
    upload.write_text("id,text\na,She has gout.\nb,<i>flu</i>\n", encoding="utf-8")
    file_tab(page)
    page.choose_file("#upload input[type=file]", upload)
    page.wait("document.querySelector('#upload').innerText.includes('texts')")
    page.click("#start")
    page.wait("document.querySelector('#status').innerText.includes('Done')")
    assert "4 of 4 texts answered" in status(page)
    page.wait("document.querySelectorAll('#files a[download]').length >= 4")
    names = page.js("[...document.querySelectorAll('#files a[download]')].map(a => a.download)")
    assert {"dictionary.jsonl", "dictionary.csv"} <= set(names)
    content = page.js("document.querySelector('#files a[download$=\"dictionary.jsonl\"]').href")
    page.js(f"fetch({json.dumps(content)}).then(r => r.text()).then(t => window.fetched = t)")
    page.wait("window.fetched")
    assert json.loads(page.js("window.fetched").splitlines()[1])["id"] == "b"


def test_cancel_stops_the_work(page, tmp_path, slow_run):
    upload = tmp_path / "texts.jsonl"
    upload.write_text("\n".join(json.dumps({"text": f"text {n}"}) for n in range(300)))
    file_tab(page)
    page.choose_file("#upload input[type=file]", upload)
    page.wait("document.querySelector('#upload').innerText.includes('texts')")
    slow_run.model.calls.clear()
    page.click("#start")
    page.wait("/30[1-9] of 600/.test(document.querySelector('#status').innerText)")
    page.click("#cancel")
    page.wait("document.querySelector('#status').innerText.includes('Cancelled')")
    end = time.monotonic() + 60
    while slow_run.model.running and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)  # a next batch would begin at once
    calls = list(slow_run.model.calls)
    time.sleep(3)
    assert slow_run.model.calls == calls
    assert sum(calls) < 100
    assert "Cancelled" in status(page)


def test_files_that_are_refused_say_why(page, tmp_path):
    upload = tmp_path / "bad.jsonl"
    upload.write_text('{"text": "<b>x</b>"}\n{"text": \n', encoding="utf-8")
    file_tab(page)
    page.choose_file("#upload input[type=file]", upload)
    page.wait("document.querySelector('#upload').innerText.includes('bad')")
    page.click("#start")
    page.wait("document.querySelector('#status [role=alert]')")
    assert "bad.jsonl" in status(page)
    large = tmp_path / "large.txt"
    large.write_text("x\n" * 100_000, encoding="utf-8")
    page.open(page.js("location.href"), READY)
    file_tab(page)
    page.choose_file("#upload input[type=file]", large)
    page.wait("document.querySelector('#upload-fault').innerText.includes('larger than 0.1 MB')")
