"""Launch files and examples for clusters are read by the programs that they are for."""

import os
import re
import shutil
import subprocess
from dataclasses import fields

import pytest
import yaml
from conftest import ROOT, load_recipe

LAUNCH, CLUSTER = ROOT / "recipes" / "accelerate", ROOT / "recipes" / "cluster"


def launched(name):
    """What `accelerate launch` makes of a file: its arguments."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    words = ["--config_file", str(LAUNCH / f"{name}.yaml"), "recipes/sft_tinyllama.py"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    return args, defaults


@pytest.mark.parametrize(
    ("name", "way"), [("cpu2", "multi_gpu"), ("ddp", "multi_gpu"), ("fsdp2", "use_fsdp")]
)
def test_a_launch_file_starts_processes_in_its_way(name, way):
    args, _ = launched(name)
    ways = {key: bool(getattr(args, key)) for key in ("multi_gpu", "use_fsdp", "use_deepspeed")}
    assert ways == dict.fromkeys(ways, False) | {way: True}
    assert args.use_cpu is (name == "cpu2")
    assert args.num_processes == 2


def test_fsdp2_is_read_by_its_plugin(monkeypatch):
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    args, _ = launched("fsdp2")
    for name, value in prepare_multi_gpu_env(args).items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert os.environ["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"


def test_deepspeed_is_read_by_its_plugin(monkeypatch):
    from accelerate.utils import DeepSpeedPlugin
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    args, defaults = launched("deepspeed_zero3")
    assert args.use_deepspeed
    args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    monkeypatch.setattr("accelerate.utils.launch._filter_args", lambda args, *_: args)
    for name, value in prepare_deepspeed_cmd_env(args)[1].items():
        monkeypatch.setenv(name, value)
    parsed = DeepSpeedPlugin().deepspeed_config
    assert parsed["zero_optimization"]["stage"] == 3
    assert parsed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert parsed["zero_optimization"]["offload_optimizer"]["device"] == "none"


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one_of_bash(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_job_of_kubernetes_has_what_one_needs():
    job = yaml.safe_load((CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")  # a Job takes no other
    [container] = pod["containers"]
    assert {"name", "image", "command", "args", "resources"} <= container.keys()
    words = [*container["command"], *container["args"]]
    assert all(isinstance(word, str) for word in words)
    assert all(isinstance(entry["value"], str) for entry in container["env"])
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    processes = words[words.index("--num_processes") + 1]
    assert int(processes) == container["resources"]["limits"]["nvidia.com/gpu"]
    inside = [word for word in words if word.startswith("/opt/pipelines/")]
    assert inside
    for word in inside:  # where the Dockerfile puts them
        assert ROOT.joinpath(word.removeprefix("/opt/pipelines/")).is_file(), word


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_a_cluster_file_names_files_and_options_that_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"recipes/[\w/]+\.(?:py|yaml|sh)", text):
        assert (ROOT / name).is_file(), name
    from accelerate.commands.launch import launch_command_parser

    known = {
        option for action in launch_command_parser()._actions for option in action.option_strings
    }
    recipe = load_recipe("sft_tinyllama")
    for group in (recipe.RecipeArguments, recipe.TrainingArguments, recipe.ModelArguments):
        known |= {f"--{option.name}" for option in fields(group)}
    known |= {"--config", "--kill-on-bad-exit", "--nodes"}  # of every recipe, and of Slurm
    commands = [line for line in text.splitlines() if not line.startswith("#SBATCH")]
    used = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(commands)))
    assert used <= known, used - known
