"""Each option of TRL and transformers works, or is refused by name before anything is loaded."""

import dataclasses
import re
import typing

import pytest
import torch
from conftest import load_recipe
from transformers import TrainingArguments
from trl import ModelConfig, SFTConfig

from pipelines.errors import UserError
from pipelines.runs import library_options
from pipelines.runs import options as config

# Recipe -> the libraries' dataclasses that its options come from, and its own.
RECIPES = {
    "sft_tinyllama": (
        (SFTConfig, ModelConfig),
        ("RecipeArguments", "TrainingArguments", "ModelArguments"),
    ),
    "finetune_token_tagger": ((TrainingArguments,), ("RecipeArguments", "TrainingArguments")),
    "finetune_classifier": ((TrainingArguments,), ("RecipeArguments", "TrainingArguments")),
    "distil_tagger": ((TrainingArguments,), ("RecipeArguments", "TrainingArguments")),
    "pretrain_encoder": ((TrainingArguments,), ("RecipeArguments", "TrainingArguments")),
    "pretrain_lm": (
        (TrainingArguments, ModelConfig),
        ("RecipeArguments", "TrainingArguments", "ModelArguments"),
    ),
    "train_text_classifier": (
        (TrainingArguments,),
        ("RecipeArguments", "TextTrainingArguments"),
    ),
    "train_sequence_regressor": (
        (TrainingArguments,),
        ("RecipeArguments", "RegressorTrainingArguments"),
    ),
    "train_tagger": ((TrainingArguments,), ("RecipeArguments", "TaggerTrainingArguments")),
    "train_language_model": (
        (TrainingArguments,),
        ("RecipeArguments", "LanguageTrainingArguments"),
    ),
}
# Options that are honoured by every trainer: by `Trainer` itself, or by ours in the ways that other
# tests of the trainers and of the recipes show.
HONOURED_NAMES = """
    activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2 adam_epsilon
    average_tokens_across_devices bf16 data_seed dataloader_drop_last dataloader_in_order
    dataloader_multiprocessing_context dataloader_num_workers dataloader_persistent_workers
    dataloader_pin_memory dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers
    ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout debug deepspeed
    disable_tqdm eval_delay eval_on_start eval_steps eval_strategy fp16 fsdp fsdp_config
    full_determinism gradient_accumulation_steps gradient_checkpointing
    gradient_checkpointing_kwargs greater_is_better hub_model_id hub_private_repo
    hub_revision hub_token ignore_data_skip include_num_input_tokens_seen
    label_smoothing_factor learning_rate length_column_name load_best_model_at_end log_level
    log_level_replica log_on_each_node logging_first_step logging_nan_inf_filter logging_steps
    logging_strategy lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps
    metric_for_best_model neftune_noise_alpha num_train_epochs optim optim_args output_dir
    per_device_train_batch_size project push_to_hub report_to
    restore_callback_states_from_checkpoint resume_from_checkpoint run_name save_on_each_node
    save_only_model save_steps save_strategy save_total_limit seed skip_memory_metrics tf32
    torch_empty_cache_steps trackio_bucket_id trackio_space_id trackio_static_space_id
    train_sampling_strategy warmup_steps weight_decay
"""
MODEL_NAMES = """
    lora_alpha lora_dropout lora_r lora_target_modules model_name_or_path use_dora use_rslora
"""
SFT_NAMES = """
    max_length pad_to_multiple_of pad_token per_device_eval_batch_size trust_remote_code
    bnb_4bit_quant_storage bnb_4bit_quant_type load_in_4bit load_in_8bit use_bnb_nested_quant
"""
HONOURED = set(HONOURED_NAMES.split())
HONOURED_BY = {
    "pretrain_lm": set(MODEL_NAMES.split()),
    "sft_tinyllama": set(MODEL_NAMES.split()) | set(SFT_NAMES.split()),
}


def classes_of(recipe: str) -> list[type]:
    return [getattr(load_recipe(recipe), name) for name in RECIPES[recipe][1]]


def trainer_of(recipe: str) -> str:
    return next(class_.trainer for class_ in classes_of(recipe) if hasattr(class_, "trainer"))


def unused_by(recipe: str) -> dict[str, str]:
    return library_options.UNUSED[trainer_of(recipe)]


def honoured_by(recipe: str) -> set[str]:
    every = HONOURED | HONOURED_BY.get(recipe, set())
    # What one kind of trainer alone does not honour.
    return every - (unused_by(recipe).keys() - library_options.UNUSED["sft"].keys())


