"""The run folder: not overwritten, options that can be read back, and figures of cost that are true."""

import hashlib
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from pipelines.errors import UserError
from pipelines.runs import options as config
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run


def test_a_new_run_makes_its_folder(tmp_path):
    assert Run(tmp_path / "a" / "b").start().folder.is_dir()


@pytest.mark.parametrize("what", ["report.json", "model/prompt.json"])
def test_a_finished_run_is_not_overwritten(what, tmp_path):
    (tmp_path / what).parent.mkdir(exist_ok=True)
    (tmp_path / what).write_text("{}")
    with pytest.raises(UserError, match="holds a trained run; give another --run_dir"):
        Run(tmp_path).start()
    Run(tmp_path).start(resume=True)


def test_a_run_needs_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; give a folder"):
        Run(tmp_path / "file").start()


def test_the_written_options_give_the_same_run_again(recipe, tmp_path):
    groups = (recipe.RecipeArguments, recipe.TrainingArguments, recipe.ModelConfig)
    first = config.parse(groups, arguments=[
        "--learning_rate", "0.003", "--prompt_format", "json", "--lora_target_modules", "q_proj", "v_proj",
        "--train_file", "å b.json", "--constrained", "false", "--output_dir", str(tmp_path / "checkpoints")])
    Run(tmp_path).write_config(*first)
    second = config.parse(groups, arguments=["--config", str(tmp_path / "config.yaml")])
    assert second[0] == first[0]
    for one, other in zip(first, second, strict=True):
        Run(tmp_path / "first").write_config(one)
        Run(tmp_path / "second").write_config(other)
        assert (tmp_path / "first/config.yaml").read_text() == (tmp_path / "second/config.yaml").read_text()
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (written["learning_rate"], written["lora_target_modules"]) == (0.003, ["q_proj", "v_proj"])


def test_secrets_are_not_written(recipe, tmp_path):
    training, = config.parse((recipe.TrainingArguments,), arguments=["--hub_token", "hf_secret"])
    assert training.hub_token == "hf_secret"
    Run(tmp_path).write_config(training)
    assert "hf_secret" not in (tmp_path / "config.yaml").read_text()
    # Nor a stand-in, which would be taken for the secret.
    again, = config.parse((recipe.TrainingArguments,), arguments=["--config", str(tmp_path / "config.yaml")])
    assert again.hub_token is None


def test_tokens_that_are_no_secrets_are_written(recipe, tmp_path):
    training, = config.parse((recipe.TrainingArguments,), arguments=["--eos_token", "</s>", "--pad_token", "<unk>"])
    Run(tmp_path).write_config(training)
    again, = config.parse((recipe.TrainingArguments,), arguments=["--config", str(tmp_path / "config.yaml")])
    assert (again.eos_token, again.pad_token) == ("</s>", "<unk>")


def test_provenance_tells_data_versions_and_machine(tmp_path):
    (tmp_path / "train.json").write_bytes(b"[]")
    facts = provenance([tmp_path / "train.json", tmp_path / "absent.json"], model="local:smollm2")
    assert facts["data"] == {str(tmp_path / "train.json"): hashlib.sha256(b"[]").hexdigest()}
    assert facts["libraries"]["torch"] == metadata.version("torch")
    assert facts["model"] == "local:smollm2"
    assert facts["hardware"]["cores"] >= 1
    assert facts["command"][0] == Path(sys.argv[0]).name


def test_a_stage_is_summed_up_even_when_it_fails(monkeypatch):
    clock = iter([0, 100, 200, 201, 203, 207])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = CostMeter()
    with pytest.raises(ValueError, match="halfway"), meter.stage("training"):
        raise ValueError("halfway")
    with meter.stage("training"), meter.stage("prediction"):
        pass
    assert meter.to_json()["seconds"] == {"training": 107, "prediction": 2}


def test_peak_memory_is_in_bytes():
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("no /proc to compare with on this system")
    kilobytes = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    assert CostMeter().to_json()["peak_memory"] == pytest.approx(kilobytes * 1024, rel=0.05)
