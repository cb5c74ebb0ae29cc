"""What is trained of a base model: all of it, or adapters, new ones or those of an earlier run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import CONFIG_NAME
from trl import ModelConfig, get_quantization_config

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.families.causal_lm.loading import (
    PROMPT_FILE,
    base_of,
    load_merged,
    load_network,
    read_settings,
)
from pipelines.networks import precision, weights

ADAPTER_FILE = "adapter_config.json"
START_FILE = "initial_adapter.safetensors"  # among the checkpoints
# Of an earlier adapter that is trained on: what its weights were trained with.
FIXED = ("r", "lora_alpha", "use_rslora", "use_dora")


class Start(NamedTuple):
    """Where training starts.

    Attributes:
        base: name of the base model.
        adapter: folder with the adapter of an earlier run, which is trained on; None for a new one.
    """

    base: str
    adapter: Path | None = None


def start_of(name: str) -> Start:
    """The base model that `--model_name_or_path` names, and the adapter in its folder if any.

    Raises:
        UserError: for the folder of a run, or an adapter that no run saved.
    """
    folder = Path(name)
    has_model = any((folder / "model" / file).is_file() for file in (PROMPT_FILE, CONFIG_NAME))
    if has_model and not (folder / CONFIG_NAME).is_file():
        raise UserError(f"{name}: a run; to train its model on, give {folder / 'model'}")
    if not (folder / ADAPTER_FILE).is_file():
        return Start(name)
    if not (folder / PROMPT_FILE).is_file():
        raise UserError(
            f"{name}: an adapter without {PROMPT_FILE}, which no run saved; merge it into its base "
            "by peft, and give the folder of the sum"
        )
    settings, _ = read_settings(folder)
    return Start(base_of(settings, folder), folder)


def load_start(
    start: Start,
    options: ModelConfig,
    *,
    trust_remote_code: bool,
    whole: bool = False,
    merges: bool = False,
) -> PreTrainedModel:
    """The model to be trained: in the dtype of this machine or quantised, or in float32.

    Args:
        whole: whether all weights are trained, an earlier adapter merged into them.
        merges: whether the adapter is to be merged into whole weights later.

    Raises:
        UserError: when it could not be loaded, or is stored quantised where whole weights are
            wanted.
    """
    trusted = {"trust_remote_code": trust_remote_code}
    quantized: JsonObject = {}
    quantization = None
    if whole and start.adapter is not None:
        settings, _ = read_settings(start.adapter)
        network = load_merged(start.adapter, settings, dtype=torch.float32, **trusted)
    elif whole:
        network = load_network(start.base, dtype=torch.float32, **trusted)
    else:
        dtype = precision.choose().weights
        options.dtype = str(dtype).removeprefix("torch.")  # in which a quantised model computes
        quantization = get_quantization_config(options)
        if quantization is not None:
            device = {"": PartialState().device}
            quantized = {"quantization_config": quantization, "device_map": device}
        network = load_network(start.base, dtype=dtype, **trusted, **quantized)
    if (whole or merges) and quantization is None and getattr(network, "is_quantized", False):
        option = "--tune full" if whole else "--save_merged"
        raise UserError(
            f"{start.base}: its weights are stored quantised, and {option} needs whole ones; leave "
            "it out, or start from the model before its quantisation"
        )
    return network


def lora(
    options: ModelConfig,
    network: PreTrainedModel,
    *,
    last: int | None = None,
    initialization: str = "default",
) -> LoraConfig:
    """The adapters of a network, in its `last` layers alone (default: in all).

    Args:
        initialization: `default` or one of peft's names.

    Raises:
        UserError: for modules that the network does not have, or layers where it has no list.
    """
    targets = options.lora_target_modules or "all-linear"
    refuse_unknown_modules(network, targets, str(options.model_name_or_path))
    begins: Any = True if initialization == "default" else initialization
    below = None
    if last is not None:
        path, layers = layers_of(network)
        numbers = "|".join(map(str, range(len(layers) - last)))
        # A string is matched as a whole, so that layer 1 is not layer 11.
        below = rf"(.*\.)?{re.escape(path)}\.({numbers})\..*" if numbers else None
    return LoraConfig(
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        use_rslora=options.use_rslora,
        use_dora=options.use_dora,
        init_lora_weights=begins,
        task_type="CAUSAL_LM",
        target_modules=targets,
        exclude_modules=below,
    )


def layers_of(network: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The layers of a network, the lowest first, and the name of their list in it.

    Raises:
        UserError: for a network without a list of them.
    """
    count = network.config.get_text_config().num_hidden_layers
    for path, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return path, module
    raise UserError(
        f"a {network.config.model_type} has no list of its layers, so that the last ones cannot be "
        "chosen; leave out --lora_layers and --tune last_n"
    )


