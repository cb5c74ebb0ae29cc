"""Options: defaults, then YAML, then the command line; unknown ones are refused; the shipped files are valid."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, load_recipe

from pipelines.errors import UserError
from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments

CONFIGS = sorted((ROOT / "recipes" / "configs").glob("*.yaml"))
ACCELERATE = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))
# Config file -> its recipe and the dataclasses that the recipe parses it into.
# The first prefix that a file's name begins with counts.
RECIPES = {
    "sft_": ("sft_tinyllama", ("RecipeArguments", "TrainingArguments", "ModelArguments")),
    "tagger_bert": ("finetune_token_tagger", ("RecipeArguments", "TrainingArguments")),
    "tagger_minilm": ("finetune_token_tagger", ("RecipeArguments", "TrainingArguments")),
    "text_": ("train_text_classifier", ("RecipeArguments", "TextTrainingArguments")),
    "tagger_": ("train_tagger", ("RecipeArguments", "TaggerTrainingArguments")),
    "classifier_": ("finetune_classifier", ("RecipeArguments", "TrainingArguments")),
    "distil_": ("distil_tagger", ("RecipeArguments", "TrainingArguments")),
    "pretrain_smollm2": (
        "pretrain_lm",
        ("RecipeArguments", "TrainingArguments", "ModelArguments"),
    ),
    "pretrain_": ("pretrain_encoder", ("RecipeArguments", "TrainingArguments")),
    "sequence_": (
        "train_sequence_regressor",
        ("RecipeArguments", "RegressorTrainingArguments"),
    ),
    "image_": ("train_image_classifier", ("RecipeArguments", "ImageTrainingArguments")),
    "lm_": ("train_language_model", ("RecipeArguments", "LanguageTrainingArguments")),
    "head_": ("grid_search_head", ("RecipeArguments",)),
}


@dataclass
class Options:
    rate: float = field(default=0.1, metadata={"help": "learning rate"})
    batch_tokens: int = field(default=1, metadata={"help": "tokens"})
    fast: bool = field(default=True, metadata={"help": "fast or not"})
    names: list[str] | None = field(default=None, metadata={"help": "names"})


def parsed(*arguments: str, groups=(Options,), **keywords):
    return config.parse(groups, arguments=arguments, **keywords)[0]


@pytest.fixture
def yaml_file(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "options.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def test_yaml_over_defaults_and_command_line_over_yaml(yaml_file):
    path = yaml_file("rate: 0.2\nbatch_tokens: 2\n")
    assert parsed() == Options()
    assert parsed("--config", path) == Options(rate=0.2, batch_tokens=2)
    assert parsed("--rate", "0.3", "--config", path) == Options(rate=0.3, batch_tokens=2)
    assert parsed("--config", path, "--rate=0.3") == Options(rate=0.3, batch_tokens=2)


def test_a_number_with_an_exponent_is_a_number(yaml_file):
    # YAML 1.1 reads 1e-3 as a string.
    assert parsed("--config", yaml_file("rate: 1e-3\n")).rate == 0.001


@pytest.mark.parametrize("arguments", [["--fast", "false"], ["--no_fast"], ["--fast=false"]])
def test_a_switch_can_be_turned_off(arguments):
    assert parsed(*arguments).fast is False


def test_a_list(yaml_file):
    assert parsed("--names", "a", "b").names == ["a", "b"]
    assert parsed("--config", yaml_file("names: [a, b]\n")).names == ["a", "b"]


def test_default_config_yields_to_a_given_one(yaml_file, tmp_path):
    (tmp_path / "default.yaml").write_text("rate: 7\n")
    path = yaml_file("batch_tokens: 2\n")
    assert parsed(default_config=tmp_path / "default.yaml") == Options(rate=7)
    assert parsed("--batch_tokens", "3", default_config=tmp_path / "default.yaml") == Options(
        rate=7, batch_tokens=3
    )
    assert parsed("--config", path, default_config=tmp_path / "default.yaml") == Options(
        batch_tokens=2
    )


def test_config_with_an_equals_sign(yaml_file):
    assert parsed("--config=" + yaml_file("rate: 0.2\n")).rate == 0.2


def test_unknown_yaml_keys_are_named_all_at_once_with_the_nearest(yaml_file):
    with pytest.raises(UserError) as raised:
        parsed("--config", yaml_file("batch_token: 2\nrate: 1\nqqqqqqqq: 3\n"))
    message = str(raised.value)
    assert "'batch_token'; did you mean batch_tokens?" in message
    assert "'qqqqqqqq'" in message
    assert "'rate'" not in message
    assert "\n" not in message


@pytest.mark.parametrize("option", ["--batch_token", "--batch_token=2", "--batch-token"])
def test_an_unknown_option_is_named_with_the_nearest(option):
    with pytest.raises(UserError, match=r"--batch[_-]token;.*did you mean --batch_tokens"):
        parsed(option, "2")


def test_an_argument_without_an_option_is_refused():
    with pytest.raises(UserError, match=r"train\.json"):
        parsed("train.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rate: [1\n", "not YAML"),
        (b"rate: \xff\n", "not YAML"),
        ("- rate\n", "got a list; wanted lines of"),
        ("rate\n", "got a str; wanted lines of"),
    ],
)
def test_a_config_that_is_none(content, message, yaml_file):
    with pytest.raises(UserError, match=message) as raised:
        parsed("--config", yaml_file(content))
    assert "\n" not in str(raised.value)


def test_a_missing_config(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            parsed("--config", str(path))
    with pytest.raises(UserError, match="no such file"):
        parsed("--config")


def test_the_shipped_configs_are_all_tested():
    assert len(CONFIGS) >= 4
    assert all(path.name.startswith(tuple(RECIPES)) for path in CONFIGS)
    assert len(ACCELERATE) == 4


def prefix_of(path):
    return next(prefix for prefix in RECIPES if path.name.startswith(prefix))


def parse_shipped(path, arguments):
    recipe, names = RECIPES[prefix_of(path)]
    groups = config.parse(
        [getattr(load_recipe(recipe), name) for name in names], arguments=arguments
    )
    # Options of the libraries may come back as members of an enumeration.
    return {
        name: getattr(value, "value", value)
        for group in groups
        for name, value in vars(group).items()
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_fits_its_recipe(path):
    options = parse_shipped(path, ["--config", str(path)])
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {key: options[key] for key in written} == written


def test_a_shipped_config_holds_only_departures_from_the_defaults():
    defaults = {prefix: parse_shipped(Path(f"{prefix}defaults"), []) for prefix in RECIPES}
    repeated = {
        path.name: [
            key
            for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items()
            if defaults[prefix_of(path)][key] == value
        ]
        for path in CONFIGS
    }
    assert not any(repeated.values()), repeated


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.name)
def test_a_shipped_launch_file_is_one_of_accelerate(path):
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == 2
    assert loaded.distributed_type.value in {"MULTI_CPU", "MULTI_GPU", "FSDP", "DEEPSPEED"}


def test_the_sample_corpus_is_named_where_no_file_is_given():
    options = DataArguments()
    files = config.given_files(options, ROOT)
    assert list(files) == ["train", "dev", "test"]
    assert all(Path(file).is_file() for file in files.values())
    assert options.dev_file == files["dev"]
    assert config.given_files(DataArguments(train_file="a.json"), ROOT) == {"train": "a.json"}
    with pytest.raises(UserError, match="without --train_file"):
        config.given_files(DataArguments(test_file="a.json"), ROOT)


def test_a_config_sets_no_environment_variables(yaml_file, monkeypatch):
    monkeypatch.delenv("SET_BY_A_CONFIG", raising=False)
    with pytest.raises(UserError, match="got `env`; options set no environment variables"):
        parsed("--config", yaml_file("rate: 0.2\nenv:\n  SET_BY_A_CONFIG: '1'\n"))
    assert "SET_BY_A_CONFIG" not in os.environ


def test_a_path_below_the_home_folder_is_expanded(yaml_file, monkeypatch):
    monkeypatch.setenv("HOME", "/users/ann")
    options = parsed("--config", yaml_file("train_file: ~/a.json\n"), groups=(DataArguments,))
    assert options.train_file == "/users/ann/a.json"


TAGGING = ("RecipeArguments", "TrainingArguments")
DATA = ["--train_file", "a.json", "--dev_file", "b.json"]


@pytest.mark.parametrize(
    ("recipe", "names", "arguments", "message"),
    [
        (
            "finetune_token_tagger",
            TAGGING,
            [*DATA, "--ema_decay", "1", "--layer_decay", "0", "--label_smoothing_factor", "nan"],
            "got --ema_decay 1; wanted a number from 0 to below 1, --layer_decay 0; wanted a "
            "number above 0, at most 1, --label_smoothing_factor nan; wanted a number from 0",
        ),
        (
            "finetune_classifier",
            TAGGING,
            [*DATA, "--head_rate", "0", "--focal_gamma", "-1", "--lora_r", "0"],
            "got --head_rate 0; wanted a number above 0, --focal_gamma -1; wanted a number from 0 "
            "on, --lora_r 0; wanted 1 or more",
        ),
        (
            "train_language_model",
            ("RecipeArguments", "LanguageTrainingArguments"),
            [*DATA, "--ema_decay", "2"],
            "got --ema_decay 2; wanted",
        ),
    ],
)
def test_a_number_that_means_nothing_is_refused(recipe, names, arguments, message):
    groups = [getattr(load_recipe(recipe), name) for name in names]
    with pytest.raises(UserError, match=re.escape(message)):
        config.parse(groups, arguments=arguments)


@pytest.mark.parametrize(
    ("recipe", "names", "arguments", "message"),
    [
        (
            "finetune_token_tagger",
            TAGGING,
            ["--metric_for_best_model", "f1"],
            "got --metric_for_best_model f1; wanted one of strict_f1, strict_precision, strict_recall, loss",
        ),
        (
            "finetune_classifier",
            TAGGING,
            ["--metric_for_best_model", "strict_f1"],
            "wanted one of macro_f1, ",
        ),
        (
            "train_tagger",
            ("RecipeArguments", "TaggerTrainingArguments"),
            ["--metric_for_best_model", "f1"],
            "wanted one of strict_f1",
        ),
        (
            "sft_tinyllama",
            ("RecipeArguments", "TrainingArguments", "ModelArguments"),
            ["--metric_for_best_model", "rouge"],
            "got --metric_for_best_model rouge",
        ),
        (
            "finetune_token_tagger",
            TAGGING,
            ["--train_file", "a.json", "--early_stopping_patience", "2"],
            "without --dev_file",
        ),
        (
            "finetune_token_tagger",
            TAGGING,
            [
                *DATA,
                "--early_stopping_patience",
                "2",
                "--eval_strategy",
                "no",
                "--load_best_model_at_end",
                "false",
            ],
            "with --eval_strategy no",
        ),
        (
            "finetune_token_tagger",
            TAGGING,
            [*DATA, "--early_stopping_patience", "2", "--load_best_model_at_end", "false"],
            "without a best checkpoint",
        ),
        (
            "finetune_token_tagger",
            TAGGING,
            [*DATA, "--early_stopping_patience", "0"],
            "wanted 1 or more",
        ),
    ],
)
def test_what_cannot_choose_a_checkpoint_is_refused(recipe, names, arguments, message):
    groups = [getattr(load_recipe(recipe), name) for name in names]
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        config.parse(groups, arguments=arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--metric_for_best_model", "eval_strict_recall"],
        [*DATA, "--early_stopping_patience", "2"],
        ["--early_stopping_patience", "2"],
    ],
)
def test_what_can_choose_a_checkpoint_is_not(arguments):
    groups = [getattr(load_recipe("finetune_token_tagger"), name) for name in TAGGING]
    config.parse(groups, arguments=arguments)


@pytest.mark.parametrize("patience", [[], ["--early_stopping_patience", "2"]])
def test_eval_strategy_no_needs_no_second_option(patience, yaml_file):
    recipe = load_recipe("finetune_token_tagger")
    groups = [getattr(recipe, name) for name in TAGGING]
    at = yaml_file("early_stopping_patience: 3\nload_best_model_at_end: true\n")
    arguments = ["--config", at, *DATA, "--eval_strategy", "no"]
    options, training = config.parse(groups, arguments=arguments)
    assert training.load_best_model_at_end is False
    assert options.early_stopping_patience is None
    if patience:  # asked for beside it
        with pytest.raises(UserError, match="with --eval_strategy no"):
            config.parse(groups, arguments=[*arguments, *patience])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_accepted_without_dev(path):
    parse_shipped(path, ["--config", str(path), "--train_file", "a.json"])