def library_fields(recipe: str) -> set[str]:
    return {
        field.name
        for library in RECIPES[recipe][0]
        for field in dataclasses.fields(library)
        if field.init
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_option_of_a_library_is_honoured_or_unused(recipe):
    unused = unused_by(recipe).keys()
    assert library_fields(recipe) - honoured_by(recipe) - unused == set(), "not placed; try them"
    assert not honoured_by(recipe) & unused
    assert unused - library_fields(recipe) == set(), "gone from the library"


def other_value(class_: type, name: str) -> str:
    """A value for an option on the command line that is not its default."""
    [field] = [field for field in dataclasses.fields(class_) if field.name == name]
    hint = typing.get_type_hints(class_)[name]
    kinds = set(typing.get_args(hint)) | {hint}
    if bool in kinds:
        return "false" if field.default is True else "true"
    if kinds & {int, float} and str not in kinds:
        return str(int(field.default or 0) + 3)
    known = {
        "lora_task_type": "SEQ_CLS",
        "train_sampling_strategy": "sequential",
        "loss_type": "dft",
        "packing_strategy": "wrapped",
        "truncation_mode": "keep_end",
    }
    return known.get(name, '{"a": 1}' if dict in kinds or name.endswith("_config") else "other")


def refusal(recipe: str, *arguments: str) -> str:
    with pytest.raises(UserError) as raised:
        config.parse(classes_of(recipe), arguments=arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


CASES = [
    (recipe, name)
    for recipe in RECIPES
    for name in sorted(
        library_options.UNUSED[
            {
                "sft_tinyllama": "sft",
                "pretrain_encoder": "pretraining",
                "pretrain_lm": "causal_pretraining",
                "train_tagger": "words",
                "train_text_classifier": "words",
                "train_language_model": "stream",
            }.get(recipe, "encoder")
        ]
    )
]


@pytest.mark.parametrize(("recipe", "name"), CASES)
def test_an_option_without_effect_is_refused_by_name(recipe, name):
    assert name in unused_by(recipe)
    class_ = next(
        class_
        for class_ in classes_of(recipe)
        if name in {f.name for f in dataclasses.fields(class_)}
    )
    assert re.search(rf"(?<!\w){name}\b", refusal(recipe, f"--{name}", other_value(class_, name)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_defaults_are_not_complained_about(recipe, tmp_path):
    class_ = next(class_ for class_ in classes_of(recipe) if hasattr(class_, "trainer"))
    lines = [
        f"{field.name}: {str(field.default).lower()}"
        for field in dataclasses.fields(class_)
        if field.name in unused_by(recipe) and isinstance(field.default, bool)
    ]
    assert len(lines) > 5
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    config.parse(classes_of(recipe), arguments=["--config", str(path)])


def test_what_is_off_anyway_is_not_complained_about(tmp_path):
    # As the config.yaml of a run of this recipe has it.
    path = tmp_path / "config.yaml"
    path.write_text("gradient_checkpointing: false\nactivation_checkpointing: false\n")
    config.parse(classes_of("train_tagger"), arguments=["--config", str(path)])


def test_an_option_without_effect_is_refused_in_a_config_file_too(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("packing: true\nloss_type: dft\n")
    message = refusal("sft_tinyllama", "--config", str(path))
    assert "--packing has no effect: " in message
    assert "--loss_type has no effect: " in message


@pytest.mark.parametrize("name", library_options.BATCHES)
def test_batch_options_are_refused_beside_batch_tokens(name):
    class_ = classes_of("finetune_token_tagger")[1]
    arguments = [f"--{name}", other_value(class_, name)]
    assert f"--{name} has no effect beside --batch_tokens 512" in refusal(
        "finetune_token_tagger", *arguments, "--batch_tokens", "512"
    )
    # The recipe's own default of 2048 is not in a file.
    assert f"--{name}" in refusal("train_tagger", *arguments)
    options, _ = config.parse(
        classes_of("train_tagger"), arguments=[*arguments, "--batch_tokens", "0"]
    )
    assert options.batch_tokens is None


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [("bnb_4bit_quant_type", "fp4", "load_in_4bit"), ("hub_model_id", "me/model", "push_to_hub")],
)
def test_an_option_of_something_that_is_off_is_refused(name, value, needed):
    message = refusal("sft_tinyllama", f"--{name}", value)
    assert f"--{name} has no effect without --{needed} true" in message
    config.parse(classes_of("sft_tinyllama"), arguments=[f"--{name}", value, f"--{needed}", "true"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is what some GPUs train in")
@pytest.mark.parametrize("recipe", RECIPES)
def test_fp16_on_a_cpu_is_refused(recipe):
    assert re.search(
        "got --fp16 true, but this machine trains in (bf16|float32)",
        refusal(recipe, "--fp16", "true"),
    )


def test_gradient_checkpointing_goes_by_both_names(recwarn):
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        _, training, _ = config.parse(classes_of("sft_tinyllama"), arguments=[f"--{name}", "true"])
        assert training.gradient_checkpointing is training.activation_checkpointing is True
    assert not config.parse(classes_of("sft_tinyllama"), arguments=[])[1].gradient_checkpointing
    assert not [warning for warning in recwarn if warning.category is FutureWarning]
