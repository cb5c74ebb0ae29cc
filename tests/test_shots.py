"""Examples before a text: which are found, in which order, and a model folder without weights."""

import json

import numpy as np
import pytest
from conftest import load_recipe
from recipe_cases import CONFIGS, call, one_error

from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import causal_lm
from pipelines.families.causal_lm import Prompt, load_tokenizer, shots
from pipelines.families.causal_lm.shots import load_shots, save_shots, shots_of
from pipelines.runs import options

PROMPT = Prompt("class", ("a", "b"), "plain", shots=2)
POOL = [
    Example("0", "red cars drive fast", label="a"),
    Example("1", "green apples taste sour", label="b"),
    Example("2", "red apples taste sweet", label="b", pair="as wine"),
]


def test_the_most_similar_example_stands_last():
    [own] = shots_of(POOL, PROMPT, "tfidf").nearest([Example("q", "red apples taste sour")], 2)
    assert [shot.text for shot in own] == [POOL[2].text, POOL[1].text]
    assert [shot.answer for shot in own] == ["b", "b"]
    assert own[0].pair == "as wine"


def test_equally_similar_examples_keep_the_order_of_the_file():
    [own] = shots_of(POOL, PROMPT, "tfidf").nearest([Example("q", "unknown words")], 3)
    assert [shot.text for shot in own] == [example.text for example in reversed(POOL)]


def test_texts_are_compared_by_the_cosine_of_their_vectors(monkeypatch):
    def by_length(name):
        assert name == "local:minilm"
        return lambda texts: np.array([[1.0, 1.0 / len(text)] for text in texts])

    monkeypatch.setattr(shots, "sentence_vectors", by_length)
    [own] = shots_of(POOL, PROMPT, "minilm").nearest([Example("q", "x" * 4)], 1)
    assert own[0].text == POOL[0].text


def test_shots_of_mentions_are_written_in_the_format_of_the_prompt():
    example = Example("0", "Flu and gout.", spans=(Span(0, 3, "Disease"), Span(8, 12, "Disease")))
    found = shots_of([example], Prompt("list", ("Disease",), "plain"), "tfidf")
    assert found.shots[0].answer == "Flu; gout"


@pytest.mark.parametrize(
    "example",
    [
        Example("0", "Flu.", spans=(Span(0, 3, "Disease"),)),
        Example("1", "x", label=("a", "b"), pair="y\n"),
        Example("2", "z", label="a"),
    ],
)
def test_what_is_saved_is_loaded(example, tmp_path):
    prompt = PROMPT if example.label else Prompt("list", ("Disease",), "plain")
    saved = shots_of([example], prompt, "tfidf")
    save_shots(saved, tmp_path)
    assert load_shots(tmp_path, prompt, "tfidf") == saved


def test_a_damaged_file_is_one_error(tmp_path):
    (tmp_path / "shots.jsonl").write_text('{"id": "0"\n')
    with pytest.raises(UserError, match="make the run again"):
        load_shots(tmp_path, PROMPT, "tfidf")


def test_a_model_folder_without_weights_loads_its_base(tiny_llama, tmp_path):
    tokenizer = load_tokenizer(str(tiny_llama))
    causal_lm.save(
        tmp_path,
        model=None,
        tokenizer=tokenizer,
        prompt=PROMPT,
        base_model=str(tiny_llama),
        shots=shots_of(POOL, PROMPT, "tfidf"),
    )
    assert not list(tmp_path.glob("*.safetensors"))
    loaded = causal_lm.load(tmp_path)
    assert loaded.prompt == PROMPT
    assert loaded.shots.pool == POOL
    [answer] = causal_lm.predict(loaded, [Example("q", "red apples")], progress=False)
    [without] = causal_lm.predict(loaded._replace(shots=None), [Example("q", "red apples")])
    assert answer.scores != without.scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shots", 2], "--shots 2 without --max_steps 0"),
        (["--max_steps", 0, "--shots", -1], "--shots -1; wanted 0 or more"),
        (["--max_steps", 0, "--shots_by", "bm25"], "wanted one of tfidf, minilm"),
        (["--prompt_format", "json"], "--prompt_format, which is of mentions"),
        (["--constrained", "false"], "answers are always among the classes"),
        (["--metric_for_best_model", "strict_f1"], "wanted one of macro_f1"),
        (["--answer", "value"], "this recipe learns spans or label"),
    ],
)
def test_options_that_do_not_fit_classes_are_refused(arguments, message, tmp_path, capsys):
    train = tmp_path / "train.csv"
    train.write_text("text,label\n" + "good,pos\nbad,neg\n" * 9)
    config = ["--config", CONFIGS / "sft_smoke.yaml", "--train_file", train]
    assert call("sft_tinyllama", *config, *arguments) == 2
    assert message in one_error(capsys.readouterr().err)


def test_no_steps_are_refused_where_a_model_must_be_trained():
    recipe = load_recipe("finetune_classifier")
    classes_of_recipe = (recipe.RecipeArguments, recipe.TrainingArguments)
    with pytest.raises(UserError, match="--max_steps 0, which trains nothing"):
        options.parse(classes_of_recipe, arguments=["--max_steps", "0"])


def test_mentions_without_training(tiny_llama, corpus, tmp_path):
    run = tmp_path / "run"
    arguments = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    arguments += ["--train_file", corpus["train"], "--dev_file", corpus["dev"]]
    assert call("sft_tinyllama", *arguments, "--shots", 1, "--max_steps", 0, "--run_dir", run) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["task"] == "span_extraction"
    assert causal_lm.load(run / "model").prompt.shots == 1


@pytest.mark.slow
def test_a_search_tries_options_of_the_adapter_too(tiny_llama, tmp_path):
    run, train = tmp_path / "run", tmp_path / "train.csv"
    train.write_text("text,label\n" + "".join(f"good {n},pos\nbad {n},neg\n" for n in range(9)))
    config = ["--config", CONFIGS / "sft_smoke.yaml", "--model_name_or_path", tiny_llama]
    search = ["--search", "lora_r=2,3", "max_steps=2", "--search_sampler", "grid"]
    arguments = [*config, "--train_file", train, *search, "--run_dir", run]
    assert call("sft_tinyllama", *arguments) == 0
    found = json.loads((run / "search.json").read_text())
    assert {trial["options"]["lora_r"] for trial in found["trials"]} == {2, 3}
    adapter = json.loads((run / "model" / "adapter_config.json").read_text())
    assert adapter["r"] == found["best"]["lora_r"]
    assert f"lora_r: {adapter['r']}" in (run / "config.yaml").read_text()
