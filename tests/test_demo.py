"""The demo without a browser: answers, their HTML and files, limits, the command, and the HTTP API."""

import asyncio
import csv
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT, run_python
from demo_runs import Scripted, served, write_dictionary

from pipelines.demo import answering, files, limits, marking
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span

NESTED = "colon cancer <b> & flu"
SPANS = (Span(0, 12, "Disease", 0.5), Span(0, 5, "Organ"), Span(6, 16, "Odd<i>", 0.25))
EMPTY = Prediction("0", spans=())


class Text(HTMLParser):
    """The text of HTML, without the labels in `<small>`, and its tags."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.inside = "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        self.inside.pop()

    def handle_data(self, data):
        if "small" not in self.inside:
            self.text += data


@pytest.fixture
def run(tmp_path):
    return answering.open_runs([str(write_dictionary(tmp_path / "run"))])[0]


def test_marked_text_is_the_text_however_mentions_overlap():
    html = marking.marked(NESTED, SPANS, ("Disease", "Organ"))
    page = Text(html)
    assert page.text == NESTED
    marks = [attributes for tag, attributes in page.tags if tag == "mark"]
    # 0-5 Disease and Organ, 5-6 Disease, 6-12 Disease and Odd, 12-16 Odd
    assert [mark["class"] for mark in marks][:2] == ["c1 nested", "c0"]
    assert [mark["title"] for mark in marks] == [
        "Disease 0.50; Organ",
        "Disease 0.50",
        "Disease 0.50; Odd<i> 0.25",
        "Odd<i> 0.25",
    ]
    assert {tag for tag, _ in page.tags} == {"mark", "small"}


def test_what_the_other_model_has_not_is_outlined():
    html = marking.marked(NESTED, SPANS[:1], theirs=())
    assert 'other"' in html
    assert 'other"' not in marking.marked(NESTED, SPANS[:1], theirs=SPANS)


def test_answer_shows_notes_table_and_downloads(run):
    raw = "<script>alert(1)</script>"
    prediction = Prediction("0", spans=SPANS, raw=raw, status="cut_off")
    html = marking.answer_html(run, NESTED, answering.Answer(prediction, ("cut <b>",)))
    page = Text(html)
    assert raw in page.text
    assert "cut <b>" in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert "b" not in {tag for tag, _ in page.tags}
    assert len([tag for tag, _ in page.tags if tag == "tr"]) == 1 + len(SPANS)
    names = [attributes["download"] for tag, attributes in page.tags if tag == "a"]
    assert names == ["prediction.jsonl", "prediction.csv"]


def test_classes_are_bars_with_the_chosen_ones_marked(run):
    scores = {f"<class {n}>": n / 100 for n in range(30)}
    prediction = Prediction("0", label=("<class 29>", "<class 28>"), scores=scores)
    page = Text(marking.answer_html(run, "x", answering.Answer(prediction)))
    rows = [attributes for tag, attributes in page.tags if tag == "tr"]
    assert len(rows) == 1 + marking.MOST_CLASSES
    assert [row.get("class") for row in rows[1:4]] == ["chosen", "chosen", None]
    assert "10 more classes" in page.text
    widths = [a["style"] for tag, a in page.tags if tag == "div" and "style" in a]
    assert widths[0] == "width:29.0%"


@pytest.mark.parametrize(
    ("prediction", "rows"),
    [
        (
            Prediction("7", spans=SPANS[:2]),
            [
                ["id", "mention", "label", "start", "end", "score"],
                ["7", "colon cancer", "Disease", "0", "12", "0.5000"],
                ["7", "colon", "Organ", "0", "5", ""],
            ],
        ),
        (
            Prediction("7", label="a,b", scores={"a,b": 0.75, "c": 0.25}),
            [["id", "label", "score"], ["7", "a,b", "0.7500"]],
        ),
        (Prediction("7", value=1.5), [["id", "value"], ["7", "1.5"]]),
    ],
)
def test_csv(prediction, rows):
    assert list(csv.reader(io.StringIO(marking.csv_of([NESTED], [prediction])))) == rows


def test_runs_are_named_and_show_dev_examples_with_mentions(tmp_path):
    folders = [str(write_dictionary(tmp_path / part / "run")) for part in ("a", "b")]
    first, second = answering.open_runs(folders)
    assert (first.name, second.name) == ("run (1)", "run (2)")
    assert first.labels == ("Disease", "Gene")
    # The one without a mention comes last.
    assert [example.id for example in first.examples] == ["0", "1", "2", "3"]
    with pytest.raises(UserError, match="one, or two"):
        answering.open_runs([*folders, folders[0]])


def test_one_text_is_answered_as_a_file_of_it_is(run):
    example = answering.check_text(run, "No flu, gout.", max_chars=20)
    spans = answering.answered(run, example).prediction.spans
    assert [(span.start, span.end, span.label) for span in spans] == [
        (3, 6, "Disease"),
        (8, 12, "Disease"),
    ]


@pytest.mark.parametrize(
    ("text", "pair", "message"),
    [
        (" \n", "", "no text"),
        ("x" * 21, "", "21 characters; wanted at most 20"),
        ("x", "y", "reads a single one"),
        (["x"], "", "wanted a text, a string"),
        ("x", 3, "wanted a text, a string"),
        ("\ud800", "", "surrogate"),
    ],
)
def test_texts_that_are_refused(run, text, pair, message):
    with pytest.raises(UserError, match=message):
        answering.check_text(run, text, pair, max_chars=20)


def test_a_run_of_pairs_wants_two_texts():
    run = served(Scripted(EMPTY), pairs=True)
    with pytest.raises(UserError, match="second"):
        answering.check_text(run, "x", "", max_chars=20)
    assert answering.check_text(run, "x", "y", max_chars=20).pair == "y"


def test_a_model_answers_one_call_at_a_time_and_keeps_its_own_warnings():
    run = served(Scripted(EMPTY, seconds=0.05))
    threads = [
        threading.Thread(target=answering.answered, args=(run, Example(str(n), "x")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (run.model.at_once, run.model.calls) == (1, [1] * 6)

    def warning(*arguments, **keywords):
        logging.getLogger("pipelines.x").warning("only %s was read", "half")
        other = threading.Thread(target=logging.getLogger("pipelines.x").warning, args=("not me",))
        other.start()
        other.join()
        return [EMPTY]

    run.family.predict = warning
    assert answering.answered(run, Example("0", "x")).warnings == ("only half was read",)


def test_batches_grow_while_they_are_quick_and_shrink_when_slow(monkeypatch):
    run = served(Scripted(EMPTY))
    examples = [Example(str(n), "x") for n in range(100)]
    answers = [p for batch in answering.answers_in_batches(run, examples) for p in batch]
    assert [answer.id for answer in answers] == [example.id for example in examples]
    assert run.model.calls == [1, 2, 4, 8, 16, 32, 37]
    monkeypatch.setattr(answering, "SHORT", -1.0)
    monkeypatch.setattr(answering, "LONG", 0.0)
    run.model.calls.clear()
    list(answering.answers_in_batches(run, examples[:5]))
    assert run.model.calls == [1] * 5


def test_a_file_is_answered_by_each_run(tmp_path, run):
    upload = tmp_path / "texts.csv"
    upload.write_text("id,text\na,She has gout.\nb,<i>flu</i>\n", encoding="utf-8")
    other = served(Scripted(EMPTY), "other")
    steps = list(files.answer_file(upload, [run, other], folder=tmp_path, max_chars=50))
    assert (steps[0].done, steps[-1].done, steps[-1].total) == (0, 4, 4)
    names = ["run.jsonl", "run.csv", "other.jsonl", "other.csv"]
    assert [path.name for path in steps[-1].files] == names
    rows = [json.loads(line) for line in steps[-1].files[0].read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[1]["spans"][0]["start"] == 3
    assert not any(step.files for step in steps[:-1])


def test_closing_stops_the_work_and_leaves_no_file(tmp_path):
    upload = tmp_path / "texts.jsonl"
    upload.write_text("\n".join(json.dumps({"text": f"t{n}"}) for n in range(50)))
    run = served(Scripted(EMPTY))
    steps = files.answer_file(upload, [run], folder=tmp_path, max_chars=50)
    next(steps)
    next(steps)
    assert list(tmp_path.glob("answers-*"))
    steps.close()
    assert run.model.calls == [1]
    assert not list(tmp_path.glob("answers-*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": ', "a.jsonl"),
        ("a.json", "", "empty"),
        ("a.csv", "id,text\n1," + "x" * 60 + "\n", "of id 1"),
        ("a.csv", "id,image\n1,/etc/x.png\n2,/etc/y.png\n", "names pictures"),
        ("a.json", "[" * 100_000, "a.json"),
    ],
)
def test_files_that_are_refused(tmp_path, run, name, content, message):
    upload = tmp_path / name
    upload.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as fault:
        files.read_upload(upload, run, max_chars=50)
    assert str(tmp_path) not in str(fault.value)


def test_old_answers_are_removed(tmp_path):
    for name, age in (("answers-old", 7200), ("answers-new", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    files.remove_old_answers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["answers-new"]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("path", "most"), [("/upload", 1000), ("/call/predict", 240)])
def test_a_body_is_read_up_to_its_limit(path, most, declared):
    sent, most = [], most + limits.ENVELOPE

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(size):
        chunks = [b"x" * (size // 2), b"x" * (size - size // 2)]
        length = [(b"content-length", str(size).encode())] if declared else []

        async def receive():
            body = chunks.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(chunks)}

        async def send(message):
            sent.append(message)

        limited = limits.Limits(app, max_chars=10, max_file_bytes=1000)
        await limited({"type": "http", "path": path, "headers": length}, receive, send)

    asyncio.run(ask(most))
    asyncio.run(ask(most + 1))
    statuses = [message["status"] for message in sent if "status" in message]
    assert statuses == [200, 413]
    headers = [dict(message["headers"]) for message in sent if "status" in message]
    assert all(b"content-security-policy" in header for header in headers)


def command(*arguments, **options):
    return run_python("-m", "pipelines.cli", "demo", *arguments, **options)


def test_without_gradio_the_command_says_how_to_install_it(tmp_path):
    code = (
        "import sys; sys.modules['gradio'] = None\n"
        "from pipelines.cli import main\n"
        f"main(['demo', '--run', {str(tmp_path)!r}])"
    )
    done = run_python("-c", code)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "pip install 'ner-pipelines[demo]'" in done.stderr


def test_wrong_options_are_refused_all_at_once():
    done = command("--run", "x", "--max_chars", 0, "--queue", -1, "--port", 70000)
    assert done.returncode == 2
    for name in ("--max_chars 0", "--queue -1", "--port 70000"):
        assert name in done.stderr


@pytest.mark.parametrize(
    ("arguments", "password", "message"),
    [
        (["--share"], None, "PIPELINES_DEMO_PASSWORD"),
        (["--host", "0.0.0.0"], None, "PIPELINES_DEMO_PASSWORD"),
        (["--host", "0.0.0.0"], "short", "8 or more"),
    ],
)
def test_a_page_for_others_wants_a_password(arguments, password, message):
    pytest.importorskip("gradio")
    given = {} if password is None else {"PIPELINES_DEMO_PASSWORD": password}
    done = command("--run", "x", *arguments, env=os.environ | given, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert message in done.stderr


class Server:
    """The command in a process of its own."""

    def __init__(self, *arguments, temporary: Path, **environment):
        python = [sys.executable, "-m", "pipelines.cli", "demo", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            list(map(str, python)),
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": str(temporary)} | environment,
        )
        self.line = self.process.stdout.readline()
        self.address = re.match(r"(http://\S+?)/?[;,]", self.line)[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self.process.stdout.close()


def documented(language):
    """The examples of docs/demo.md in a language."""
    text = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.slow
def test_the_documented_calls_work_and_nothing_is_left(tmp_path):
    pytest.importorskip("gradio")
    run = write_dictionary(tmp_path / "run")
    temporary, work = tmp_path / "temporary", tmp_path / "work"
    temporary.mkdir()
    work.mkdir()
    (work / "texts.jsonl").write_text('{"text": "No flu."}\n', encoding="utf-8")
    server = Server("--run", run, temporary=temporary)
    try:
        assert list(temporary.iterdir())
        [python] = documented("python")
        code = python.replace("http://127.0.0.1:7860", server.address)
        environment = os.environ | {"TMPDIR": str(work)}
        done = run_python("-c", code, cwd=work, env=environment)
        assert done.returncode == 0, done.stderr
        assert "'label': 'Disease'" in done.stdout
        assert "run.jsonl" in done.stdout
        curl = next(block for block in documented("bash") if "curl" in block)
        script = curl.replace("http://127.0.0.1:7860", server.address)
        done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, cwd=work)
        assert "event: complete" in done.stdout, done.stderr
        assert '"label": "Disease"' in done.stdout
        assert not (ROOT / ".gradio").exists()
    finally:
        server.stop()
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_limits_and_other_files_over_http(tmp_path):
    pytest.importorskip("gradio")
    httpx = pytest.importorskip("httpx")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    run = write_dictionary(tmp_path / "run")
    options = ("--run", run, "--max_chars", 30, "--max_file_mb", 0.1, "--queue", 1)
    server = Server(*options, temporary=tmp_path)
    try:
        with httpx.Client(base_url=f"{server.address}/gradio_api", timeout=60) as client:
            assert client.get(f"/file={secret}").status_code == 403
            assert client.get(f"/file={ROOT / 'README.md'}").status_code == 403
            long = client.post("/call/predict", json={"data": ["x" * 31, "", ""]})
            answer = client.get(f"/call/predict/{long.json()['event_id']}").text
            assert "wanted at most 30" in answer
            upload = {"files": ("a.txt", b"x" * 200_000)}
            assert client.post("/upload", files=upload).status_code == 413
            upload = {"files": ("a.txt", b"x" * 500_000)}
            assert client.post("/upload", files=upload).status_code == 413
            # A path that was never uploaded is not read.
            data = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
            queued = client.post("/call/predict_file", json={"data": [data]})
            answer = client.get(f"/call/predict_file/{queued.json()['event_id']}").text
            assert "event: error" in answer
    finally:
        server.stop()


@pytest.mark.slow
def test_a_password_is_asked_for_everywhere(tmp_path):
    pytest.importorskip("gradio")
    httpx = pytest.importorskip("httpx")
    run = write_dictionary(tmp_path / "run")
    word = "a long password"
    server = Server("--run", run, temporary=tmp_path, PIPELINES_DEMO_PASSWORD=word)
    try:
        assert "user demo" in server.line
        with httpx.Client(base_url=server.address, timeout=60) as client:
            body = {"data": ["No flu.", "", ""]}
            for path in ("/gradio_api/call/predict", "/gradio_api/upload"):
                assert client.post(path, json=body).status_code == 401
            assert "No flu" not in client.get("/").text
            wrong = {"username": "demo", "password": "wrong"}
            assert client.post("/login", data=wrong).status_code == 400
            assert client.post("/login", data=wrong | {"password": word}).status_code == 200
            assert client.post("/gradio_api/call/predict", json=body).status_code == 200
    finally:
        server.stop()
