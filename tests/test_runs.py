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
from pipelines.runs.resuming import make_folder
from pipelines.runs.run import Run, config_of, replacing_folder


def test_a_new_run_makes_its_folder(tmp_path):
    make_folder(Run(tmp_path / "a" / "b"), resume=False)
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("report.json", "holds a trained run"),
        ("model/prompt.json", "holds a trained run"),
        ("checkpoints/checkpoint-2/trainer_state.json", "holds an interrupted run"),
    ],
)
def test_a_run_is_not_overwritten(what, message, tmp_path):
    (tmp_path / what).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / what).write_text("{}")
    with pytest.raises(UserError, match=message):
        make_folder(Run(tmp_path), resume=False)
    make_folder(Run(tmp_path), resume=True)


def test_a_run_needs_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; give a folder"):
        make_folder(Run(tmp_path / "file"), resume=False)


def test_only_a_run_is_opened(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(UserError, match="so it is no run"):
        Run.open(tmp_path)
    (tmp_path / "report.json").write_text('{"task": "span_extraction"')
    with pytest.raises(UserError, match=r"report\.json: damaged or cut off"):
        Run.open(tmp_path).report()
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(UserError, match="holds no scores"):
        Run.open(tmp_path).task()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    model = tmp_path / "model"
    with replacing_folder(model) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_folder(model) as folder:
        (folder / "a").write_text(f"new {1 / 0}")
    assert (model / "a").read_text() == "old"
    with replacing_folder(model) as folder:
        (folder / "b").write_text("new")
    assert [path.name for path in sorted(model.iterdir())] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_run_reads_its_splits_as_it_read_them(tmp_path):
    (tmp_path / "dev.json").write_text('[{"id": "7", "a": "flu", "b": "cold", "gold": ["cold"]}]')
    run = Run(tmp_path / "run")
    run.write_config(
        {"dev_file": str(tmp_path / "dev.json"), "text_column": "b", "entities_column": "gold"}
    )
    [example] = Run.open(run.folder).examples("dev")
    assert (example.text, [(span.start, span.end) for span in example.spans]) == ("cold", [(0, 4)])
    with pytest.raises(UserError, match="its test examples are"):
        run.examples("test")


def test_the_written_options_give_the_same_run_again(recipe, tmp_path):
    groups = (recipe.RecipeArguments, recipe.TrainingArguments, recipe.ModelConfig)
    first = config.parse(
        groups,
        arguments=[
            "--learning_rate",
            "0.003",
            "--prompt_format",
            "json",
            "--lora_target_modules",
            "q_proj",
            "v_proj",
            "--train_file",
            "å b.json",
            "--constrained",
            "false",
            "--output_dir",
            str(tmp_path / "checkpoints"),
        ],
    )
    Run(tmp_path).write_config(config_of(*first))
    second = config.parse(groups, arguments=["--config", str(tmp_path / "config.yaml")])
    assert second[0] == first[0]
    for one, other in zip(first, second, strict=True):
        Run(tmp_path / "first").write_config(config_of(one))
        Run(tmp_path / "second").write_config(config_of(other))
        assert (tmp_path / "first/config.yaml").read_text() == (
            tmp_path / "second/config.yaml"
        ).read_text()
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert (written["learning_rate"], written["lora_target_modules"]) == (
        0.003,
        ["q_proj", "v_proj"],
    )


def test_secrets_are_not_written(recipe, tmp_path):
    (training,) = config.parse(
        (recipe.TrainingArguments,), arguments=["--push_to_hub", "true", "--hub_token", "hf_secret"]
    )
    assert training.hub_token == "hf_secret"
    Run(tmp_path).write_config(config_of(training))
    # Nor a stand-in, which would be taken for the secret.
    assert "hub_token" not in (tmp_path / "config.yaml").read_text()


def test_provenance_tells_data_versions_and_machine(tmp_path):
    (tmp_path / "train.json").write_bytes(b"[]")
    facts = provenance([tmp_path / "train.json", tmp_path / "absent.json"], model="local:smollm2")
    assert facts["data"] == {str(tmp_path / "train.json"): hashlib.sha256(b"[]").hexdigest()}
    assert facts["libraries"]["torch"] == metadata.version("torch")
    assert facts["model"] == "local:smollm2"
    assert facts["hardware"]["cores"] >= 1
    assert facts["command"][0] == Path(sys.argv[0]).name


def test_provenance_holds_no_secret(monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "grid.py",
            "--hub_token",
            "hf_verysecret",
            "--study",
            "postgresql://me:pass%40word@host/name",
            "--wandb_api_key=abc123secret",
        ],
    )
    written = str(provenance([], model="https://me:pass%40word@host/m"))
    assert not [
        secret for secret in ("verysecret", "pass%40word", "abc123secret") if secret in written
    ]
    assert "--study" in written


def test_a_stage_is_summed_up_even_when_it_fails(monkeypatch):
    meter = CostMeter()
    clock = iter([0, 100, 200, 201, 203, 207, 300])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
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
