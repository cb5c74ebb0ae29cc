"""The recipe for language models, its commands, and that it learns a source of known entropy."""

import json
import math
import shutil
from functools import partial

import pytest
import recipe_cases
from conftest import ROOT, run_python

from pipelines import cli
from pipelines.examples import Example
from pipelines.families import language_model
from pipelines.runs.run import Run

RECIPE = ROOT / "recipes" / "train_language_model.py"
WORDS = [("the", "a", "this"), ("patient", "gene", "drug"), ("was", "is"), ("lost", "found", "new")]
SMALL = [
    "--hidden_size",
    8,
    "--embedding_dim",
    8,
    "--num_train_epochs",
    2,
    "--disable_tqdm",
    "true",
]


train_recipe = partial(recipe_cases.call, "train_language_model")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Split -> a file of sentences, some of whose words only one split has."""
    folder = tmp_path_factory.mktemp("texts")
    sentences = [
        f"{a} {b} {c} {d} ." for a in WORDS[0] for b in WORDS[1] for c in WORDS[2] for d in WORDS[3]
    ]
    files = {}
    for split, part in (("train", slice(0, 40)), ("dev", slice(40, 47)), ("test", slice(47, 54))):
        rows = [*sentences[part], f"{split}word ends it ."]
        files[split] = folder / f"{split}.jsonl"
        lines = [json.dumps({"id": f"{split}-{n}", "text": row}) for n, row in enumerate(rows)]
        files[split].write_text("\n".join(lines) + "\n")
    return files


def files_of(texts):
    return [part for split, file in texts.items() for part in (f"--{split}_file", file)]


@pytest.fixture(scope="module")
def runs(texts, tmp_path_factory):
    """Network -> the folder of its finished run."""
    folders = {}
    for network in ("lstm", "kneser_ney"):
        folders[network] = tmp_path_factory.mktemp("runs") / network
        options = SMALL if network == "lstm" else []
        arguments = ["--network", network, *options, *files_of(texts)]
        assert train_recipe(*arguments, "--run_dir", folders[network]) == 0
    return folders


@pytest.mark.parametrize("network", ["lstm", "kneser_ney"])
def test_a_row_a_text_whose_nats_add_up_to_the_report(runs, network):
    run = Run.open(runs[network])
    rows = [json.loads(line) for line in run.predictions("test").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"test-{n}" for n in range(8)]
    nats = sum(row["value"] for row in rows)
    tokens = sum(row["scores"]["tokens"] for row in rows)
    report = run.report()
    assert tokens == 5 * 7 + 4 + 8
    assert report["perplexity"] == pytest.approx(math.exp(nats / tokens))
    assert report["perplexity_per_word"] == pytest.approx(math.exp(nats / (tokens - 8)))
    assert [row["scores"]["unknown"] for row in rows] == [0] * 7 + [3]


def test_the_baseline_of_a_run_is_the_run_of_the_trigrams(runs):
    baseline = Run.open(runs["lstm"]).report()["baselines"]["kneser_ney"]
    of_run = Run.open(runs["kneser_ney"]).report()
    assert of_run["warnings"] == []  # it is its own baseline
    for key in ("perplexity", "perplexity_per_word"):
        assert baseline[key] == pytest.approx(of_run[key])


def test_evaluate_adds_the_trigrams_of_the_training_texts(runs, texts, capsys):
    predictions = Run.open(runs["lstm"]).predictions("test")
    command = ["evaluate", "--gold", texts["test"], "--predictions", predictions]
    assert cli.main([*map(str, command), "--train", str(texts["train"])]) == 0
    out = capsys.readouterr().out
    assert "perplexity of kneser ney, baseline" in out
    expected = Run.open(runs["kneser_ney"]).report()["perplexity"]
    assert f"{expected:.4g}" in out


def test_the_table_of_parameters_is_logged_and_counted(runs, texts, tmp_path, capsys):
    arguments = ["--network", "sigmoid", "--tie_embeddings", "false", *SMALL, *files_of(texts)]
    assert train_recipe(*arguments, "--run_dir", tmp_path / "run") == 0
    out = capsys.readouterr().out
    known = len(language_model.load(tmp_path / "run" / "model").tokenizer)
    total = known * 8 + 8 * 8 + 8**2 + 8 * known + 8 + known
    assert [
        line.split()[-1] for line in out.splitlines() if line.startswith(("sum", "in the"))
    ] == [
        f"{total}",
        f"{total}",
    ]


def test_a_finished_run_writes(runs, texts, capsys):
    arguments = ["--network", "lstm", *SMALL, *files_of(texts), "--run_dir", runs["lstm"]]
    resumed = [*arguments, "--resume_from_checkpoint", "true", "--sample", "the patient"]
    assert train_recipe(*resumed, "--temperature", 0.5, "--top_p", 0.9) == 0
    assert "\nthe patient" in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_that_is_cut_off_within_an_epoch_ends_as_if_it_were_not(texts, tmp_path):
    arguments = [*SMALL, *files_of(texts), "--per_device_train_batch_size", 2, "--bptt", 5]
    for name in ("save", "eval"):
        arguments += [f"--{name}_strategy", "steps", f"--{name}_steps", 7]
    arguments += ["--early_stopping_patience", 99, "--save_total_limit", 99]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train_recipe(*arguments, "--run_dir", whole) == 0
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "model")
    for checkpoint in (cut / "checkpoints").iterdir():
        if checkpoint.name != "checkpoint-7":
            shutil.rmtree(checkpoint)
    assert (cut / "checkpoints" / "checkpoint-7" / "carried_state.safetensors").is_file()
    assert train_recipe(*arguments, "--run_dir", cut, "--resume_from_checkpoint", "true") == 0
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (whole, cut)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "rnn"], "wanted one of kneser_ney, sigmoid, tanh, gru, lstm"),
        (["--network", "kneser_ney", "--hidden_size", 3], "does not read --hidden_size"),
        (["--bptt", 0, "--vocab_size", 0], "--vocab_size 0, --bptt 0"),
        (["--top_p", 0.5], "no effect without --sample"),
        (["--sample", "the", "--top_p", 2], "--top_p 2"),
        (["--sample_submission", "s.csv"], "no submission"),
        (["--dropout", 1.5], "dropout 1.5"),
        (["--dataloader_num_workers", 2], "no effect"),
        (["--split", "letters"], "units, blanks"),
    ],
)
def test_options_without_effect_are_refused(options, message, texts, tmp_path, capsys):
    arguments = [*options, *files_of(texts), "--run_dir", tmp_path / "run"]
    assert train_recipe(*arguments) == 2
    assert message in capsys.readouterr().err


def test_texts_without_a_word_are_refused(tmp_path, capsys):
    file = tmp_path / "empty.jsonl"
    file.write_text('{"id": "0", "text": " "}\n')
    assert train_recipe("--train_file", file, "--run_dir", tmp_path / "run") == 2
    assert str(file) in capsys.readouterr().err


def test_perplexity_of_words_and_sub_words_in_one_table(runs, texts, tiny_llama, tmp_path, capsys):
    out = tmp_path / "nats"
    models = [*runs.values(), tiny_llama]
    command = ["perplexity", *models, "--input", texts["test"], "--predictions", out]
    assert cli.main(list(map(str, command))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[4:7]] == ["lstm", "kneser_ney", "tiny-llama"]
    assert sorted(path.name for path in out.iterdir()) == [
        "kneser_ney.jsonl",
        "lstm.jsonl",
        "tiny-llama.jsonl",
    ]
    own = Run.open(runs["lstm"]).predictions("test")
    assert (out / "lstm.jsonl").read_bytes() == own.read_bytes()


@pytest.mark.parametrize(
    ("models", "message"),
    [(["local:none"], "local:none"), (["a/b", "a/b"], "a/b twice"), (["./nowhere"], "nowhere")],
)
def test_models_that_do_not_exist_are_one_line(models, message, texts, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["perplexity", *models, "--input", str(texts["test"])])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_generator_writes_the_same_bytes_and_its_entropy(tmp_path):
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        options = ["--out", out, "--words", 12, "--successors", 3, "--train", 50]
        done = run_python(ROOT / "data" / "make_markov_text.py", *options)
        assert done.returncode == 0, done.stderr
    for name in ("train.jsonl", "dev.jsonl", "chain.json"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
    facts = json.loads((outs[0] / "chain.json").read_text())
    # 2,000 texts of some 13 tokens each: the chain's own perplexity on them is near its entropy.
    assert facts["perplexity_of_the_chain_on"]["test"] == pytest.approx(
        facts["perplexity"], rel=0.03
    )
    assert facts["perplexity"] == pytest.approx(math.exp(facts["entropy_per_token"]))


@pytest.mark.extensive
@pytest.mark.slow
def test_a_source_of_known_entropy_is_learnt_within_two_percent(tmp_path):
    data, folder = tmp_path / "markov", tmp_path / "run"
    assert run_python(ROOT / "data" / "make_markov_text.py", "--out", data).returncode == 0
    config = ROOT / "recipes" / "configs" / "lm_markov.yaml"
    files = [
        part
        for split in ("train", "dev", "test")
        for part in (f"--{split}_file", data / f"{split}.jsonl")
    ]
    done = run_python(RECIPE, "--config", config, *files, "--run_dir", folder)
    assert done.returncode == 0, done.stderr
    best = json.loads((data / "chain.json").read_text())["perplexity"]
    assert Run.open(folder).report()["perplexity"] == pytest.approx(best, rel=0.02)


def test_examples_are_scored_one_by_one(runs):
    loaded = language_model.load(runs["lstm"] / "model")
    together = language_model.predict(loaded, [Example("0", "the gene"), Example("1", "a drug .")])
    [alone] = language_model.predict(loaded, [Example("1", "a drug .")])
    assert alone.value == pytest.approx(together[1].value, abs=1e-4)
