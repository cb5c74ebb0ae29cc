"""Recipes in several processes: the losses of one, each prediction once, or one line of refusal.

The processes are forks of one (`processes.py`), over gloo.
"""

import json
import os
import shutil

import pytest
from conftest import ROOT, load_recipe, run_python
from processes import float32_is_faster
from recipe_cases import (  # noqa: F401 - fixtures among them
    PREDICTING,
    RECIPES,
    arguments_of,
    call,
    classes,
    data,
    models,
    one_error,
    pictures,
    sequences,
)

from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.networks import precision

TRAINERS = [
    "sft_tinyllama",
    "finetune_token_tagger",
    "train_tagger",
    "finetune_classifier",
    "train_text_classifier",
    "train_sequence_regressor",
    "train_language_model",
    "pretrain_lm",
]
# Each process draws masks, or norms its own pictures: these run, and their losses differ.
RANDOM = ["train_image_classifier", "pretrain_encoder"]
IN_ONE = [
    "train_tagger hmm",
    "train_text_classifier linear_svm",
    "train_language_model kneser_ney",
    "train_image_classifier linear",
    "grid_search_head",
]
# Without chance: the dropout of a process has masks of its own.
NO_DROPOUT = {
    "sft_tinyllama": ["--lora_dropout", 0],
    "train_sequence_regressor": [],
    "pretrain_encoder": [],
    "pretrain_lm": [],
}
WITH_BATCH_TOKENS = {
    "sft_tinyllama",
    "finetune_token_tagger",
    "train_tagger",
    "finetune_classifier",
    "train_text_classifier",
    "pretrain_encoder",
    "pretrain_lm",
}
README = "as in the README"
BATCH = 4  # rows of a step, of all processes together


def command(name, models, data, folder, processes):
    """Recipe and arguments of a short training with the same rows in each step."""
    options = [
        *arguments_of(name, models, data),
        *NO_DROPOUT.get(name, ["--dropout", 0]),
        *(["--batch_tokens", 0] if name in WITH_BATCH_TOKENS else []),
        *("--per_device_train_batch_size", BATCH // processes),
        *("--logging_strategy", "steps", "--logging_steps", 1),
        *("--max_steps", 3, "--eval_strategy", "no", "--save_strategy", "no"),
        *("--run_dir", folder),
    ]
    return [name.split()[0], [str(option) for option in options]]


def in_processes(count, plan, folder):
    """Of each process the exit code and stderr of each command."""
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan))
    script = ROOT / "tests" / "processes.py"
    done = run_python(script, count, folder / "plan.json", folder, timeout=900)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


def losses(run):
    log = json.loads((run / "trainer_log.json").read_text())
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.fixture
def float32(monkeypatch):
    """Trains in float32, as the forks do: sums of bf16 depend on how rows are batched."""
    monkeypatch.setattr(precision, "_matmul_seconds", float32_is_faster)
    precision.choose.cache_clear()
    yield
    precision.choose.cache_clear()


@pytest.fixture(scope="module")
def still(models, tmp_path_factory):
    """The models, with an encoder whose config has no dropout: `--dropout` may be of a head alone."""
    encoder = shutil.copytree(models["encoder"], tmp_path_factory.mktemp("still") / "bert")
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config))
    return models | {"encoder": str(encoder)}


@pytest.fixture(scope="module")
def two(still, data, tmp_path_factory):
    """Runs of all recipes in two processes: their folder, and what each process said."""
    folder = tmp_path_factory.mktemp("two")
    plan = [command(name, still, data, folder / name, 2) for name in [*TRAINERS, *RANDOM]]
    for name in IN_ONE:
        arguments = [*arguments_of(name, still, data), "--run_dir", folder / name]
        plan.append([name.split()[0], [str(word) for word in arguments]])
    files = [f"--{split}_file={data['spans'][split]}" for split in ("train", "dev", "test")]
    config = ["--config", str(ROOT / "recipes" / "configs" / "sft_tinyllama.yaml")]
    readme = [*config, "--eval_strategy", "no", "--model_name_or_path", str(still["llm"]), *files]
    readme += ["--max_steps", "2", "--run_dir", str(folder / README)]
    plan.append(["sft_tinyllama", readme])
    found = in_processes(2, plan, folder / "out")
    names = [*TRAINERS, *RANDOM, *IN_ONE, README]
    return folder, dict(zip(names, zip(*found, strict=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TRAINERS, *RANDOM])
def test_two_processes_take_the_steps_of_one(name, two, still, data, tmp_path, float32):
    folder, said = two
    assert [code for code, _ in said[name]] == [0, 0], said[name]
    if name in RANDOM:
        return
    recipe, arguments = command(name, still, data, tmp_path / "one", 1)
    assert call(recipe, *arguments) == 0
    one = losses(tmp_path / "one")
    assert len(one) == 3
    assert losses(folder / name) == pytest.approx(one, rel=1e-4, abs=1e-4)
    for split in ("dev", "test") if name in PREDICTING else ():
        files = [
            run / "predictions" / f"{split}.jsonl" for run in (folder / name, tmp_path / "one")
        ]
        ids = [[answer.id for answer in read_predictions(file)] for file in files]
        assert ids[0] == ids[1]
        assert len(set(ids[0])) == len(ids[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_ONE)
def test_what_works_in_one_process_says_so_in_one_line(name, two):
    folder, said = two
    assert [code for code, _ in said[name]] == [2, 2], said[name]
    assert "it works in one" in one_error(said[name][0][1])
    assert not (folder / name).exists()


@pytest.mark.slow
def test_the_shipped_config_needs_one_option_to_leave_dev_out(two):
    folder, said = two
    assert [code for code, _ in said[README]] == [0, 0], said[README]
    log = json.loads((folder / README / "trainer_log.json").read_text())
    assert not any("eval_loss" in entry for entry in log)


@pytest.mark.parametrize("name", ["choose_model", "study_gradient_clipping"])
def test_what_starts_runs_itself_refuses_too(name, monkeypatch):
    recipe = load_recipe(name)
    monkeypatch.setenv("WORLD_SIZE", "2")
    group = recipe.ChoiceArguments if name == "choose_model" else recipe.StudyArguments
    with pytest.raises(UserError, match="in 2 processes; it works in one"):
        recipe.run(group())


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forks")
def test_weights_sharded_by_fsdp2_give_the_same_loss_and_gradients(tmp_path):
    done = run_python(ROOT / "tests" / "sharded_step.py", tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for rank in found:
        assert rank["sharded"] == pytest.approx(rank["whole"], abs=1e-5)
        assert rank["worst_gradient"] < 1e-3
        assert rank["local_rows"] < rank["rows"]
