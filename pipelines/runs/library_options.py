"""Options of TRL's and transformers' dataclasses that our trainers would not honour.

`refuse_unused` refuses them; every other option of `TrainingArguments`, `SFTConfig` and
`ModelConfig` works. A test walks all of them, so that an option of a later release has to be placed
here or tried.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import MISSING, Field, fields

from pipelines.errors import UserError
from pipelines.examples import Fields


def _because(reason: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


# Option -> why it has no effect, and what to do instead.
_ALL = {
    **_because(
        "dev is predicted as `pipelines predict` does",
        "batch_eval_metrics",
        "bf16_full_eval",
        "eval_accumulation_steps",
        "eval_do_concat_batches",
        "eval_use_gather_object",
        "fp16_full_eval",
        "include_for_metrics",
        "label_names",
        "prediction_loss_only",
    ),
    **_because(
        "a recipe trains, and predicts the files that it is given",
        "do_eval",
        "do_predict",
        "do_train",
    ),
    **_because("rows hold exactly what the network reads", "remove_unused_columns"),
    **_because(
        "the recipe forms the batches; take --batch_tokens or --per_device_train_batch_size",
        "accelerator_config",
        "auto_find_batch_size",
    ),
    **_because(
        "start several processes by `accelerate launch`, see recipes/accelerate/",
        "local_rank",
        "parallelism_config",
    ),
    **_because("hide the GPUs instead: CUDA_VISIBLE_DEVICES=", "use_cpu"),
    **_because(
        "batches have many lengths, and each would be compiled anew",
        "torch_compile",
        "torch_compile_backend",
        "torch_compile_mode",
    ),
    **_because(
        "its kernels replace a loss that is the recipe's own",
        "liger_kernel_config",
        "use_liger_kernel",
    ),
    **_because("training reads whole texts, without a cache", "use_cache"),
    **_because("parameters are grouped by their learning rates", "optim_target_modules"),
    **_because(
        "an interrupted run keeps its last checkpoint; take --save_steps", "enable_jit_checkpoint"
    ),
    **_because("a run is uploaded once, when it is finished", "hub_always_push", "hub_strategy"),
}
_NOT_SFT = {
    **_because("dev is predicted in batches of the recipe's own", "per_device_eval_batch_size"),
    **_because(
        "sharded weights are for sft_tinyllama; take recipes/accelerate/ddp.yaml",
        "deepspeed",
        "fsdp",
        "fsdp_config",
    ),
}
_SFT = {
    **_because(
        "rows are made of examples with spans",
        "chat_template_path",
        "dataset_kwargs",
        "dataset_num_proc",
        "dataset_text_field",
        "eos_token",
        "eval_packing",
        "packing",
        "packing_strategy",
        "shuffle_dataset",
    ),
    **_because("batches hold rows of one length; take --batch_tokens", "padding_free"),
    **_because("rows over --max_length are left out, never truncated", "truncation_mode"),
    **_because(
        "the loss is the cross-entropy of each answer",
        "assistant_only_loss",
        "completion_only_loss",
        "loss_type",
        "router_aux_loss_coef",
    ),
    **_because("the recipe loads the model itself", "model_init_kwargs"),
    **_because("take --gradient_checkpointing true", "activation_offloading"),
}
# Of TRL's `ModelConfig`, for each recipe that trains a language model.
_MODEL = {
    **_because("the machine decides, see `precision` in provenance.json", "dtype"),
    **_because("the machine decides", "attn_implementation"),
    **_because(
        "download that revision and name its folder by --model_name_or_path", "model_revision"
    ),
    **_because("take --tune", "use_peft"),
    **_because(
        "adapters are trained on linear layers alone; take --lora_target_modules",
        "lora_modules_to_save",
        "lora_target_parameters",
    ),
    **_because("the model predicts tokens, so the task is always CAUSAL_LM", "lora_task_type"),
}
_WORDS = {
    **_because("take --word_dropout or --dropout", "neftune_noise_alpha"),
    **_because(
        "small networks keep their activations",
        "activation_checkpointing",
        "activation_checkpointing_kwargs",
        "gradient_checkpointing",
        "gradient_checkpointing_kwargs",
    ),
}
_STREAM = {
    **_because(
        "a step reads the next segment of --per_device_train_batch_size texts, in their order",
        "data_seed",
        "dataloader_drop_last",
        "dataloader_in_order",
        "dataloader_multiprocessing_context",
        "dataloader_num_workers",
        "dataloader_persistent_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
        "length_column_name",
        "train_sampling_strategy",
    ),
}
_VALUES = {
    **_because("numbers have no classes to smooth", "label_smoothing_factor"),
    **_because("sequences have no tokens to count", "include_num_input_tokens_seen"),
    **_because("batches are drawn at random", "length_column_name", "train_sampling_strategy"),
}
_IMAGES = {
    **_because("pictures have no embeddings of words", "neftune_noise_alpha"),
    **_because("pictures are of one size", "length_column_name", "train_sampling_strategy"),
}
_PRETRAINING = {
    **_because(
        "pretraining has no score on dev; the last checkpoint is kept",
        "eval_delay",
        "eval_on_start",
        "eval_steps",
        "eval_strategy",
        "greater_is_better",
        "load_best_model_at_end",
        "metric_for_best_model",
    ),
}
_WHOLE_WEIGHTS = {
    **_because(
        "pretraining ends in whole weights, and starts from them",
        "bnb_4bit_quant_storage",
        "bnb_4bit_quant_type",
        "load_in_4bit",
        "load_in_8bit",
        "use_bnb_nested_quant",
    ),
}
# What a trainer is called in `RunTrainingArguments.trainer` -> what it does not honour.
UNUSED = {
    "encoder": _ALL | _NOT_SFT,
    "pretraining": _ALL | _NOT_SFT | _PRETRAINING,
    "words": _ALL | _NOT_SFT | _WORDS,
    "stream": _ALL | _NOT_SFT | _WORDS | _STREAM,
    "values": _ALL | _NOT_SFT | _WORDS | _VALUES,
    "images": _ALL | _NOT_SFT | _IMAGES,
    "causal_pretraining": _ALL | _NOT_SFT | _PRETRAINING | _MODEL | _WHOLE_WEIGHTS,
    "sft": _ALL | _SFT | _MODEL,
}
# Options that have no effect while batches are formed by --batch_tokens.
BATCHES = (
    "data_seed",
    "dataloader_drop_last",
    "length_column_name",
    "per_device_train_batch_size",
    "train_sampling_strategy",
)
# Option -> the option without which it has no effect.
NEEDS = {
    **dict.fromkeys(
        ("bnb_4bit_quant_storage", "bnb_4bit_quant_type", "use_bnb_nested_quant"), "load_in_4bit"
    ),
    **dict.fromkeys(
        (
            "hub_model_id",
            "hub_private_repo",
            "hub_revision",
            "hub_token",
        ),
        "push_to_hub",
    ),
}
# What the machine decides is left out of a run's config.yaml, which has to serve on another one.
_HONOURED_ELSEWHERE = (
    _PRETRAINING | _WORDS | _STREAM | _VALUES | _IMAGES | _NOT_SFT | _WHOLE_WEIGHTS
)
NOT_WRITTEN = {name for table in UNUSED.values() for name in table} - _HONOURED_ELSEWHERE.keys() | {
    "bf16",
    "dataloader_pin_memory",
    "fp16",
}


def refuse_unused(dataclasses: Sequence[type], values: Fields, names: Collection[str]) -> None:
    """Refuses options that would have no effect.

    Args:
        dataclasses: of a recipe.
        values: option -> value, of all options.
        names: the options that were set, on the command line or in a config file; one that has its
            default value is let through.

    Raises:
        UserError: naming each option and why it has no effect.
    """
    trainer = next((class_.trainer for class_ in dataclasses if hasattr(class_, "trainer")), None)
    if trainer is None:
        return
    defaults = {field.name: _default(field) for class_ in dataclasses for field in fields(class_)}
    # Off is off, said by None or by false: a run's own config.yaml says false.
    changed = {name for name in names if name in values}
    changed = {name for name in changed if (values[name] or None) != (defaults[name] or None)}
    faults = [
        f"--{name} has no effect: {UNUSED[trainer][name]}"
        for name in sorted(changed & UNUSED[trainer].keys())
    ]
    if values.get("batch_tokens"):
        faults += [
            f"--{name} has no effect beside --batch_tokens {values['batch_tokens']}, which forms "
            "the batches: leave it out, or add --batch_tokens 0"
            for name in sorted(changed & set(BATCHES))
        ]
    faults += [
        f"--{name} has no effect without --{NEEDS[name]} true"
        for name in sorted(changed & NEEDS.keys())
        if not values[NEEDS[name]]
    ]
    if faults:
        raise UserError("; ".join(faults))


def _default(field: Field[object]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()
