"""A healthy run shows no warning of a library, and asks the Hub nothing where the weights are local."""

import os
import re

import pytest
from conftest import ROOT, run_python

NOISE = re.compile(
    r"[A-Z]\w*Warning\b|WARNING|(?i:deprecat|failed to|retrying|HEAD http|timed out|kernels)"
    r"|\[transformers\]|Loading weights|model shards"
)


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["sft_tinyllama", "finetune_token_tagger", "train_tagger"])
def test_a_healthy_run_shows_no_warning_of_a_library(
    recipe, tiny_llama, tiny_bert, corpus, tmp_path
):
    # With label smoothing and the Hub allowed, as a shipped config has it.
    arguments = {
        "sft_tinyllama": [
            "--config",
            ROOT / "recipes" / "configs" / "sft_smoke.yaml",
            "--max_steps",
            1,
            "--label_smoothing_factor",
            0.1,
            "--model_name_or_path",
            tiny_llama,
        ],
        "finetune_token_tagger": [
            "--max_steps",
            1,
            "--label_smoothing_factor",
            0.1,
            "--model_name_or_path",
            tiny_bert,
        ],
        "train_tagger": ["--hidden_size", 8, "--embedding_dim", 4, "--max_steps", 1],
    }[recipe]
    files = [
        part for split in ("train", "dev", "test") for part in (f"--{split}_file", corpus[split])
    ]
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    done = run_python(
        ROOT / "recipes" / f"{recipe}.py",
        *arguments,
        *files,
        "--run_dir",
        tmp_path / "run",
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    noise = [line for line in (done.stdout + done.stderr).splitlines() if NOISE.search(line)]
    assert not noise
