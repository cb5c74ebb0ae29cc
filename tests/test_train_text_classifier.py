"""The recipe of the small text classifiers as a user runs it: every network, options, bad input."""

import json

import numpy as np
import pytest
import torch
import yaml
from conftest import load_recipe
from recipe_cases import TEXTS, slow_but

from pipelines.cli import main as pipelines
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import DataError, UserError
from pipelines.families import sequence_classifier
from pipelines.networks.embeddings import unit_variance
from pipelines.networks.text_classifier import NETWORKS

FAST = (
    "--embedding_dim",
    6,
    "--num_train_epochs",
    2,
    "--batch_tokens",
    64,
    "--learning_rate",
    0.01,
)
SIZES = {
    "bag_of_embeddings": (),
    "cnn": ("--hidden_size", 4, "--filter_widths", 2, 3),
    "rnn": ("--hidden_size", 4, "--bidirectional", "true", "--pooling", "max"),
    "gru": ("--hidden_size", 4, "--num_layers", 2, "--dense_size", 5, "--pooling", "attention"),
    "lstm": ("--hidden_size", 4, "--recurrent_dropout", 0.2, "--max_length", "auto"),
}
LINEAR = ("majority", "naive_bayes", "logistic_regression", "linear_svm")


def write(path, rows):
    lines = [json.dumps({"id": str(n), **row}) for n, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": text, "label": label} for text, label in TEXTS]
    return {
        "train": write(folder / "train.jsonl", rows[:18]),
        "dev": write(folder / "dev.jsonl", rows[18:]),
        "test": write(folder / "test.jsonl", [{"text": row["text"]} for row in rows[6:12]]),
    }


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("train_text_classifier")


@pytest.fixture
def run_recipe(recipe, files, tmp_path, capsys):
    """Runs the recipe in this process; the run folder and what it printed."""

    def run(*arguments, given=None, folder=None):
        named = [str(part) for split, file in (given or files).items()
                 for part in (f"--{split}_file", file)]  # fmt: skip
        folder = folder or tmp_path / "run"
        options, training = recipe.config.parse(
            (recipe.RecipeArguments, recipe.TextTrainingArguments),
            arguments=[*named, "--run_dir", str(folder), *map(str, arguments)],
        )
        recipe.run(options, training)
        return folder, capsys.readouterr().out

    return run


@pytest.mark.parametrize("network", [*LINEAR, *slow_but("bag_of_embeddings", NETWORKS)])
def test_every_network_trains_and_predicts_the_same_bytes_again(
    network, run_recipe, files, tmp_path
):
    options = () if network in LINEAR else (*FAST, "--disable_tqdm", "true", *SIZES[network])
    folder, _ = run_recipe("--network", network, *options)
    report = json.loads((folder / "report.json").read_text())
    assert report["split"] == "dev"
    assert report["cost"]["parameters"] > 0
    again = tmp_path / "p.jsonl"
    command = ["predict", "--run", folder, "--input", files["test"], "--output", again]
    assert pipelines([str(part) for part in command]) == 0
    assert again.read_bytes() == (folder / "predictions" / "test.jsonl").read_bytes()
    assert not [path for path in (folder / "model").iterdir() if path.suffix in (".pkl", ".bin")]


@pytest.mark.parametrize("network", slow_but("linear_svm", ["linear_svm", "gru"]))
def test_what_is_easy_is_learnt(network, run_recipe):
    options = () if network == "linear_svm" else (
        "--num_train_epochs", 12, "--learning_rate", 0.02, "--hidden_size", 8, "--embedding_dim", 8,
        "--early_stopping_patience", 12, "--batch_tokens", 32)  # fmt: skip
    folder, _ = run_recipe("--network", network, *options)
    assert json.loads((folder / "report.json").read_text())["accuracy"] == 1


def test_linear_classifiers_say_which_ngrams_matter(run_recipe):
    folder, _ = run_recipe("--network", "logistic_regression", "--word_ngrams", 1)
    strongest = json.loads((folder / "report.json").read_text())["features"]
    assert {"good", "fine", "warm"} == {name for name, _ in strongest["pos"][:3]}


@pytest.mark.slow
def test_several_classes_a_text(run_recipe, tmp_path):
    rows = [{"text": text, "label": [label, "play"] if "play" in text else [label]}
            for text, label in TEXTS]  # fmt: skip
    given = {"train": write(tmp_path / "t.jsonl", rows), "dev": write(tmp_path / "d.jsonl", rows)}
    for network, options in (("linear_svm", ("--c", 10)), ("bag_of_embeddings", FAST)):
        folder, _ = run_recipe(
            "--network", network, *options, "--tune_thresholds", "true",
            given=given, folder=tmp_path / network)  # fmt: skip
        predictions = read_predictions(folder / "predictions" / "dev.jsonl")
        if network == "linear_svm":
            assert [set(p.label) for p in predictions] == [set(row["label"]) for row in rows]


@pytest.mark.slow
def test_vectors_from_a_file_stay_as_they_are_when_frozen(run_recipe, tmp_path):
    words = sorted({word for text, _ in TEXTS for word in text.split()})
    random = np.random.default_rng(0)
    vectors = {word: random.normal(size=4).round(3).tolist() for word in words}
    (tmp_path / "glove_reviews.json").write_text(json.dumps(vectors))
    wanted = unit_variance(torch.tensor(list(vectors.values())))
    for frozen in (True, False):
        file = tmp_path / "glove_reviews.json"
        options = ("--embeddings", file, "--hidden_size", 4, *FAST[2:], "--batch_tokens", 9)
        trained = ("--train_embeddings", str(not frozen).lower())
        folder, _ = run_recipe(
            "--network", "gru", *options, *trained, folder=tmp_path / str(frozen)
        )
        loaded = sequence_classifier.load(folder / "model")
        ids = loaded.tokenizer.convert_tokens_to_ids(words)
        table = loaded.model.get_input_embeddings().weight[ids]
        assert torch.allclose(table, wanted, atol=1e-5) is frozen


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "arguments", "kind"),
    [
        ("sgd", "momentum=0.9,nesterov=true", torch.optim.SGD),
        ("rmsprop", "alpha=0.9", torch.optim.RMSprop),
        ("adagrad", None, torch.optim.Adagrad),
        ("adamw_torch", None, torch.optim.AdamW),
    ],
)
def test_the_optimizers(optimizer, arguments, kind, recipe, run_recipe, monkeypatch):
    trainers = []
    train = recipe.train
    monkeypatch.setattr(
        recipe, "train", lambda *a, **k: trainers.append(train(*a, **k)) or trainers[-1]
    )
    named = ("--optim_args", arguments) if arguments else ()
    run_recipe("--network", "bag_of_embeddings", *FAST, "--optim", optimizer, *named,
               "--lr_scheduler_type", "cosine", "--label_smoothing_factor", 0.1)  # fmt: skip
    used = trainers[0].optimizer
    used = getattr(used, "optimizer", used)
    assert type(used) is kind
    if optimizer == "sgd":
        assert used.defaults["momentum"] == 0.9
        assert used.defaults["nesterov"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["linear_svm", "rnn"])