def refuse_unknown_modules(network: PreTrainedModel, targets: str | list[str], name: str) -> None:
    """Refuses target modules that are not linear layers of the network; peft skips unknown ones.

    Args:
        targets: ends of the names of modules, `all-linear`, or a pattern for whole names.

    Raises:
        UserError: with the names that there are.
    """
    if targets == "all-linear":
        return
    modules = dict(network.named_modules())
    embedded, head = network.get_input_embeddings(), network.get_output_embeddings()
    # An adapter that is merged into a tied head would change the embeddings too.
    tied = head is not None and getattr(head, "weight", 0) is getattr(embedded, "weight", 1)
    linear = {
        path
        for path, module in modules.items()
        if isinstance(module, (nn.Linear, Conv1D)) and not (tied and module is head)
    }
    unknown = []
    for target in [targets] if isinstance(targets, str) else targets:
        end = target if isinstance(targets, str) else rf"(.*\.)?{re.escape(target)}"
        try:
            found = {path for path in modules if re.fullmatch(end, path)}
        except re.error as error:
            raise UserError(
                f"got --lora_target_modules {target}, which is no pattern ({error}); give names of "
                "modules, or a regular expression for whole names"
            ) from None
        if not found or found - linear:
            unknown.append(target)
    if unknown:
        names = sorted({path.rpartition(".")[2] for path in linear})
        raise UserError(
            f"got --lora_target_modules {' '.join(unknown)}; {name} has the linear layers "
            f"{', '.join(names)}; or take all-linear"
        )


def begin(model: PeftModel, earlier: Path | None) -> dict[str, Tensor] | None:
    """Gives a new adapter the weights of an earlier one, if training starts from there.

    Args:
        earlier: the folder of that one.

    Returns:
        Where the new adapter takes its first weights out of the base (PiSSA, OLoRA), a copy of
        them, for `save`.

    Raises:
        UserError: where the new adapter is another than the earlier one; where base weights that
            change are sharded.
    """
    takes_weights = _takes_weights(model)
    sharded = DistributedType.FSDP, DistributedType.DEEPSPEED
    if takes_weights and PartialState().distributed_type in sharded:
        raise UserError(
            "--init_lora_weights olora and pissa change the base weights, which are sharded here; "
            "leave it out"
        )
    if earlier is not None:
        _continue(model, earlier)
    elif takes_weights:
        return {name: value.clone() for name, value in get_peft_model_state_dict(model).items()}
    return None


def keep_start(initial: dict[str, Tensor], folder: Path, *, resumes: bool) -> None:
    """Writes what `begin` returned beside the checkpoints, which fit the base only with it.

    Args:
        resumes: whether training goes on from a checkpoint; then it is compared instead.

    Raises:
        UserError: where the checkpoints began with other weights.
    """
    file = folder / START_FILE
    if resumes and file.is_file():
        before = load_file(file)
        same = before.keys() == initial.keys() and all(
            torch.allclose(before[name], value.cpu(), atol=1e-3) for name, value in initial.items()
        )
        if not same:
            raise UserError(
                f"{folder}: its checkpoints began with an adapter that this machine computes "
                "otherwise (--init_lora_weights); train from the start, with another --run_dir"
            )
    elif PartialState().is_main_process:
        with replacing(file, "wb") as f:
            f.write(save({name: value.cpu().contiguous() for name, value in initial.items()}))


def _takes_weights(model: PeftModel) -> bool:
    config: Any = model.peft_config["default"]
    return str(config.init_lora_weights).startswith(("olora", "pissa"))


def _continue(model: PeftModel, folder: Path) -> None:
    """Loads the weights of the adapter in a folder into the new adapter, which has to be alike."""
    try:
        weights_before = load_peft_weights(str(folder), "cpu")
        theirs = LoraConfig.from_pretrained(str(folder))
    except (*weights.LOADING_ERRORS, AttributeError) as error:
        raise weights.unavailable(str(folder), error) from error
    ours = model.peft_config["default"]
    faults = [
        f"{name} {getattr(ours, name)} (its own: {getattr(theirs, name)})"
        for name in FIXED
        if getattr(ours, name) != getattr(theirs, name)
    ]
    if _takes_weights(model):
        faults.append("--init_lora_weights, which is for new adapters")
    network: Any = model.get_base_model()
    was_quantised = bool(read_settings(folder)[0].get("quantization"))
    if was_quantised != bool(getattr(network, "is_quantized", False)):
        faults.append(f"a base that is {'not ' if was_quantised else ''}quantised, unlike its own")
    shapes = {name: value.shape for name, value in get_peft_model_state_dict(model).items()}
    if not faults and shapes != {name: value.shape for name, value in weights_before.items()}:
        faults.append("other layers (--lora_layers, --lora_target_modules)")
    if faults:
        raise UserError(
            f"{folder}: its adapter cannot be trained on with {'; '.join(faults)}; give the "
            f"options of its own run, {folder.parent / 'config.yaml'}, or start from the merged/ "
            "that --save_merged true makes"
        )
    set_peft_model_state_dict(model, weights_before)
