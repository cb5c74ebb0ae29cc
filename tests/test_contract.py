"""Every command on every kind of run: what a command gives for a run's own file is what the run itself gave."""

import json

import pytest
from conftest import ROOT
from recipe_cases import call

from pipelines import cli

TEXTS = [
    ("Gout hurts", "Gout"),
    ("No pain here", None),
    ("Mild gout again", "gout"),
    ("Flu and cough", "Flu"),
    ("Nothing at all", None),
    ("A case of flu", "flu"),
    ("She is well", None),
    ("Gout or flu", "Gout"),
]
ROWS = [
    (f"x{number}", f"{text} {number}.", mention) for number, (text, mention) in enumerate(TEXTS * 4)
]
SMALL = ["--max_steps", 2, "--max_length", 40]


def mentions(text, mention):
    start = -1 if mention is None else text.index(mention)
    return (
        []
        if mention is None
        else [{"start": start, "end": start + len(mention), "type": "Disease"}]
    )


def conll(rows):
    lines = []
    for id, text, mention in rows:
        words = text.split()
        lines.append(f"# sent_id = {id}")
        lines += [
            f"{word}\t{'B-Disease' if mention is not None and word.strip('.') == mention else 'O'}"
            for word in words
        ]
        lines.append("")
    return "\n".join(lines) + "\n"


def table(rows, pair=False):
    head = "number;erster;zweiter;klasse\n" if pair else "id,text,label\n"
    mark = ";" if pair else ","
    cells = [
        [id, text, *(["A second one."] if pair else []), "ill" if mention else "well"]
        for id, text, mention in rows
    ]
    return head + "".join(mark.join(row) + "\n" for row in cells)


MENTIONS = {
    "data.json": lambda rows: json.dumps(
        [
            {"id": id, "sentence": text, "entities": mentions(text, mention)}
            for id, text, mention in rows
        ]
    ),
    "data.conll": conll,
}
CLASSES = {
    "data.csv": table,
    "data.jsonl": lambda rows: "".join(
        json.dumps(
            {
                "id": id,
                "text": text,
                "text_pair": "A second one.",
                "label": "ill" if mention else "well",
            }
        )
        + "\n"
        for id, text, mention in rows
    ),
}
PAIRS = {"pairs.csv": lambda rows: table(rows, pair=True)}
NAMED = [
    "--text_column",
    "erster",
    "--pair_column",
    "zweiter",
    "--label_column",
    "klasse",
    "--id_column",
    "number",
]

# (recipe, its options, layouts of its data, options of the columns)
RUNS = {
    "causal_lm": ("sft_tinyllama", ["--config", "sft_smoke.yaml", "--max_steps", 1], MENTIONS, []),
    "token_tagger": ("finetune_token_tagger", ["--max_steps", 2], MENTIONS, []),
    "word tagger": (
        "train_tagger",
        ["--network", "window", "--hidden_size", 8, "--embedding_dim", 6, "--num_train_epochs", 1],
        MENTIONS,
        [],
    ),
    "dictionary": ("train_tagger", ["--network", "dictionary"], MENTIONS, []),
    "classifier": ("finetune_classifier", SMALL, CLASSES, []),
    "classifier of pairs": ("finetune_classifier", SMALL, PAIRS, NAMED),
    "frozen head": ("grid_search_head", ["--max_length", 40], CLASSES, []),
}
CASES = [(name, layout) for name, (_, _, layouts, _) in RUNS.items() for layout in layouts]


def pipelines(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layout"), CASES, ids=[f"{name}, {layout}" for name, layout in CASES]
)
def test_commands_give_what_the_run_gave(
    name, layout, tiny_llama, tiny_bert, tmp_path, monkeypatch, capsys
):
    recipe, options, layouts, columns = RUNS[name]
    files = {}
    for split, rows in (("train", ROWS[:20]), ("dev", ROWS[20:26]), ("test", ROWS[26:])):
        files[split] = tmp_path / f"{split}-{layout}"
        files[split].write_text(layouts[layout](rows), encoding="utf-8")
    given = [part for split, file in files.items() for part in (f"--{split}_file", file)]
    model = {"sft_tinyllama": ["--model_name_or_path", tiny_llama], "train_tagger": []}.get(
        recipe, ["--model_name_or_path", tiny_bert]
    )
    options = [
        ROOT / "recipes" / "configs" / part if str(part).endswith(".yaml") else part
        for part in options
    ]
    run = tmp_path / "run"
    assert call(recipe, *options, *model, *given, *columns, "--run_dir", run) == 0
    monkeypatch.chdir(tmp_path)
    # The head search scores dev by the head that dev chose, and saves one that has learnt from dev.
    for split in ("test",) if name == "frozen head" else ("dev", "test"):
        predict_gives_the_same_bytes(run, split, files[split])
    evaluate_gives_the_same_scores(run, files, columns)
    compare_finds_what_was_scored(run)
    ids = convert_keeps_every_answer(run, files["test"], columns)
    submit_fills_a_sample(run, files["test"], columns, ids)
    if name in ("token_tagger", "word tagger"):
        capsys.readouterr()
        pipelines("inspect", "--run", run, "--id", ids[0])
        assert ids[0] in capsys.readouterr().out


def answers(run):
    """The rows of the predictions for test."""
    return [json.loads(row) for row in answers_file(run).read_text().splitlines()]


def answers_file(run):
    return run / "predictions" / "test.jsonl"


def predict_gives_the_same_bytes(run, split, file):
    """Though no column is named again."""
    out = run.parent / f"{split}.jsonl"
    pipelines("predict", "--run", run, "--input", file, "--output", out)
    assert out.read_bytes() == (run / "predictions" / f"{split}.jsonl").read_bytes()


def evaluate_gives_the_same_scores(run, files, columns):
    given = ["--gold", files["test"], "--predictions", answers_file(run), "--train", files["train"]]
    out = run.parent / "r.json"
    pipelines("evaluate", *given, *columns, "--json", out, "--allow_new_labels")
    report, again = json.loads((run / "report.json").read_text()), json.loads(out.read_text())
    for metric in ("strict", "accuracy", "gold_sha256"):
        assert again.get(metric) == report.get(metric)


def compare_finds_what_was_scored(run):
    """It reads gold and predictions again, and refuses where they are not what was scored."""
    pipelines("compare", run, "--json", run.parent / "c.json")
    assert json.loads((run.parent / "c.json").read_text())["runs"][0]["name"] == "run"


def convert_keeps_every_answer(run, file, columns):
    """Predictions as a corpus, read back; returns their ids."""
    out = run.parent / "answers.jsonl"
    pipelines("convert", file, *columns, "--predictions", answers_file(run), "--out", out)
    ids = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert ids == [row["id"] for row in answers(run)]
    return ids


def submit_fills_a_sample(run, file, columns, ids):
    has_label = "label" in answers(run)[0]
    answer, empty = ("label", "well") if has_label else ("spans", "[]")
    sample, out = run.parent / "sample.csv", run.parent / "s.csv"
    sample.write_text(f"id,{answer}\n" + "".join(f"{id},{empty}\n" for id in ids), encoding="utf-8")
    given = ["--predictions", answers_file(run), "--sample", sample, "--input", file, *columns]
    pipelines("submit", *given, "--format", "label" if has_label else "json_strings", "--out", out)
    assert len(out.read_text().splitlines()) == len(ids) + 1
