"""Every recipe with small data and options, for tests that hold for all of them."""

import json
import shutil
import sys

import pytest
from conftest import ROOT, load_recipe
from pictures import folder_of, zipped
from transformers import AutoTokenizer

from pipelines import cli

CONFIGS = ROOT / "recipes" / "configs"
TEXTS = [
    (f"{word} {text}", label)
    for word in ("really", "so", "quite", "very")
    for text, label in (
        ("good film", "pos"),
        ("bad film", "neg"),
        ("fine play", "pos"),
        ("dull play", "neg"),
        ("warm song", "pos"),
        ("flat song", "neg"),
    )
]
# Recipe and options; "encoder" and "llm" stand for tiny models, "spans", "classes" and "pictures"
# for data.
RECIPES = {
    "sft_tinyllama": ("spans", "llm", ["--config", CONFIGS / "sft_smoke.yaml", "--max_steps", 2]),
    "sft_tinyllama classes": (
        "classes",
        "llm",
        ["--config", CONFIGS / "sft_smoke.yaml", "--max_steps", 2],
    ),
    "sft_tinyllama untrained": (
        "classes",
        "llm",
        ["--config", CONFIGS / "sft_smoke.yaml", "--max_steps", 0, "--shots", 2],
    ),
    "finetune_token_tagger": (
        "spans",
        "encoder",
        ["--config", CONFIGS / "tagger_minilm.yaml", "--num_train_epochs", 1],
    ),
    "distil_tagger": (
        "spans",
        "encoder",
        ["--config", CONFIGS / "distil_minilm.yaml", "--num_train_epochs", 1],
    ),
    "train_tagger": (
        "spans",
        None,
        ["--network", "ffnn", "--hidden_size", 8, "--num_train_epochs", 1],
    ),
    "train_tagger dictionary": ("spans", None, ["--network", "dictionary"]),
    "train_tagger hmm": ("spans", None, ["--network", "hmm"]),
    "train_tagger memm": ("spans", None, ["--network", "memm"]),
    "train_tagger crf": ("spans", None, ["--network", "crf"]),
    "finetune_classifier": (
        "classes",
        "encoder",
        ["--config", CONFIGS / "classifier_minilm.yaml", "--num_train_epochs", 1],
    ),
    "train_text_classifier": (
        "classes",
        None,
        ["--network", "lstm", "--hidden_size", 8, "--num_train_epochs", 1],
    ),
    "train_text_classifier linear_svm": ("classes", None, ["--network", "linear_svm"]),
    "train_sequence_regressor": (
        "sequences",
        None,
        ["--networks", "shared", "--seeds", 1, "--hidden_size", 4, "--num_train_epochs", 1],
    ),
    "train_image_classifier": (
        "pictures",
        None,
        ["--image_size", 16, "--widths", 4, 8, "--num_train_epochs", 1],
    ),
    "train_image_classifier linear": ("pictures", None, ["--network", "linear"]),
    "grid_search_head": (
        "classes",
        "encoder",
        [
            "--config",
            CONFIGS / "head_minilm.yaml",
            "--pooling",
            "mean",
            "--learning_rate",
            0.01,
            "--weight_decay",
            0.01,
            "--dropout",
            0.0,
            "--epochs",
            2,
        ],
    ),
    "train_language_model": (
        "spans",
        None,
        ["--hidden_size", 8, "--embedding_dim", 8, "--num_train_epochs", 1],
    ),
    "train_language_model kneser_ney": ("spans", None, ["--network", "kneser_ney"]),
    "pretrain_encoder": (
        "spans",
        "masked encoder",
        ["--config", CONFIGS / "pretrain_minilm.yaml", "--num_train_epochs", 1],
    ),
    "pretrain_lm": (
        "spans",
        "llm",
        ["--config", CONFIGS / "pretrain_smollm2_text.yaml", "--compile_layers", "false"],
    ),
}
PREDICTING = [name for name in RECIPES if not name.startswith("pretrain_")]
# The head search needs no option to go on, and has no trainer that one could ask for more epochs.
TRAINING = [name for name in RECIPES if name != "grid_search_head"]
WITH_TRAINER = [name for name in TRAINING if " " not in name]


