"""The report page: what it holds agrees with the report, its text is escaped, it needs no network, its filter works."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.comparison import evaluate_runs
from pipelines.evaluation.mistakes import find_mistakes
from pipelines.evaluation.reports import (
    evaluate_classes,
    evaluate_language_model,
    evaluate_spans,
    evaluate_values,
)
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, Prediction, Span, joined_by_id
from pipelines.reporting import plots
from pipelines.reporting.browser import MOST_EXAMPLES, browser, marked
from pipelines.reporting.html import write_report

HOSTILE = (
    'flu <script>document.title="owned"</script> & <img src=x onerror=alert(1)> "quoted" $x_1$'
)
VOID = {"meta", "link", "input", "br", "img", "hr"}
TEXT = "colon cancer and rectal cancer"
# id -> text, gold, predicted, more of the prediction; one example for each class of mistake
CASES = {
    "right": (TEXT, [(0, 12, "D")], [(0, 12, "D")], {}),
    "hostile": (HOSTILE, [(0, 3, "D")], [(0, 3, "D"), (4, 12, "D")], {}),
    "type": (TEXT, [(0, 12, "D")], [(0, 12, "G")], {}),
    "boundary": (TEXT, [(0, 12, "D")], [(6, 12, "D")], {}),
    "boundary_and_type": (TEXT, [(0, 12, "D")], [(6, 12, "G")], {}),
    "wrong_occurrence": (TEXT, [(6, 12, "D")], [(24, 30, "D")], {}),
    "missed": (TEXT, [(0, 12, "D"), (17, 30, "D")], [(0, 12, "D")], {}),
    "spurious": (TEXT, [], [(0, 5, "D")], {}),
    "unparsable": (TEXT, [(0, 12, "D")], [], {"status": "unparsable", "raw": "<b>I can't</b>"}),
    "cut_off": (
        TEXT,
        [(0, 12, "D"), (17, 30, "D")],
        [(0, 12, "D")],
        {"status": "cut_off", "raw": "colon cancer; re"},
    ),
    "not_in_text": (
        TEXT,
        [(0, 12, "D")],
        [],
        {
            "status": "ok",
            "raw": "colonic cancer",
            "mentions": (
                {"string": "colonic cancer", "label": "D", "status": "not_in_text", "place": None},
            ),
        },
    ),
}
EXAMPLES = [
    Example(id, text, spans=tuple(Span(*span) for span in gold))
    for id, (text, gold, _, _) in CASES.items()
]
PREDICTIONS = [
    Prediction(id, spans=tuple(Span(*span, 0.25) for span in given), **more)
    for id, (_, _, given, more) in CASES.items()
]
REPORT = {
    "split": "dev",
    **evaluate_spans(EXAMPLES, PREDICTIONS, train=EXAMPLES),
    "cost": {
        "parameters": 134_515_008,
        "trained_parameters": 4_884_480,
        "seconds": {"training": 1027.33},
        "peak_memory": 2**31,
    },
}
LOG = [
    {"loss": 2.0, "step": 1},
    {"loss": 1.0, "step": 2},
    {"eval_strict_f1": 0.5, "step": 2},
    {"train_loss": 1.5},
]


class Page(HTMLParser):
    """A parsed page: its elements, the text of its cells and articles; fails on tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.articles, self.cells = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "article":
            self.articles.append((dict(attributes), []))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "article" in self.open:
            self.articles[-1][1].append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data

    def attributes(self, name):
        return [
            attributes[name] for _, attributes in self.elements if attributes.get(name) is not None
        ]

    def count(self, tag):
        return sum(element == tag for element, _ in self.elements)

    def options(self):
        return {attributes["value"] for tag, attributes in self.elements if tag == "option"}

    def row(self, first):
        at = self.cells.index(first)
        return self.cells[at : at + 8]


