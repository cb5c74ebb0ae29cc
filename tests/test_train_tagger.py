"""The recipe of the classic taggers as a user runs it: train, predict, score; bad input; going on."""

import json
import shutil
from collections import Counter

import pytest
import yaml
from conftest import ROOT, load_recipe, run_python
from recipe_cases import call, one_error, predict

from pipelines.cli import main as pipelines
from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import DataError, UserError
from pipelines.runs.log import log_to_terminal
from pipelines.submission import validate_submission

RECIPE = ROOT / "recipes" / "train_tagger.py"
FAST = ["--hidden_size", 8, "--embedding_dim", 6, "--num_train_epochs", 2, "--batch_tokens", 256]


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("train_tagger")


@pytest.fixture
def run_recipe(recipe, corpus, tmp_path, capsys):
    """Runs the recipe in this process; the run folder and what it printed."""

    def run(*arguments, files=("train", "dev", "test"), folder=None):
        given = [str(part) for split in files for part in (f"--{split}_file", corpus[split])]
        folder = folder or tmp_path / "run"
        options, training = recipe.config.parse(
            (recipe.RecipeArguments, recipe.TaggerTrainingArguments),
            arguments=[
                *given,
                "--run_dir",
                str(folder),
                "--disable_tqdm",
                "true",
                *map(str, arguments),
            ],
        )
        log_to_terminal()
        recipe.run(options, training)
        return folder, capsys.readouterr().out

    return run


