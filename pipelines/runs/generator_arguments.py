"""Dataclasses of options of the recipe that fine-tunes language models.

Importing this module loads no deep learning library, so that `--help` answers at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from pipelines.prompting.minimum_risk import sampling_faults
from pipelines.runs.arguments import (
    DataArguments,
    RunTrainingArguments,
    SearchArguments,
    option,
)


@dataclass
class GeneratorArguments(SearchArguments, DataArguments):
    """What a recipe takes that fine-tunes a language model to answer."""

    sizes: str = option(
        "train=0.8,dev=0.1,test=0.1",
        "of texts with classes: shares or numbers of texts where dev is cut from train",
        group="data",
    )
    prompt_format: str | None = option(
        None, "how the answer writes mentions: list (default), json or tagged", group="model"
    )
    prompt_style: str = option(
        "auto", "chat (the model's template), plain, or auto: chat where there is a template"
    )
    batch_tokens: int | None = option(
        None,
        "batches of rows of one length with at most N tokens; 0: batches of "
        "per_device_train_batch_size rows",
        group="training",
    )
    eval_examples: int = option(
        200, "dev examples, evenly spread, on which checkpoints are compared"
    )
    early_stopping_patience: int | None = option(
        None, "stop after N evaluations without a better score"
    )
    answer_logits_only: bool = option(
        True,
        "compute logits of answers only; false: TRL's loss, on a GPU in tiles, which takes less "
        "memory with a vocabulary of 200,000",
    )
    compile_layers: bool = option(
        False,
        "compile the layers if there is a C++ compiler: a minute or two at the start, a "
        "quarter less time afterwards (on a CPU)",
    )
    constrained: bool = option(
        True, "let answers hold only strings of their text", group="prediction"
    )
    generation_batch_tokens: int = option(1024, "prompt tokens of a batch in generation")
    samples: int = option(
        0,
        "answers that are sampled for each text, of which the one is chosen that agrees most with "
        "them; 0: one greedy answer",
    )
    temperature: float = option(1.0, "of the samples; lower: they are more alike")
    calibrate: bool = option(
        False,
        "make the scores of mentions probabilities of being right, by a map that is fitted on dev",
    )
    shots: int | None = option(
        None, "training examples that stand before a text, with --max_steps 0: the model as it is"
    )
    shots_by: str = option("tfidf", "how similar ones are found: tfidf, or minilm")
    candidates: str | None = option(
        None,
        "a finished run of train_tagger or finetune_token_tagger on the same --train_file: the "
        "prompt names the mentions that its model finds",
        group="candidates",
    )
    candidate_folds: int = option(
        5,
        "models of that kind that are trained for the training texts, each without a part of them",
    )
    verify: bool = option(
        False,
        "with --candidates: train on yes/no questions about mentions too, ask one about each "
        "mention of an answer, and drop those with less than half a yes",
    )

    def faults(self, answer: str, *, untrained: bool) -> list[str]:
        """What does not fit together, a phrase each.

        Args:
            answer: what is learnt, `spans` or `label`.
            untrained: whether the model is taken as it is.
        """
        faults = []
        if answer == "label" and self.prompt_format:
            faults.append("--prompt_format, which is of mentions")
        if answer == "label" and not self.constrained:
            faults.append("--constrained false; answers are always among the classes")
        if answer == "label" and self.calibrate:
            faults.append("--calibrate true, which is for scores of mentions")
        faults += self._sampling_faults(answer)
        if self.shots is not None and not untrained:
            faults.append(
                f"--shots {self.shots} without --max_steps 0: examples stand before a text only "
                "where nothing is trained"
            )
        if self.search and untrained:
            faults.append("--search with --max_steps 0, which trains nothing")
        if (self.shots or 0) < 0:
            faults.append(f"--shots {self.shots}; wanted 0 or more")
        if self.candidates and (answer == "label" or untrained):
            faults.append(f"--candidates {self.candidates}, which is for training on mentions")
        if self.verify and not self.candidates:
            faults.append(
                "--verify true without --candidates, whose mistakes are the questions with a no"
            )
        if not self.candidates and self.candidate_folds != 5:
            faults.append(f"--candidate_folds {self.candidate_folds} without --candidates")
        if self.candidate_folds < 2:
            faults.append(f"--candidate_folds {self.candidate_folds}; wanted 2 or more")
        return faults

    def _sampling_faults(self, answer: str) -> list[str]:
        if self.samples and answer == "label":
            return [f"--samples {self.samples}; probabilities of classes are exact, not sampled"]
        faults = sampling_faults(self.samples, self.temperature)
        if self.temperature != 1 and not self.samples:
            faults.append(f"--temperature {self.temperature:g} without --samples")
        return faults


@dataclass
class GeneratorTrainingArguments(RunTrainingArguments):
    """Stands before TRL's `SFTConfig`: defaults for short texts."""

    may_skip_training: ClassVar[bool] = True

    max_length: int | None = option(
        512,
        "tokens of prompt and answer: longer rows with mentions are left out of training, texts "
        "with classes are cut; both are counted",
        group="training",
    )
    learning_rate: float = option(2e-5, "largest learning rate")
    num_train_epochs: float = option(3.0, "passes over the training examples")
    logging_steps: float = option(10, "steps between lines of the log")
    logging_nan_inf_filter: bool = False  # which waits for the GPU at each step
    metric_for_best_model: str | None = option(
        "auto", "score that decides between checkpoints: strict_f1 of mentions, macro_f1 of classes"
    )
    save_total_limit: int | None = option(2, "checkpoints kept")