def slow_but(quick, names, *marks):
    """The names as parameters of a test that is slow for all but one of them, and marked so."""
    marks = [pytest.mark.slow, *marks]
    return [name if name == quick else pytest.param(name, marks=marks) for name in names]


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    files = {}
    for split, rows in (("train", TEXTS[:18]), ("dev", TEXTS[18:]), ("test", TEXTS[6:12])):
        files[split] = folder / f"{split}.jsonl"
        lines = [
            json.dumps({"id": f"{split}-{n}", "text": text, "label": label})
            for n, (text, label) in enumerate(rows)
        ]
        files[split].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def arguments_of(name, models, data):
    kind, model, options = RECIPES[name]
    files = [
        part
        for split in ("train", "dev", "test")
        for part in (f"--{split}_file", data[kind][split])
    ]
    named = ["--model_name_or_path", models[model]] if model else []
    cache = ["--cache_dir", data["cache"]] if name == "grid_search_head" else []
    teaching = teaching_options(data) if name == "distil_tagger" else []
    return [*options, *named, *files, *cache, *teaching]


def teaching_options(data):
    """Two teachers, trained when first asked for, and texts with the mentions of train."""
    folder, corpus = data["teaching"], data["spans"]
    teachers, more = [folder / "dictionary", folder / "crf"], folder / "more.txt"
    if not more.is_file():
        files = ("--train_file", corpus["train"], "--dev_file", corpus["dev"])
        for run in teachers:
            assert call("train_tagger", "--network", run.name, *files, "--run_dir", run) == 0
        rows = json.loads(corpus["train"].read_text(encoding="utf-8"))
        mentions = [entity["text"] for row in rows for entity in row["entities"]][:30]
        texts = [f"Patient {n} had {mention} ." for n, mention in enumerate(mentions)]
        more.write_text("\n".join(texts), encoding="utf-8")
    return ["--teachers", *teachers, "--unlabelled", more]


def call(name, *arguments):
    """The exit code of a recipe's main with a command line."""
    before = sys.argv
    sys.argv = [f"{name}.py", *map(str, arguments)]
    try:
        load_recipe(name.split()[0]).main()
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = before
    return 0


def predict(run, texts, out, *more):
    """The exit code of `pipelines predict` in this process."""
    given = ("predict", "--run", run, "--input", texts, "--output", out, *more)
    try:
        return cli.main(list(map(str, given)))
    except SystemExit as stop:
        return stop.code


@pytest.fixture(scope="module")
def models(tiny_llama, tiny_bert, tmp_path_factory):
    masked = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("masked") / "bert")
    AutoTokenizer.from_pretrained(masked, mask_token="[UNK]").save_pretrained(masked)
    return {"llm": tiny_llama, "encoder": tiny_bert, "masked encoder": masked}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    files = {}
    for split, size in (("train", 20), ("dev", 6), ("test", 6)):
        files[split] = folder / f"{split}.jsonl"
        steps = [[[n % 5 / 4, step / 3] for step in range(1 + n % 4)] for n in range(size)]
        rows = [{"id": f"{split}{n}", "features": x, "value": n / 7} for n, x in enumerate(steps)]
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    files = {}
    for split, count, first in (("train", 9, 0), ("dev", 3, 9), ("test", 3, 12)):
        of_split = folder_of(folder / split, count, first=first)
        files[split] = zipped(of_split, folder / f"{split}.zip")
    return files


@pytest.fixture(scope="module")
def data(corpus, classes, sequences, pictures, tmp_path_factory):
    kinds = {"spans": corpus, "classes": classes, "sequences": sequences, "pictures": pictures}
    folders = {name: tmp_path_factory.mktemp(name) for name in ("features", "teaching")}
    return kinds | {"cache": folders["features"], "teaching": folders["teaching"]}


@pytest.fixture(scope="module")
def runs(models, data, tmp_path_factory):
    """Recipe -> the folder of its finished run, made when first asked for."""
    made = {}

    def run(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("jobs") / name.replace(" ", "-")
            assert call(name, *arguments_of(name, models, data), "--run_dir", folder) == 0
            made[name] = folder
        return made[name]

    return run


@pytest.fixture
def copied(runs, tmp_path):
    def copy(name):
        shutil.copytree(runs(name), tmp_path / "run")
        return tmp_path / "run"

    return copy


def one_error(text):
    [line] = [line for line in text.splitlines() if line.startswith("error:")]
    assert "Traceback" not in text
    return line