@pytest.mark.slow
def test_from_the_command_line(corpus, tmp_path):
    done = run_python(
        RECIPE,
        "--network",
        "lstm",
        "--bidirectional",
        "true",
        "--crf",
        "true",
        "--character_feature",
        "affixes",
        "--character_dim",
        4,
        *FAST,
        "--train_file",
        corpus["train"],
        "--dev_file",
        corpus["dev"],
        "--test_file",
        corpus["unlabelled"],
        "--run_dir",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr
    assert "Span extraction: strict F1" in done.stdout
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["split"] == "dev"
    assert report["cost"]["parameters"] > 0
    for name in (
        "config.yaml",
        "provenance.json",
        "report.html",
        "predictions/dev.jsonl",
        "predictions/test.jsonl",
        "model/tagger.json",
        "model/model.safetensors",
    ):
        assert (tmp_path / "run" / name).is_file(), name
    # The saved model predicts as the recipe did.
    assert predict(tmp_path / "run", corpus["unlabelled"], tmp_path / "p.jsonl") == 0
    assert (tmp_path / "p.jsonl").read_text() == (
        tmp_path / "run" / "predictions" / "test.jsonl"
    ).read_text()


def test_an_unknown_option_is_refused_with_the_nearest(capsys):
    assert call("train_tagger", "--network", "rnn", *FAST, "--crff", "true") == 2
    assert "did you mean --crf" in one_error(capsys.readouterr().err)


def test_the_answers_are_submitted_in_the_layout_of_the_sample(run_recipe, corpus, tmp_path):
    folder, printed = run_recipe("--network", "dictionary")
    validate_submission(
        folder / "submission.csv", folder / "sample_submission.csv", format="json_strings"
    )
    assert str(folder / "submission.csv") in printed
    ids = [example.id for example in read_examples(corpus["test"])]
    (tmp_path / "sample.csv").write_text("id,tags\n" + "".join(f"{id},O\n" for id in reversed(ids)))
    folder, _ = run_recipe(
        "--network",
        "dictionary",
        "--sample_submission",
        tmp_path / "sample.csv",
        folder=tmp_path / "second",
    )
    rows = (folder / "submission.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["id", *reversed(ids)]
    assert any("B-Disease" in row for row in rows)
    (tmp_path / "sample.csv").write_text("id,tags\n" + "".join(f"{id},O\n" for id in ids[1:]))
    with pytest.raises(DataError, match=ids[0]):
        run_recipe(
            "--network",
            "dictionary",
            "--sample_submission",
            tmp_path / "sample.csv",
            folder=tmp_path / "third",
        )
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("network", ["dictionary", "most_frequent_tag"])
def test_counting_is_a_run_like_any_other(network, run_recipe, corpus, tmp_path):
    folder, _ = run_recipe("--network", network)
    report = json.loads((folder / "report.json").read_text())
    assert report["strict"]["f1"] == report["baselines"][network]["f1"]
    assert (folder / "model" / "lexical.json").is_file()
    assert predict(folder, corpus["test"], tmp_path / "p.jsonl") == 0
    assert (tmp_path / "p.jsonl").read_text() == (folder / "predictions" / "test.jsonl").read_text()


@pytest.fixture
def lexicon(tmp_path):
    """A file of names of which some are in the sample corpus."""
    names = "breast cancer\tDisease\tD001943\nnon-Hodgkin lymphoma\tDisease\tD008228\n"
    (tmp_path / "names.tsv").write_text(names, encoding="utf-8")
    return tmp_path / "names.tsv"


@pytest.mark.parametrize(
    "options",
    [
        ("--network", "dictionary"),
        ("--network", "crf", "--max_iterations", 5),
        pytest.param(("--network", "gru", "--window", 1, *FAST), marks=pytest.mark.slow),
    ],
    ids=lambda options: options[1],
)
def test_a_lexicon_is_saved_with_the_model(options, lexicon, run_recipe, corpus, tmp_path):
    folder, _ = run_recipe(*options, "--lexicon", lexicon)
    lexicon.unlink()
    command = ["predict", "--run", str(folder), "--output", str(tmp_path / "p.jsonl")]
    assert pipelines([*command, "--input", str(corpus["test"])]) == 0
    predicted = (tmp_path / "p.jsonl").read_text()
    assert predicted == (folder / "predictions" / "test.jsonl").read_text()


def test_the_dictionary_predicts_the_lexicons_identifiers(lexicon, run_recipe, tmp_path):
    folder, _ = run_recipe("--network", "dictionary", "--lexicon", lexicon)
    text = "Breast cancer, or non-Hodgkin lymphoma"
    (tmp_path / "new.json").write_text(json.dumps([{"id": "0", "sentence": text}]))
    command = ["predict", "--run", str(folder), "--output", str(tmp_path / "p.jsonl")]
    assert pipelines([*command, "--input", str(tmp_path / "new.json")]) == 0
    mentions = json.loads((tmp_path / "p.jsonl").read_text())["mentions"]
    assert [mention["id"] for mention in mentions] == ["D001943", "D008228"]


@pytest.mark.slow
def test_a_dictionary_votes_with_other_taggers(lexicon, run_recipe, corpus, tmp_path):
    voters = [("dictionary", "--lexicon", lexicon), ("dictionary",), ("most_frequent_tag",)]
    answers = []
    for number, options in enumerate(voters):
        folder, _ = run_recipe("--network", *options, folder=tmp_path / str(number))
        answers.append(str(folder / "predictions" / "test.jsonl"))
    joint = tmp_path / "joint.jsonl"
    assert pipelines(["vote", *answers, "--out", str(joint)]) == 0
    said = [
        Counter(
            (prediction.id, span.start, span.end)
            for prediction in read_predictions(file)
            for span in prediction.spans
        )
        for file in answers
    ]
    agreed = {mention for mention, voters in sum(said, Counter()).items() if voters >= 2}
    kept = {(p.id, span.start, span.end) for p in read_predictions(joint) for span in p.spans}
    assert kept <= agreed


def test_a_report_says_which_features_mattered(run_recipe):
    folder, printed = run_recipe("--network", "crf")
    features = json.loads((folder / "report.json").read_text())["features"]
    assert list(features) == ["O", "B-Disease", "I-Disease"]
    name, weight = features["B-Disease"][0]
    assert f"B-Disease  {name} {weight:.2f}, " in printed
    assert name in (folder / "report.html").read_text()


@pytest.mark.slow
def test_a_search_of_a_crf(run_recipe):
    search = ("--search", "c1=0.01:1", "--search_trials", 2)
    folder, _ = run_recipe("--network", "crf", "--max_iterations", 5, *search)
    best = json.loads((folder / "search.json").read_text())["best"]
    assert 0.01 <= best["c1"] <= 1
    assert float(yaml.safe_load((folder / "config.yaml").read_text())["c1"]) == best["c1"]


@pytest.mark.slow
def test_training_goes_on_from_a_checkpoint(run_recipe):
    folder, _ = run_recipe("--network", "window", *FAST)
    with pytest.raises(UserError, match="holds a trained run"):
        run_recipe("--network", "window", *FAST)
    whole = (folder / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "model")
    again, _ = run_recipe(
        "--network", "window", *FAST, "--resume_from_checkpoint", "true", folder=folder
    )
    assert (again / "model" / "model.safetensors").read_bytes() == whole
    shutil.rmtree(folder / "model")
    with pytest.raises(UserError, match="no such folder"):
        run_recipe(
            "--network", "window", *FAST, "--resume_from_checkpoint", "nowhere", folder=folder
        )


@pytest.mark.slow
def test_a_search_trains_the_best_options_into_the_run(run_recipe):
    folder, printed = run_recipe(
        "--network",
        "ffnn",
        *FAST,
        "--search",
        "learning_rate=1e-5,3e-2",
        "min_freq=1,2",
        "--search_sampler",
        "grid",
    )
    found = json.loads((folder / "search.json").read_text())
    assert len(found["trials"]) == 4
    assert "4 trials; importance" in printed
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert float(written["learning_rate"]) == found["best"]["learning_rate"]
    assert written["min_freq"] == found["best"]["min_freq"]
    assert (folder / "model" / "tagger.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "files", "message"),
    [
        (
            ["--network", "transformer"],
            ("train", "dev"),
            "wanted one of dictionary, most_frequent_tag, hmm",
        ),
        (["--character_feature", "bpe"], ("train", "dev"), "wanted one of none, affixes, cnn"),
        (
            ["--network", "rnn", "--activation", "prelu", "--library_cell", "true"],
            ("train", "dev"),
            "PReLU",
        ),
        (
            ["--library_cell", "true", "--variational_dropout", "true"],
            ("train", "dev"),
            "library_cell false",
        ),
        (["--min_freq", "1000"], ("train", "dev"), "min_freq 1000 .* leave none"),
        (["--embeddings", "glove.txt"], ("train", "dev"), "wanted random, a text file"),
        (["--network", "rnn"], ("dev",), "without --train_file"),
        (["--search", "hidden_size=1,2"], ("train",), "give --dev_file"),
        (["--search", "hiden_size=1,2"], ("train", "dev"), "no option 'hiden_size'"),
        (["--search", "network=rnn,gru"], ("train", "dev"), "one run for each network"),
        (["--network", "window", "--window", "0"], ("train", "dev"), "wanted 1 or more words"),
        (["--window", "-1"], ("train", "dev"), "wanted 0 or more words"),
        (["--network", "ffnn", "--window", "1"], ("train", "dev"), "ffnn does not read --window;"),
        (
            ["--network", "window", "--bidirectional", "true", "--c1", "1"],
            ("train", "dev"),
            "window does not read --bidirectional, --c1; leave it out",
        ),
        (
            ["--network", "crf", "--learning_rate", "0.1", "--dropout", "0.1"],
            ("train", "dev"),
            "crf does not read --dropout, --learning_rate;",
        ),
        (["--network", "hmm", "--search", "c1=0,1"], ("train", "dev"), "hmm does not read --c1"),
        (["--network", "crf", "--features", "word"], ("train", "dev"), "wanted some of words, sh"),
        (["--lexicon", "names.tsv"], ("train", "dev"), "--lexicon names.tsv: no such file"),
    ],
)
def test_bad_options_end_in_one_line(arguments, files, message, run_recipe):
    with pytest.raises(UserError, match=message) as raised:
        run_recipe(*arguments, files=files)
    assert "\n" not in str(raised.value)


def test_a_type_that_training_lacks_is_reported(run_recipe, corpus, tmp_path):
    drugs = tmp_path / "drugs.json"
    drugs.write_text(json.dumps({"text": [["Aspirin", "helps"]], "NER": [["B-Drug", "O"]]}))
    with pytest.raises(UserError, match=r"dev: the type 'Drug' \(1 mentions, first in example 0\)"):
        run_recipe("--dev_file", drugs, files=("train",))


def test_a_checkpoint_of_another_architecture_is_reported(run_recipe, corpus, capsys):
    folder, _ = run_recipe("--network", "ffnn", *FAST)
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(
        json.dumps(
            config
            | {
                "model_type": "recurrent_tagger",
                "architectures": ["RecurrentTagger"],
                "hidden_size": 8,
            }
        )
    )
    with pytest.raises(SystemExit):
        pipelines(
            ["predict", "--run", str(folder), "--input", str(corpus["test"]), "--output", "x"]
        )
    line = one_error(capsys.readouterr().err)
    assert "the weights lack layers.0.0.U.weight" in line
    assert "train it again" in line
