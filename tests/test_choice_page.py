"""The page of a choice: what it says agrees with choice.json and the runs, and it fits a phone and paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest
from choice_inputs import choice_of, choice_of_runs, rung, train

from pipelines.corpora.predictions import read_predictions
from pipelines.evaluation.learning_curve import Point, curve_json
from pipelines.evaluation.mistakes import find_mistakes
from pipelines.evaluation.reports import evaluate_spans
from pipelines.examples import joined_by_id
from pipelines.reporting.choice import PAGE, choice_sections, choice_text, write_choice_page
from pipelines.reporting.choice_differences import differences, mistakes_beside, read_answers
from pipelines.runs.run import Run

HOSTILE = '<script>document.title="owned"</script> & <img src=x onerror=alert(1)>'
SIZES = {"phone": (375, "screen"), "desktop": (1280, "screen"), "paper": (718, "print")}
POINTS = [
    Point(0.5, 77, 0.7, interval=(0.6, 0.8)),
    Point(1.0, 154, 0.8, interval=(0.7, 0.9)),
]
CASCADE = {
    "cheap": "crf",
    "expensive": "encoder",
    "metric": "strict.f1",
    "points": [
        {
            "threshold": i / 20,
            "share": i / 20,
            "score": 0.8 + i / 200,
            "seconds_per_text": 0.01 + i / 100,
        }
        for i in range(21)
    ],
    "alone": [
        {"score": 0.8, "seconds_per_text": 0.01},
        {"score": 0.9, "seconds_per_text": 0.2},
    ],
    "chosen": None,
    "reason": "No cascade keeps the score.",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of two taggers and of two classifiers on the sample data."""
    folder = tmp_path_factory.mktemp("choice")
    for network in ("dictionary", "crf"):
        train(folder / "mentions" / "rungs" / network, "train_tagger", network)
    for network in ("naive_bayes", "linear_svm"):
        train(folder / "classes" / "rungs" / network, "train_text_classifier", network)
    return folder


@pytest.fixture
def mentions(folder):
    """A choice among taggers in which everything is said that a choice can say."""
    more = [
        rung("encoder", status="skipped", reason=HOSTILE, estimate={"seconds": 720}),
        rung("lora", status="failed", reason="exit code 1"),
    ]
    (folder / "mentions" / "provenance.json").write_text(
        json.dumps({"command": ["choose_model.py", "--goal", "0.8", "--run_dir", "a b"]})
    )
    return choice_of_runs(
        folder / "mentions",
        "span_extraction",
        ["dictionary", "crf"],
        goal=0.8,
        rungs=more,
        price_per_hour=0.5,
        curves={"crf": curve_json(POINTS, 0.8, title="crf")},
        cascade=CASCADE,
        notes=["dev was cut from train, 10 % by document", HOSTILE],
    )


def page_of(choice, folder):
    write_choice_page(choice, folder)
    return (folder / PAGE).read_text(encoding="utf-8")


def plain(page):
    """The text of a page without its tags, style and scripts."""
    page = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_page_says_what_the_choice_says(folder, mentions):
    page = page_of(mentions, folder / "mentions")
    said = plain(page)
    assert mentions["answer"]["chosen"] == "crf"
    assert mentions["answer"]["text"] in said
    for row in mentions["rungs"][:2]:
        low, high = (100 * end for end in row["interval"])
        assert f"{100 * row['score']:.2f} [{low:.2f}, {high:.2f}]" in said
        assert f'href="rungs/{row["name"]}/report.html"' in page
        assert f"{100 * row['test']['score']:.2f}" in said
    assert "rungs/encoder/report.html" not in page  # which has no run
    assert "The estimated seconds were off by 20 % (median of 2 models)" in said
    assert "crf: 80.0 with 154 examples; twice as many would give" in said
    assert "the luckiest one there" in said
    assert "To repeat it: python recipes/choose_model.py --goal 0.8 --run_dir 'a b'" in said
    assert "dev was cut from train, 10 % by document" in said
    assert page.count("<figure>") == 3  # quality, learning curve, cascade


def test_text_and_names_are_escaped(folder, mentions):
    mentions["rungs"][0]["title"] = HOSTILE
    mentions["curves"]["crf"]["sentence"] = HOSTILE
    page = page_of(mentions, folder / "mentions")
    assert "<script>document" not in page
    assert "<img" not in page
    assert plain(page).count('<script>document.title="owned"</script>') >= 3