def test_a_search_fits_the_best_options_into_the_run(network, run_recipe):
    options = ("--search", "c=0.01,1", "word_ngrams=1,2")
    if network == "rnn":
        options = (
            *FAST,
            "--hidden_size",
            4,
            "--search",
            "pooling=last,max",
            "learning_rate=0.001,0.02",
        )
    folder, printed = run_recipe("--network", network, *options, "--search_sampler", "grid")
    result = json.loads((folder / "search.json").read_text())
    assert len(result["trials"]) == 4
    assert "4 trials; importance" in printed
    written = yaml.safe_load((folder / "config.yaml").read_text())
    for name, value in result["best"].items():
        assert written[name] == value or float(written[name]) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "svm"], "got --network svm; wanted one of majority"),
        (["--network", "linear_svm", "--hidden_size", 3], "linear_svm does not read --hidden_size"),
        (["--network", "linear_svm", "--num_train_epochs", 3], "does not read --num_train_epochs"),
        (["--network", "lstm", "--c", 3, "--filter_widths", 2], "not read --c, --filter_widths"),
        (["--network", "cnn", "--recurrent_dropout", 0.5], "cnn does not read --recurrent_dropout"),
        (["--network", "majority", "--word_ngrams", 1], "majority does not read --word_ngrams"),
        (["--network", "naive_bayes", "--search", "c=1,2"], "naive_bayes does not read --c"),
        (["--network", "linear_svm", "--search", "learning_rate=1,2"], "not read --learning_rate"),
        (["--search", "network=gru,lstm"], "compare them by `pipelines compare`"),
        (["--optim", "sgd", "--optim_args", "momentun=0.9"], "--optim sgd takes dampening, momen"),
        (["--optim_args", "momentum=0.9"], "--optim adamw_torch.* takes none there"),
        (["--network", "linear_svm", "--c", 0], "got --c 0; wanted a number over 0"),
        (["--network", "cnn", "--pooling", "last"], "has no last state"),
        (["--max_length", "-1"], "wanted a number of words, or auto"),
        (["--embeddings", "glove.txt"], "wanted random, a text file of vectors"),
    ],
)  # fmt: skip
def test_bad_options_end_in_one_line(arguments, message, run_recipe):
    with pytest.raises(UserError, match=message) as raised:
        run_recipe(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("good 1 2\nbad 1 2 3\n", (), "vectors.txt:2: 3 numbers; the first row has 2"),
        (
            "2 3\ngood 1 2 3\nbad 1 2 3\n",
            ("--embedding_dim", 9),
            "3 numbers, not --embedding_dim 9",
        ),
        ("bonjour 1 2\n", (), "has a vector for none of the"),
    ],
)
def test_bad_vectors_end_in_an_error_that_names_them(
    content, options, message, run_recipe, tmp_path
):
    (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        run_recipe("--embeddings", tmp_path / "vectors.txt", *options)


def test_one_class_is_refused(run_recipe, tmp_path):
    one = write(tmp_path / "one.jsonl", [{"text": f"text {n}", "label": "pos"} for n in range(4)])
    given = {"train": one, "dev": one}
    with pytest.raises(UserError, match="all 4 rows have 'label' = 'pos'"):
        run_recipe("--network", "linear_svm", given=given)
    with pytest.raises(DataError, match="all texts are of one class"):
        run_recipe("--network", "linear_svm", "--label_column", "label", given=given)


@pytest.mark.extensive
@pytest.mark.slow
def test_a_text_of_50000_words(run_recipe, tmp_path):
    rows = [{"text": text, "label": label} for text, label in TEXTS]
    rows[0]["text"] = "good film " * 25_000
    given = {split: write(tmp_path / f"{split}.jsonl", rows) for split in ("train", "dev")}
    _, printed = run_recipe("--network", "lstm", *FAST, "--hidden_size", 4, given=given)
    assert "train: 1 texts lose their end: id 0" in printed
