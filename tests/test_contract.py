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

    # predict: the same bytes, though no column is named again.
    # The head search scores dev by the head that dev chose, and saves one that has learnt from dev too.
    for split in ("test",) if name == "frozen head" else ("dev", "test"):
        pipelines(
            "predict",
            "--run",
            run,
            "--input",
            files[split],
            "--output",
            tmp_path / f"{split}.jsonl",
        )
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (
            run / "predictions" / f"{split}.jsonl"
        ).read_bytes()

    # evaluate: the same scores.
    report = json.loads((run / "report.json").read_text())
    pipelines(
        "evaluate",
        "--gold",
        files["test"],
        "--predictions",
        run / "predictions" / "test.jsonl",
        "--train",
        files["train"],
        *columns,
        "--json",
        tmp_path / "r.json",
        "--allow_new_labels",
    )
    again = json.loads((tmp_path / "r.json").read_text())
    for metric in ("strict", "accuracy", "gold_sha256"):
        assert again.get(metric) == report.get(metric)

    # compare: reads gold and predictions again, and refuses where they are not what was scored.
    pipelines("compare", run, "--json", tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["runs"][0]["name"] == "run"

    # convert: predictions as a corpus, read back.
    pipelines(
        "convert",
        files["test"],
        *columns,
        "--predictions",
        run / "predictions" / "test.jsonl",
        "--out",
        tmp_path / "answers.jsonl",
    )
    ids = [json.loads(line)["id"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert ids == [
        json.loads(line)["id"]
        for line in (run / "predictions" / "test.jsonl").read_text().splitlines()
    ]

    # submit.
    answer = (
        "label"
        if "label" in json.loads((run / "predictions" / "test.jsonl").read_text().splitlines()[0])
        else "spans"
    )
    sample = tmp_path / "sample.csv"
    empty = "well" if answer == "label" else "[]"
    sample.write_text(f"id,{answer}\n" + "".join(f"{id},{empty}\n" for id in ids), encoding="utf-8")
    pipelines(
        "submit",
        "--predictions",
        run / "predictions" / "test.jsonl",
        "--sample",
        sample,
        "--input",
        files["test"],
        *columns,
        "--format",
        "label" if answer == "label" else "json_strings",
        "--out",
        tmp_path / "s.csv",
    )
    assert len((tmp_path / "s.csv").read_text().splitlines()) == len(ids) + 1

    # inspect, for taggers.
    if name in ("token_tagger", "word tagger"):
        capsys.readouterr()
        pipelines("inspect", "--run", run, "--id", ids[0])
        assert ids[0] in capsys.readouterr().out
