"""Secrets and the name of the home folder stand in nothing that a run writes."""

import copy
import pickle
from pathlib import Path

import pytest
from conftest import load_recipe

from pipelines.errors import UserError, one_line_errors
from pipelines.runs import options as config
from pipelines.runs.secrets import expanded, without_secrets

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWx"


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/users/ann")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql://ann:s3cret@db/heads", "postgresql://ann:***@db/heads"),
        (
            "postgresql+psycopg2://ann:p@ss/w:rd@db:5432/heads",
            "postgresql+psycopg2://ann:***@db:5432/heads",
        ),
        ("postgresql://ann@db/heads", "postgresql://ann@db/heads"),
        (
            "postgresql://db/heads?user=ann&password=s3cret&x=1",
            "postgresql://db/heads?user=ann&password=***&x=1",
        ),
        ("https://hub.example/a:b", "https://hub.example/a:b"),
        (f"401 for the token {TOKEN}.", "401 for the token hf_***."),
        ("/users/ann/data/train.json", "~/data/train.json"),
        (Path("/users/ann"), "~"),
        ("/users/anna/train.json", "/users/anna/train.json"),
        ("/disk/users/ann/train.json", "/disk/users/ann/train.json"),
        ("--train_file=/users/ann/a.json", "--train_file=~/a.json"),
        ("sqlite:////users/ann/heads.db", "sqlite:///~/heads.db"),
        ("a word: /users/ann/a.json, and another", "a word: ~/a.json, and another"),
        (7, 7),
        (None, None),
    ],
)
def test_what_is_written_of_a_value(written, shown):
    assert without_secrets(written) == shown


def test_secret_options_are_left_out_and_tokens_of_a_vocabulary_are_not():
    options = {
        "hub_token": "x",
        "wandb_api_key": "x",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "batch_tokens": 512,
        "nested": {"token": "x", "/users/ann/my_token": ["/users/ann/a"]},
    }
    assert without_secrets(options) == {
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "batch_tokens": 512,
        "nested": {"~/my_token": ["~/a"]},
    }


def test_a_command_line_keeps_its_words_but_for_the_secrets():
    command = ["train", "--hub_token", "x", "--hub-token=x", "--eos_token", "</s>", "--seed", "1"]
    assert without_secrets(command) == [
        "train",
        "--hub_token",
        "***",
        "--hub-token=***",
        "--eos_token",
        "</s>",
        "--seed",
        "1",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/users/ann/a.json",
        "sqlite:////users/ann/heads.db",
        "data/a.json",
        "sqlite:///heads.db",
        "org/model~x",
    ],
)
def test_a_portable_path_is_read_back(path):
    assert expanded(without_secrets(path)) == path


def test_an_error_shows_no_password(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise UserError("--study postgresql://ann:s3cret@db/heads: no answer")
    assert "postgresql://ann:***@db" in capsys.readouterr().err


def test_the_options_that_a_trainer_pickles_hold_no_secret():
    [_, training] = config.parse(
        [
            load_recipe("train_tagger").RecipeArguments,
            load_recipe("train_tagger").TaggerTrainingArguments,
        ],
        arguments=["--push_to_hub", "true", "--hub_token", TOKEN, "--output_dir", "/users/ann/run"],
    )
    assert copy.copy(training).hub_token == TOKEN
    pickled = pickle.loads(pickle.dumps(training))
    assert pickled.hub_token is None
    assert pickled.output_dir == "~/run"
    assert pickled.optim == training.optim