def test_the_error_budgets_agree_with_the_reports_of_dev(folder, mentions):
    answers = read_answers(folder / "mentions", mentions["rungs"][:2])
    table = mistakes_beside(answers, "spans")
    assert list(table.head[:3]) == ["F1 lost by", "dictionary", "crf"]
    for column, (_, pairs) in enumerate(answers.items(), start=1):
        report = evaluate_spans(*map(list, zip(*pairs, strict=True)))
        lost = {row[0]: row[column].text for row in table.rows}
        for kind, costs in report["error_budget"].items():
            written = f"{100 * costs['lost']:.2f}"
            assert lost.get(kind.replace("_", " "), "0.00") == written


def test_differing_examples_are_right_in_one_of_both(folder, mentions):
    answers = read_answers(folder / "mentions", mentions["rungs"][:2])
    found = differences(answers, "spans")
    wrong = {
        name: {mistake.id for mistake in find_mistakes(pairs)} for name, pairs in answers.items()
    }
    assert found.only == {
        "dictionary": len(wrong["crf"] - wrong["dictionary"]),
        "crf": len(wrong["dictionary"] - wrong["crf"]),
    }
    assert found.both + found.neither + sum(found.only.values()) == len(answers["crf"])
    assert found.shown
    for difference in found.shown:
        [other] = {"dictionary", "crf"} - {difference.right}
        assert difference.id in wrong[other] - wrong[difference.right]
    page = page_of(mentions, folder / "mentions")
    assert page.count("<article>") == len(found.shown)


def test_classes_have_confusions_and_differences(folder):
    choice = choice_of_runs(
        folder / "classes", "sequence_classification", ["naive_bayes", "linear_svm"]
    )
    said = plain(page_of(choice, folder / "classes"))
    run = Run.open(folder / "classes" / "rungs" / "naive_bayes")
    pairs = joined_by_id(run.examples("dev"), read_predictions(run.predictions("dev")))
    wrong = sum(prediction.label == "none" != example.label for example, prediction in pairs)
    table = mistakes_beside(read_answers(folder / "classes", choice["rungs"]), "label")
    [row] = [row for row in table.rows if row[0] == "Disease → none"]
    assert row[1].text == str(wrong)
    assert "only linear_svm is right" in said
    assert "unseen" not in said.lower()


def test_runs_that_are_gone_are_reported_and_the_rest_is_shown(tmp_path, mentions):
    said = plain(page_of(mentions, tmp_path))
    assert "Not compared:" in said
    assert "rungs/crf: no such folder" in said
    assert mentions["answer"]["text"] in said
    assert "Where they differ" not in said


@pytest.mark.parametrize(
    "rungs",
    [
        [],
        [rung("crf", status="failed", reason="one class: got only Disease")],
        [rung("crf", 0.8, [0.7, 0.9], 10.0)],
        [rung("crf", 0.8, [0.8, 0.8], 0.0), rung("hmm", 0.8, [0.8, 0.8], 0.0)],
        [rung("crf", 0.8, [0.7, 0.9], None)],
    ],
)
@pytest.mark.parametrize("goal", [None, 0.75])
def test_small_choices_have_a_page(tmp_path, rungs, goal):
    choice = choice_of(rungs, goal=goal)
    page = page_of(choice, tmp_path)
    assert html.escape(choice["answer"]["text"], quote=False) in page
    assert choice["answer"]["text"] in choice_text(choice)
    for row in rungs:
        assert row["reason"] in plain(page)


def test_the_terminal_has_the_answer_notes_and_all_rungs(mentions):
    lines = choice_text(mentions).splitlines()
    assert lines[0] == mentions["answer"]["text"]
    assert lines[1] == "note: dev was cut from train, 10 % by document"
    rows = {line.split()[0]: line for line in lines if line}
    crf = mentions["rungs"][1]
    assert f"{100 * crf['score']:.2f} [" in rows["crf"]
    assert rows["crf"].endswith("chosen")
    assert "12 min" in rows["encoder"]
    assert any(line.startswith("lora") and "exit code 1" in line for line in lines)


def test_columns_without_a_value_are_left_out():
    text = choice_text(choice_of([rung("crf", 0.8, [0.7, 0.9], 10.0)]))
    assert "unseen" not in text
    assert "estimated" not in text
    assert "memory" in text