def page_of(tmp_path, report=REPORT, examples=EXAMPLES, predictions=PREDICTIONS, **options):
    write_report(report, examples, predictions, tmp_path / "report.html", **options)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def kinds_of(page):
    return {
        attributes["id"].removeprefix("example-"): set(json.loads(attributes["data-kinds"]))
        for attributes, _ in page.articles
    }


def test_needs_no_network_and_ids_are_unique(tmp_path):
    page = page_of(tmp_path, trainer_log=LOG)
    addresses = [
        address
        for name in ("src", "href", "xlink:href", "srcset")
        for address in page.attributes(name)
    ]
    assert addresses
    assert all(address.startswith(("#", "data:,")) for address in addresses)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "@import" not in html
    assert "url(http" not in html
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.attributes("xlink:href")} <= set(ids)


def test_text_of_the_corpus_is_shown_and_not_run(tmp_path):
    page = page_of(tmp_path, title="<i>title</i>")
    text = {attributes["id"]: "".join(data) for attributes, data in page.articles}
    assert HOSTILE in text["example-hostile"]
    assert "<b>I can't</b>" in text["example-unparsable"]
    assert (page.count("script"), page.count("img"), page.count("i"), page.count("b")) == (
        1,
        0,
        0,
        1,
    )


def test_every_class_of_mistake_can_be_filtered(tmp_path):
    page = page_of(tmp_path)
    expected = {example.id: set() for example in EXAMPLES}
    for mistake in find_mistakes(joined_by_id(EXAMPLES, PREDICTIONS)):
        expected[mistake.id].add(mistake.kind)
    assert kinds_of(page) == expected
    assert page.options() == {"", "mistakes", "right"} | set().union(*expected.values())
    assert set(CASES) - {"right", "hostile"} <= page.options()
    links = {
        link.removeprefix("#kind=") for link in page.attributes("href") if link.startswith("#kind=")
    }
    assert links == {kind for kind, row in REPORT["error_budget"].items() if row["lost"]}


def test_figures_are_those_of_the_report(tmp_path):
    page = page_of(tmp_path)
    for name in ("strict", "exact", "partial", "type", "string_set", "string_multiset"):
        row = REPORT[name]
        assert page.row(name.replace("_", " "))[1:6] == [
            *(f"{100 * row[part]:.2f}" for part in ("precision", "recall", "f1")),
            str(row["support"]),
            str(row["predicted"]),
        ]
    assert page.row("missed")[1] == f"{100 * REPORT['error_budget']['missed']['lost']:.2f}"
    assert page.row("dictionary")[3] == f"{100 * REPORT['baselines']['dictionary']['f1']:.2f}"
    assert page.row("1 word")[3] == f"{100 * REPORT['slices']['length']['1 word']['f1']:.2f}"
    assert page.row("parameters")[1] == "134.5M"
    assert page.row("training")[1] == "17 min"
    assert page.row("peak memory")[1] == "2.00 GiB"


def test_pictures_stand_where_their_figures_are(tmp_path):
    whole = page_of(tmp_path, trainer_log=LOG)
    assert whole.count("svg") == 5  # scores, loss, strict F1, reliability, risk
    assert page_of(tmp_path).count("svg") == 3
    unscored = [
        Prediction(p.id, spans=tuple(Span(s.start, s.end, s.label) for s in p.spans))
        for p in PREDICTIONS
    ]
    assert (
        page_of(tmp_path, evaluate_spans(EXAMPLES, unscored), predictions=unscored).count("svg")
        == 1
    )


