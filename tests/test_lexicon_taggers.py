"""A list of names helps neural taggers with names that training lacks, and only with those."""

import json
import random

import pytest
from conftest import load_recipe

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def made_up_words(seed, count):
    rng = random.Random(seed)
    return ["".join(rng.choices(LETTERS, k=7)) for _ in range(count)]


def sentences(names, others):
    """Each name is a mention, each other word stands in the same places and is none."""
    rows = []
    for is_name, words in ((True, names), (False, others)):
        for word in words:
            before = "we saw " if len(rows) % 2 else "then came "
            span = {"start": len(before), "end": len(before) + len(word), "label": "Disease"}
            spans = [span] if is_name else []
            rows.append({"text": f"{before}{word} today", "spans": spans})
    return [{"id": str(number), **row} for number, row in enumerate(rows)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    names, others = made_up_words(0, 120), made_up_words(1, 120)
    for split, part in (("train", slice(0, 60)), ("dev", slice(60, 120))):
        rows = [json.dumps(row) for row in sentences(names[part], others[part])]
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = "".join(f"{name}\tDisease\n" for name in names)
    (folder / "names.tsv").write_text(lines, encoding="utf-8")
    return folder


def dev_f1(files, run_dir, *options):
    module = load_recipe("train_tagger")
    arguments = [
        *("--train_file", files / "train.jsonl", "--dev_file", files / "dev.jsonl"),
        *("--run_dir", run_dir, "--embedding_dim", 8, "--hidden_size", 8, "--num_train_epochs", 8),
        *("--learning_rate", 0.02, "--word_dropout", 0.5, "--batch_tokens", 200),
        *("--disable_tqdm", "true"),
        *options,
    ]
    parsed = module.config.parse(
        (module.RecipeArguments, module.TaggerTrainingArguments),
        arguments=list(map(str, arguments)),
    )
    return module.run(*parsed)["strict"]["f1"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["ffnn", "lstm"])
def test_a_lexicon_finds_names_that_training_lacks(network, files, tmp_path):
    options = ("--network", network, "--bidirectional", "true", "--crf", "true")
    options = options if network == "lstm" else ("--network", network)
    without = dev_f1(files, tmp_path / "without", *options)
    with_names = dev_f1(files, tmp_path / "with", *options, "--lexicon", files / "names.tsv")
    assert with_names > 0.95
    assert without < 0.7