def test_sections_are_only_those_with_content(tmp_path):
    _, sections = choice_sections(choice_of([rung("crf", 0.8, [0.7, 0.9], 10.0)]), tmp_path)
    assert [section.id for section in sections] == ["models", "quality", "costs"]


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
MEASURE = """
<script>
addEventListener("load", () => {
  const box = (element) => { const b = element.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom] };
  const of = (selector) => [...document.querySelectorAll(selector)];
  parent.postMessage({
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    title: document.title,
    tables: of(".scroll table").map((t) => box(t)[2]),
    clipped: of(".scroll").filter((s) => getComputedStyle(s).overflowX !== "visible").length,
    breaks: of("figure, tr").map((f) => getComputedStyle(f).breakInside),
    texts: of("#quality svg text").map((t) => [t.textContent, ...box(t)]),
    frame: of("#quality svg").map(box),
  }, "*");
});
</script>
"""


def chromium(tmp_path, *arguments):
    """What headless Chromium prints."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += [
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--disable-sync",
    ]
    command += ["--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
    return done.stdout


def measured(page, tmp_path, width, media):
    """Lays a page out in a frame of a width in pixels; with "print" by the rules for paper."""
    if media == "print":
        page = page.replace("@media print", "@media all")
        page = re.sub(r"@media \(max-width: \w+\)", "@media not all", page)
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{MEASURE}</body>"))
    (tmp_path / "frame.html").write_text(
        "<script>addEventListener('message', (e) => document.querySelector('pre').textContent = "
        "JSON.stringify(e.data))</script><pre></pre>"
        f"<iframe src='page.html' style='width:{width}px;height:900px;border:0'></iframe>"
    )
    uri = (tmp_path / "frame.html").as_uri()
    dumped = chromium(tmp_path, "--virtual-time-budget=3000", "--dump-dom", uri)
    [content] = re.findall(r"<pre>(.*?)</pre>", dumped, flags=re.DOTALL)
    return json.loads(html.unescape(content))


def overlapping(boxes):
    """Pairs of texts that cover one another by more than half a pixel."""
    found = []
    for i, (a, left, top, right, bottom) in enumerate(boxes):
        for b, other_left, other_top, other_right, other_bottom in boxes[:i]:
            across = min(right, other_right) - max(left, other_left)
            down = min(bottom, other_bottom) - max(top, other_top)
            if across > 0.5 and down > 0.5:
                found.append((a, b))
    return found


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in")
@pytest.mark.parametrize(("width", "media"), SIZES.values(), ids=SIZES)
def test_nothing_overflows_in_a_browser(folder, mentions, tmp_path, width, media):
    seen = measured(page_of(mentions, folder / "mentions"), tmp_path, width, media)
    assert seen["width"] == width
    assert seen["page"] == width
    assert seen["title"] == "Which model is enough for strict F1 80.00?"
    if media == "print":
        assert max(seen["tables"]) <= width
        assert seen["clipped"] == 0
        assert set(seen["breaks"]) == {"avoid"}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in")
@pytest.mark.parametrize("width", [375, 1280])
def test_names_in_the_picture_do_not_overlap_in_a_browser(tmp_path, width):
    names = {"dictionary": (0.41, 1), "hmm": (0.52, 9), "memm": (0.55, 14), "crf": (0.70, 20)}
    names |= {"encoder": (0.78, 420), "encoder_large": (0.80, 900), "votes": (0.805, 910)}
    names |= {"cascade": (0.795, 450), "lora_tinyllama": (0.79, 2400)}
    rungs = [rung(name, s, [s - 0.03, s + 0.03], t) for name, (s, t) in names.items()]
    page = page_of(choice_of(rungs, goal=0.75), tmp_path)
    seen = measured(page, tmp_path, width, "screen")
    assert {text for text, *_ in seen["texts"]} >= {*names, "goal 75", "1 min"}
    assert overlapping(seen["texts"]) == []
    [(left, top, right, bottom)] = seen["frame"]
    for text, *box in seen["texts"]:
        assert left <= box[0] <= box[2] <= right, text
        assert top <= box[1] <= box[3] <= bottom, text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to print the page with")
def test_the_page_can_be_printed(folder, mentions, tmp_path):
    page_of(mentions, folder / "mentions")
    out = tmp_path / "choice.pdf"
    chromium(tmp_path, f"--print-to-pdf={out}", (folder / "mentions" / PAGE).as_uri())
    pdf = out.read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", pdf)) < 15
