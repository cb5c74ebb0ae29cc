"""`pipelines predict`: what the run's own task reads, as the run reads it, in batches, and again after a death."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run_python

from pipelines.corpora import Columns
from pipelines.corpora.stream import stream_examples
from pipelines.examples import BATCH, Example

ROWS = [
    {"id": f"r{n}", "text": f"Text {n} says 'gout'.\nTwice.", "label": "ab"[n % 2]}
    for n in range(2600)
]


def table(separator):
    quoted = [[row["id"], '"' + row["text"].replace('"', '""') + '"', row["label"]] for row in ROWS]
    return "\n".join(separator.join(cells) for cells in [["id", "text", "label"], *quoted]) + "\n"


def tokens(row):
    return "\n".join(f"{word}\tO" for word in row["text"].split())


def names(row):
    return row["text"].replace("\n", " ")


STREAMS = {
    "rows.jsonl": "\n".join(map(json.dumps, ROWS)),
    "rows.json": json.dumps(ROWS, indent=1),
    "line.json": json.dumps(ROWS),
    "data.json": json.dumps({"data": ROWS}),
    "rows.csv": table(","),
    "rows.tsv": table("\t"),
    "rows.txt": "\n".join(map(names, ROWS)),
    "rows.conll": "\n\n".join(map(tokens, ROWS)) + "\n",
    "rows.pubtator": "\n\n".join(f"{row['id']}|t|{names(row)}\n{row['id']}|a|" for row in ROWS)
    + "\n",
    "reviews": "\n".join(f"{row['label']} pos {row['id']}.txt {names(row)}" for row in ROWS),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_gives_the_texts_and_ids_of_the_whole_file(name, tmp_path):
    path = tmp_path / name
    path.write_text(STREAMS[name], encoding="utf-8")
    read = list(stream_examples(str(path), columns=Columns()))
    joined = [(example.id, " ".join(example.text.split())) for example in read]
    has_ids = "id" in STREAMS[name][:40] or name == "rows.pubtator"
    assert joined == [
        (row["id"] if has_ids else str(number), names(row)) for number, row in enumerate(ROWS)
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            '{"text": "a"}\n' * 1500 + '{"text": 5}\n' + '{"text": "a"}\n' * 900,
            r"line 1501 \(id 1500\)|line 1501",
        ),
        ("a.json", json.dumps([{"text": "a b"}] * 1500)[:-3], "cut off"),
        (
            "a.csv",
            "text,label\n" + "a b,x\n" * 1500 + "a,b,c\n" + "a b,x\n",
            "line 1502: unreadable_row",
        ),
    ],
)
def test_a_bad_row_far_down_is_named_by_its_own_number(name, content, said, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(Exception, match=said):
        list(stream_examples(str(tmp_path / name), columns=Columns()))


# A run whose model needs no training: each text is answered by what it holds.
FAMILY = """
import sys, time
from pathlib import Path
from pipelines import cli
from pipelines.examples import Prediction
from pipelines.runs.run import Run
class Family:
    load = staticmethod(lambda folder: None)
    def predict(loaded, examples, **options):
        time.sleep({pause})
        return [Prediction(e.id, label=e.text[-3:], scores={{"x": len(e.text) / 7}}) for e in examples]
Path("run/model").mkdir(parents=True, exist_ok=True)
Run.model_folder = lambda run: (Family, run.model)
sys.exit(cli.main(sys.argv[1:]))
"""


def command(*arguments, pause=0.0):
    return [
        sys.executable,
        "-c",
        FAMILY.format(pause=pause),
        "predict",
        "--run",
        "run",
        *map(str, arguments),
    ]


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(tmp_path):
    source, whole, out = (tmp_path / name for name in ("in.jsonl", "whole.jsonl", "out.jsonl"))
    source.write_text(
        "".join(f'{{"id": "r{n}", "text": "text {n}"}}\n' for n in range(10_000)), encoding="utf-8"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        command("--input", source, "--output", whole), cwd=tmp_path, env=environment, check=True
    )
    chance, deaths = random.Random(5), 0
    partial = tmp_path / ".out.jsonl.partial"
    for number in range(5):
        running = subprocess.Popen(
            command("--input", source, "--output", out, "--resume", pause=0.8),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # However slowly the machine starts it, the first one dies with a batch behind it.
        while number == 0 and not (partial.exists() and partial.read_bytes().count(b"\n")):
            assert running.poll() is None
            time.sleep(0.05)
        time.sleep(chance.uniform(0.3, 1.2))
        running.send_signal(signal.SIGKILL)
        deaths += running.wait() == -signal.SIGKILL
        assert not out.exists()
    assert deaths == 5
    # What a death in the middle of a batch leaves: a whole line of it, and one that is cut off.
    kept = partial.read_bytes()
    following = whole.read_bytes().splitlines(keepends=True)[kept.count(b"\n")]
    partial.write_bytes(kept + following + following[:9])
    refused = subprocess.run(
        command("--input", source, "--output", out),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (refused.returncode, "--resume goes on with them" in refused.stderr) == (2, True)
    done = subprocess.run(
        command("--input", source, "--output", out, "--resume"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.jsonl",
        "out.jsonl",
        "run",
        "whole.jsonl",
    ]


def test_another_input_is_not_mixed_into_what_is_kept(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": "a", "text": "b"}\n', encoding="utf-8")
    job = {"run": str((tmp_path / "run").resolve()), "input": "other.jsonl", "batch_tokens": None}
    (tmp_path / ".out.jsonl.partial.json").write_text(json.dumps(job), encoding="utf-8")
    (tmp_path / ".out.jsonl.partial").write_text("", encoding="utf-8")
    done = subprocess.run(
        command("--input", source, "--output", out, "--resume"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert f"input was other.jsonl, is {source}" in done.stderr


def test_standard_input_and_output_and_the_inputs_own_name(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("One text.\nAnother.\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command("--input", "-", "--output", "-"),
        cwd=tmp_path,
        env=environment,
        text=True,
        input=source.read_text(),
        capture_output=True,
    )
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["xt.", "er."]
    done = subprocess.run(
        command("--input", source, "--output", source),
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert (done.returncode, "the input itself" in done.stderr) == (2, True)
    assert source.read_text() == "One text.\nAnother.\n"


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for size in (3_000, 60_000):
        path = tmp_path / f"{size}.jsonl"
        path.write_text(
            "".join(f'{{"id": "{n}", "text": "{"word " * 200}"}}\n' for n in range(size)),
            encoding="utf-8",
        )
        code = (
            "import sys\nfrom pipelines.corpora import Columns\n"
            "from pipelines.corpora.stream import stream_examples\n"
            "n = sum(1 for _ in stream_examples(sys.argv[1], columns=Columns()))\n"
            "print(n, next(line for line in open('/proc/self/status') if 'VmHWM' in line).split()[1])"
        )
        count, peak = map(int, run_python("-c", code, path).stdout.split())
        assert count == size
        peaks.append(peak)
    assert peaks[1] < 1.3 * peaks[0]


def test_batches_are_the_same_for_runs_and_commands():
    from pipelines.corpora.stream import batches

    examples = [Example(str(n), "a") for n in range(BATCH + 1)]
    assert [len(batch) for batch in batches(examples)] == [BATCH, 1]