@dataclass
class LoraArguments:
    """Stands before TRL's `ModelConfig`: what is trained of a language model.

    Attributes:
        tunes: what `tune` may be.
        without_adapters: what to do about options of adapters where there are none.
    """

    tunes: ClassVar[tuple[str, ...]] = ("lora", "full")
    without_adapters: ClassVar[str] = "recipes/configs/sft_full.yaml has none of them"

    model_name_or_path: str | None = option(
        "local:smollm2",
        "a causal language model: a folder, a Hub id, or local:smollm2; model/ or merged/ of a "
        "run, to train that run's model on",
        group="model",
    )
    tune: str = option(
        "lora", "what is trained: lora (adapters beside frozen weights), or full (all weights)"
    )
    dtype: str | None = "auto"  # what the machine computes fast
    use_peft: bool = True
    lora_r: int = option(16, "rank of the adapters")
    lora_alpha: int = option(32, "scale of the adapters, divided by their rank")
    lora_dropout: float = option(0.05, "dropout on the input of the adapters")
    use_rslora: bool = option(False, "divide their scale by the root of the rank instead")
    use_dora: bool = option(False, "DoRA: train the size of each weight row beside its direction")
    init_lora_weights: str = option(
        "default",
        "how adapters start: default, gaussian, olora, pissa, or pissa_niter_N (by a faster SVD); "
        "olora and pissa take them out of the weights",
    )
    lora_layers: int | None = option(
        None, "adapt only the last N layers: the backward pass ends there (default: all)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        # TRL makes one name a string, which peft matches against the whole path of a module.
        named: Any = self
        targets = named.lora_target_modules
        if isinstance(targets, str) and re.fullmatch(r"[\w.]+", targets):
            named.lora_target_modules = [targets]

    def faults(self) -> list[str]:
        """What does not fit together, a phrase each."""
        faults = []
        if self.tune not in self.tunes:
            wanted = f"{', '.join(self.tunes[:-1])} or {self.tunes[-1]}"
            faults.append(f"--tune {self.tune}; wanted {wanted}")
        start = self.init_lora_weights
        if not re.fullmatch(r"default|gaussian|olora|pissa(_niter_\d+)?", start):
            wanted = "default, gaussian, olora, pissa, or pissa_niter_N"
            faults.append(f"--init_lora_weights {start}; wanted {wanted}")
        quantised = getattr(self, "load_in_4bit", False) or getattr(self, "load_in_8bit", False)
        if start.startswith(("olora", "pissa")) and (self.use_dora or quantised):
            other = "--use_dora true" if self.use_dora else "a quantised base"
            faults.append(f"--init_lora_weights {start} with {other}, which do not go together")
        if self.lora_layers is not None and self.lora_layers < 1:
            faults.append(f"--lora_layers {self.lora_layers}; wanted 1 or more")
        names = ("use_dora", "use_rslora", "load_in_4bit", "load_in_8bit", "save_merged")
        of_adapters = [
            f"--{field.name}"
            for field in fields(self)
            if ("lora" in field.name or field.name in names)
            and getattr(self, field.name) != field.default
        ]
        if self.tune in self.tunes[1:] and of_adapters:
            faults.append(
                f"--tune {self.tune} with {' and '.join(of_adapters)}, for adapters; "
                f"{self.without_adapters}"
            )
        return faults


@dataclass
class AdapterArguments(LoraArguments):
    """What a recipe takes that fine-tunes a language model; see `LoraArguments`."""

    load_in_4bit: bool = option(False, "quantise the base model to 4 bits (QLoRA)")
    save_merged: bool = option(False, "also save the model with the adapter merged")


@dataclass
class TunedPartArguments(LoraArguments):
    """What a recipe takes that continues pretraining a language model; see `LoraArguments`."""

    tunes: ClassVar[tuple[str, ...]] = ("lora", "full", "last_n")
    without_adapters: ClassVar[str] = "leave them out"

    model_name_or_path: str | None = option(
        "local:smollm2",
        "a causal language model with whole weights: a folder, a Hub id, or local:smollm2",
        group="model",
    )
    tune: str = option(
        "lora",
        "what is trained: lora (adapters, which are added to the weights at the end), full (all "
        "weights), or last_n (those of the last layers)",
    )
    last_n: int = option(2, "layers that --tune last_n trains")
    lora_dropout: float = option(0.0, "dropout on the input of the adapters")

    def faults(self) -> list[str]:
        """What does not fit together, a phrase each."""
        faults = super().faults()
        if self.last_n < 1:
            faults.append(f"--last_n {self.last_n}; wanted 1 or more")
        if self.last_n != TunedPartArguments.last_n and self.tune != "last_n":
            faults.append(f"--last_n {self.last_n} without --tune last_n")
        return faults
