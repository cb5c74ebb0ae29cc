"""Options of the libraries that are accepted do something: the trained weights differ."""

import pytest
import torch
from conftest import answered, load_recipe
from datasets import Dataset

from pipelines.families import causal_lm, token_tagger
from pipelines.families.causal_lm import adapters, sft
from pipelines.families.token_tagger import word_tagging
from pipelines.runs import options as config

pytestmark = pytest.mark.slow

SHORT = [
    "--max_steps",
    "3",
    "--save_strategy",
    "no",
    "--disable_tqdm",
    "true",
    "--logging_strategy",
    "no",
]
# Of both trainers.
OPTIONS = [
    ["--learning_rate", "0.1"],
    ["--weight_decay", "0.5"],
    ["--label_smoothing_factor", "0.2"],
    ["--max_grad_norm", "0.001"],
    ["--lr_scheduler_type", "constant"],
    ["--warmup_steps", "2"],
    ["--optim", "sgd"],
    ["--adam_beta1", "0.5"],
    ["--gradient_accumulation_steps", "2"],
    ["--seed", "7"],
    ["--max_steps", "2"],
]
SFT_OPTIONS = [
    ["--neftune_noise_alpha", "5"],
    ["--lora_r", "2"],
    ["--lora_alpha", "64"],
    ["--lora_dropout", "0.5"],
    ["--use_rslora", "true"],
    ["--use_dora", "true"],
    ["--init_lora_weights", "gaussian"],
    ["--init_lora_weights", "pissa"],
    ["--init_lora_weights", "pissa_niter_2"],
    ["--init_lora_weights", "olora"],
    ["--lora_target_modules", "q_proj"],
    ["--lora_layers", "1"],
]
BATCH_OPTIONS = [
    ["--per_device_train_batch_size", "1"],
    ["--data_seed", "5", "--per_device_train_batch_size", "2"],
    ["--train_sampling_strategy", "group_by_length", "--per_device_train_batch_size", "2"],
]


def trained(trainer):
    trainer.train()
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def differ(some, others):
    return some.keys() != others.keys() or any(
        some[name].shape != others[name].shape or not torch.equal(some[name], others[name])
        for name in some
    )


@pytest.fixture(scope="module")
def train_sft(tiny_llama, tmp_path_factory):
    recipe = load_recipe("sft_tinyllama")

    def train(*arguments):
        options, training, model = config.parse(
            (recipe.RecipeArguments, recipe.TrainingArguments, recipe.ModelArguments),
            arguments=[
                "--learning_rate",
                "0.01",
                "--per_device_train_batch_size",
                "2",
                "--output_dir",
                str(tmp_path_factory.mktemp("sft")),
                *SHORT,
                *arguments,
            ],
        )
        tokenizer = causal_lm.load_tokenizer(str(tiny_llama))
        prompt = causal_lm.prompt_for(
            tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
        )
        rows = sft.training_rows(answered(), tokenizer, prompt, max_length=512).rows
        training.dataset_kwargs = {"skip_prepare_dataset": True}
        network = causal_lm.load_network(str(tiny_llama), dtype=torch.float32)
        torch.manual_seed(training.seed)
        return trained(
            sft.AnswerTrainer(
                model=network,
                args=training,
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                peft_config=adapters.lora(
                    model,
                    network,
                    last=model.lora_layers,
                    initialization=model.init_lora_weights,
                ),
                prompt=prompt,
                batch_tokens=options.batch_tokens,
            )
        )

    return train


@pytest.fixture(scope="module")
def train_words(tmp_path_factory):
    recipe = load_recipe("train_tagger")

    def train(*arguments):
        options, training = config.parse(
            (recipe.RecipeArguments, recipe.TaggerTrainingArguments),
            arguments=[
                "--hidden_size",
                "4",
                "--embedding_dim",
                "3",
                "--eval_strategy",
                "no",
                "--load_best_model_at_end",
                "false",
                "--batch_tokens",
                "20",
                "--output_dir",
                str(tmp_path_factory.mktemp("words")),
                *SHORT,
                *arguments,
            ],
        )
        torch.manual_seed(training.seed)
        words = recipe.words_of(options, {"train": answered()})
        model = recipe.build(options, words, token_tagger.tags_for(answered()))
        rows = word_tagging.training_rows(answered(), model, words.tokenizer)
        return trained(
            word_tagging.WordTaggerTrainer(
                model=model,
                args=training,
                train_dataset=rows,
                processing_class=words.tokenizer,
                settings=token_tagger.TaggerSettings("argmax"),
                batch_tokens=options.batch_tokens,
            )
        )

    return train


@pytest.fixture(scope="module")
def sft_default(train_sft):
    return train_sft()


@pytest.fixture(scope="module")
def words_default(train_words):
    return train_words()


def test_the_same_options_train_the_same(train_sft, sft_default, train_words, words_default):
    assert not differ(train_sft(), sft_default)
    assert not differ(train_words(), words_default)


@pytest.mark.parametrize("arguments", OPTIONS + SFT_OPTIONS, ids=" ".join)
def test_an_option_changes_what_sft_trains(arguments, train_sft, sft_default):
    assert differ(train_sft(*arguments), sft_default)


@pytest.mark.parametrize("arguments", OPTIONS, ids=" ".join)
def test_an_option_changes_what_a_word_tagger_trains(arguments, train_words, words_default):
    assert differ(train_words(*arguments), words_default)


@pytest.mark.parametrize("arguments", BATCH_OPTIONS, ids=" ".join)
def test_a_batch_option_changes_what_is_trained_without_batch_tokens(arguments, train_words):
    default = train_words("--batch_tokens", "0", "--per_device_train_batch_size", "2")
    assert differ(train_words("--batch_tokens", "0", *arguments), default)