def test_same_bytes_from_shuffled_predictions(tmp_path):
    pages = []
    for predictions in (PREDICTIONS, random.Random(1).sample(PREDICTIONS, len(PREDICTIONS))):
        page_of(
            tmp_path,
            {**REPORT, **evaluate_spans(EXAMPLES, predictions)},
            predictions=predictions,
            trainer_log=LOG,
        )
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_of_very_many_examples_those_with_mistakes_come_first(tmp_path):
    n = MOST_EXAMPLES + 50
    examples = [Example(f"e{i}", "flu", spans=(Span(0, 3, "D"),)) for i in range(n)]
    predictions = [
        Prediction(f"e{i}", spans=(Span(0, 3, "D"),) if i < n - 5 else ()) for i in range(n)
    ]
    page = page_of(tmp_path, evaluate_spans(examples, predictions), examples, predictions)
    ids = list(kinds_of(page))
    assert len(ids) == MOST_EXAMPLES
    assert ids[:6] == [*(f"e{i}" for i in range(n - 5, n)), "e0"]
    assert "holds 2,000 of 2,050" in (tmp_path / "report.html").read_text().replace("\n", " ")


OFFSETS = st.lists(
    st.builds(
        lambda start, length, label: Span(start, start + length, label),
        st.integers(0, 25),
        st.integers(1, 8),
        st.sampled_from("DG"),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(OFFSETS, OFFSETS)
def test_marks_cover_just_the_mentions(gold, predicted):
    example, prediction = (
        Example("0", TEXT, spans=tuple(gold)),
        Prediction("0", spans=tuple(predicted)),
    )
    pieces = list(marked(example, prediction, show_labels=True))
    assert "".join(piece.text for piece in pieces) == TEXT
    marks = [set(piece.classes.split()) & {"g", "p"} for piece in pieces for _ in piece.text]
    assert marks == [
        {
            name
            for name, spans in (("g", gold), ("p", predicted))
            if any(span.start <= at < span.end for span in spans)
        }
        for at in range(len(TEXT))
    ]
    assert Counter(" ".join(piece.gold for piece in pieces).split()) == Counter(
        span.label for span in gold if span.end <= len(TEXT)
    )


def test_a_nested_gold_mention_and_a_wrong_type_are_kept_apart():
    example = Example("0", "colon cancer", spans=(Span(0, 12, "D"), Span(0, 5, "O")))
    pieces = list(
        marked(
            example, Prediction("0", spans=(Span(0, 5, "D"), Span(0, 12, "D"))), show_labels=True
        )
    )
    assert [piece.classes for piece in pieces] == ["g g2 p first last", "g p last"]
    assert [(piece.gold, piece.predicted) for piece in pieces] == [("O", "D"), ("D", "")]


def classes():
    examples = [
        Example(str(i), f"review {i}", label="books" if i % 2 else "<b>music</b>")
        for i in range(20)
    ]
    predictions = [
        Prediction(
            str(i), label="books" if i % 2 or i < 6 else "<b>music</b>", scores={"books": 0.75}
        )
        for i in range(20)
    ]
    return evaluate_classes(examples, predictions, train=examples), examples, predictions


def test_page_of_classes(tmp_path):
    report, examples, predictions = classes()
    page = page_of(tmp_path, report, examples, predictions)
    assert page.row("accuracy")[1] == f"{100 * report['accuracy']:.2f}"
    assert page.options() == {"", "mistakes", "right", "<b>music</b> → books"}
    assert sum(bool(kinds) for kinds in kinds_of(page).values()) == 3
    at = page.cells.index("gold ↓ predicted →")
    assert page.cells[at : at + 9] == [
        "gold ↓ predicted →",
        "<b>music</b>",
        "books",
        "<b>music</b>",
        "7",
        "3",
        "books",
        "0",
        "10",
    ]
    assert page.count("b") == 1  # the headline's own


def test_page_of_numbers_shows_the_worst_first(tmp_path):
    examples = [Example(str(i), f"review {i}", label=float(i)) for i in range(5)]
    predictions = [Prediction(str(i), value=i + (0.1, 3.0, 0.0, -2.0, 0.5)[i]) for i in range(5)]
    page = page_of(
        tmp_path, evaluate_values(examples, predictions, train=examples), examples, predictions
    )
    assert list(kinds_of(page)) == ["1", "3", "4", "0", "2"]
    assert page.count("select") == 0
    assert page.count("input") == 1


def test_page_of_a_language_model(tmp_path):
    examples = [Example("short", "a b"), Example("long", "a b c d")]
    predictions = [Prediction("short", value=8.0), Prediction("long", value=4.0)]
    report = evaluate_language_model(examples, predictions)
    page = page_of(tmp_path, report, examples, predictions)
    assert page.row("perplexity")[1] == f"{report['perplexity']:.4g}"
    assert list(kinds_of(page)) == ["short", "long"]


def test_page_of_several_runs(tmp_path):
    other = [
        PREDICTIONS[1],
        PREDICTIONS[0],
        *PREDICTIONS[2:-1],
        Prediction("not_in_text", spans=()),
    ]
    report = evaluate_runs(TASKS["span_extraction"], EXAMPLES, [PREDICTIONS, other])
    page = page_of(tmp_path, report)
    assert page.row("strict F1")[1] == f"{100 * report['spread']['strict.f1']['mean']:.2f}"
    assert f"#example-{report['label_audit'][0]['id']}" in page.attributes("href")


def test_a_missing_answer_is_shown_as_empty(tmp_path):
    report = evaluate_spans(EXAMPLES, PREDICTIONS[1:], allow_missing=True)
    assert kinds_of(page_of(tmp_path, report, predictions=PREDICTIONS[1:]))["right"] == {"missed"}


def test_svg_text_is_escaped_and_stays_the_same():
    def draw():
        return plots.quality_against_cost(
            "cost",
            [("a<b$c$", 1.0, 80.0), ("slow", 100.0, 90.0)],
            ["slow"],
            cost="ms",
            quality="F1",
            greater_is_better=True,
        )

    assert draw() == draw()
    assert ">a&lt;b$c$<" in draw()
    assert "#00000" not in draw()  # no stand-in for a colour is left
    assert "var(--predicted)" in draw()


def test_no_curves_without_a_log():
    assert plots.training_curves([]) == {}
    assert list(plots.training_curves(LOG)) == ["Loss", "Strict F1 while training"]


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in")
def test_filter_in_a_browser(tmp_path):
    page_of(tmp_path, trainer_log=LOG)
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            f"{(tmp_path / 'report.html').as_uri()}#kind=missed&q=RECTAL",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    page = Page(done.stdout.replace("<!DOCTYPE html>", ""))
    shown = {attributes["id"] for attributes, _ in page.articles if "hidden" not in attributes}
    assert shown == {"example-missed"}
    assert "hidden" not in next(attributes for tag, attributes in page.elements if tag == "form")
    assert "owned" not in done.stdout[: done.stdout.index("<body")]


def test_browser_counts_what_it_shows():
    shown = browser(joined_by_id(EXAMPLES, PREDICTIONS), "spans", most=4)
    assert (len(shown.rows), shown.examples) == (4, len(EXAMPLES))
    assert shown.kinds == Counter(kind for row in shown.rows for kind in row.kinds)


def test_curves_of_dev_and_of_a_sample_of_train():
    log = [
        {"loss": 2.0, "step": 1},
        {"eval_loss": 1.5, "eval_strict_f1": 0.5, "eval_runtime": 9.0, "step": 2},
        {"train_loss": 1.25, "train_strict_f1": 0.75, "step": 2},
        {"train_loss": 1.5, "train_runtime": 60.0, "step": 2},
    ]
    curves = plots.training_curves(log)
    assert list(curves) == ["Loss", "Strict F1 while training"]
    for label in ("training batches", "dev", "sample of train"):
        assert f">{label}</text>" in curves["Loss"]
    assert ">training batches</text>" not in curves["Strict F1 while training"]
    assert re.search(r">(50|75)\s*</text>", curves["Strict F1 while training"])  # times 100
    # The closing row of the trainer is the mean over all steps, and no point of a curve.
    assert plots.training_curves(log[3:]) == {}
