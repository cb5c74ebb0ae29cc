"""Models of known shapes with random weights, a small tokenizer, and rows of the sample corpus."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from pipelines.corpora import read_examples
from pipelines.examples import Example

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "samples" / "disease_ner"
# TinyLlama-1.1B, from its config.json, and BERT-base.
TINY_LLAMA = {
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}
SMALL = {
    "vocab_size": 2_000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BERT_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
SMALL_BERT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
# Zephyr's template, which TinyLlama's chat model has.
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] "
    "+ eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}"
    "{% endif %}"
)


@dataclass(frozen=True)
class Setting:
    """Where a part runs, and how large.

    Attributes:
        device: `cuda` or `cpu`.
        small: tiny shapes and few steps: whether the code runs, and no speed.
        folder: for files of the part; removed at its end.
    """

    device: str
    small: bool
    folder: Path

    @property
    def llama(self) -> dict[str, int]:
        return SMALL if self.small else TINY_LLAMA

    def step_tokens(self) -> tuple[int, ...]:
        """Tokens of a training step."""
        return (256, 512) if self.small else (4_096, 16_384, 65_536)

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def llama(
    shape: dict[str, int], device: str, dtype: torch.dtype, *, seed: int = 0, **options: Any
) -> Any:
    """A Llama with random weights, made on the device; `options` are of its config."""
    torch.manual_seed(seed)
    sizes: Any = shape
    config = LlamaConfig(
        **sizes,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        **options,
    )
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def bert_config(small: bool, vocabulary: int) -> BertConfig:
    sizes: Any = SMALL_BERT if small else BERT_BASE
    return BertConfig(**sizes, vocab_size=vocabulary, max_position_embeddings=512)


def tokenizer(size: int = 2_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the sample corpus, for language models and encoders."""
    special = ["<unk>", "<s>", "</s>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        [example.text for example in examples("train")],
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        chat_template=TEMPLATE,
    )


def encoder_tokenizer() -> PreTrainedTokenizerFast:
    """The same tokenizer with a token before and one behind each text."""
    made = tokenizer()
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    made.model_max_length = 512
    made.cls_token, made.sep_token = "<s>", "</s>"
    return made


def examples(split: str, count: int | None = None) -> list[Example]:
    """Examples of the sample corpus, again and again where more are asked for."""
    own = read_examples(SAMPLE / f"{split}.json")
    if count is None:
        return own
    repeated = itertools.islice(itertools.cycle(own), count)
    return [
        Example(f"{number}", example.text, example.spans) for number, example in enumerate(repeated)
    ]


def rows_of_tokens(rows: Sequence[dict[str, list[int]]], tokens: int) -> list[dict[str, list[int]]]:
    """The first of the repeated rows that have as many tokens together."""
    lengths = itertools.accumulate(len(row["input_ids"]) for row in itertools.cycle(rows))
    count = 1 + sum(1 for _ in itertools.takewhile(lambda total: total < tokens, lengths))
    return list(itertools.islice(itertools.cycle(rows), count))


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products of float32 in full precision, and deterministic kernels where there are any."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.use_deterministic_algorithms(False)
