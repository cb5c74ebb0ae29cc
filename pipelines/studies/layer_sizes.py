"""The sizes of a transformer layer: given one by one, or those of a model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, BertConfig, DistilBertConfig, LlamaConfig, PreTrainedConfig

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.families import sequence_classifier, token_tagger  # noqa: F401
from pipelines.families.causal_lm.loading import base_of
from pipelines.networks import weights
from pipelines.runs.run import Run

# Model types whose layers run the same modules under the same names.
ENCODER_KINDS = ("distilbert", "bert", "roberta", "electra")
KINDS = (*ENCODER_KINDS, "llama", "mistral")
ARCHITECTURES = ("distilbert", "bert", "llama")  # those that can be built from sizes alone
FROM_SIZES = "from_sizes"  # an attribute of a config that is no checkpoint's
MOST_NUMBERS = 2**62  # of a tensor: torch counts them in 64 bits


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the shapes in a layer depend on.

    Attributes:
        B, T: texts of a batch and tokens of each.
        H: width of the states between layers.
        A: heads of the queries.
        K: heads of keys and values; fewer than A in grouped-query attention.
        d: width of a head.
        F: width of the feed-forward network.
    """

    B: int
    T: int
    H: int
    A: int
    K: int
    d: int
    F: int

    def value(self, formula: str) -> int:
        """The value of a sum of products, such as `H·H + H`."""
        terms = formula.split(" + ")
        return sum(math.prod(self._factor(name) for name in term.split("·")) for term in terms)

    def _factor(self, name: str) -> int:
        return int(name) if name.isdecimal() else getattr(self, name)


def config_from_sizes(
    architecture: str,
    *,
    hidden: int,
    heads: int,
    kv_heads: int | None = None,
    intermediate: int | None = None,
    dropout: float = 0.1,
) -> PreTrainedConfig:
    """The config of a model with these sizes.

    Args:
        architecture: one of `ARCHITECTURES`.
        hidden, heads, kv_heads, intermediate: H, A, K (by default A) and F (by default 4 · H).
        dropout: the probability of each dropout that the architecture has.

    Raises:
        UserError: for sizes that no such layer has, all in one line.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    intermediate = 4 * hidden if intermediate is None else intermediate
    sizes = {"hidden": hidden, "heads": heads, "kv_heads": kv_heads, "intermediate": intermediate}
    faults = [f"--{name} {size}: wanted at least 1" for name, size in sizes.items() if size < 1]
    if architecture not in ARCHITECTURES:
        faults.append(f"--architecture {architecture}: wanted {', '.join(ARCHITECTURES)}")
    if not 0 <= dropout < 1:
        faults.append(f"--dropout {dropout:g}: wanted 0 or more and less than 1")
    if not faults:
        faults = _misfits(architecture, hidden, heads, kv_heads)
    if faults:
        raise UserError("; ".join(faults))
    common: JsonObject = {"vocab_size": 8, "pad_token_id": 0, FROM_SIZES: True}
    if architecture == "distilbert":
        return DistilBertConfig(
            dim=hidden,
            n_heads=heads,
            hidden_dim=intermediate,
            dropout=dropout,
            attention_dropout=dropout,
            n_layers=1,
            **common,
        )
    common |= {"hidden_size": hidden, "num_attention_heads": heads, "num_hidden_layers": 1}
    common |= {"intermediate_size": intermediate}
    if architecture == "llama":
        return LlamaConfig(num_key_value_heads=kv_heads, attention_dropout=dropout, **common)
    common |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertConfig(**common)


def _misfits(architecture: str, hidden: int, heads: int, kv_heads: int) -> list[str]:
    """What is wrong with sizes that are all 1 or more."""
    faults = []
    if hidden % heads:
        faults.append(
            f"--hidden {hidden} does not divide into --heads {heads}: each head has hidden / heads "
            "units; wanted a multiple"
        )
    if architecture != "llama" and kv_heads != heads:
        faults.append(f"--kv_heads {kv_heads}: only llama has fewer heads of keys and values")
    elif heads % kv_heads:
        faults.append(f"--kv_heads {kv_heads}: wanted a divisor of --heads {heads}")
    if architecture == "llama" and not hidden % heads and hidden // heads % 2:
        faults.append(
            f"--hidden {hidden} over --heads {heads} gives heads of {hidden // heads} units; "
            "llama rotates pairs of them, so wanted an even number"
        )
    return faults


def sizes_of(config: PreTrainedConfig, *, batch: int, tokens: int) -> Sizes:
    """B and T with the sizes of a config.

    Raises:
        UserError: for sizes below 1, more tokens than the model has positions for, or tensors that
            torch cannot count.
    """
    faults = []
    for name, size in (("batch", batch), ("tokens", tokens)):
        if size < 1:
            faults.append(f"--{name} {size}: wanted at least 1")
    known: Any = config
    heads, hidden = known.num_attention_heads, known.hidden_size
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or hidden // heads
    wide = known.hidden_dim if config.model_type == "distilbert" else known.intermediate_size
    sizes = Sizes(batch, tokens, hidden, heads, kv_heads, width, wide)
    largest = max(map(sizes.value, ("B·A·T·T", "B·T·F", "B·T·A·d", "H·F")))
    if largest > MOST_NUMBERS:
        faults.append(f"a tensor of {largest:.3g} numbers; wanted smaller sizes")
    if faults:
        raise UserError("; ".join(faults))
    return sizes


def has_bias(config: PreTrainedConfig, name: str) -> bool:
    """Whether an option of Llama's, `attention_bias` or `mlp_bias`, is on."""
    return bool(getattr(config, name, False))


def room_for(config: PreTrainedConfig, tokens: int) -> None:
    """Gives a config that is no checkpoint's as many positions as there are tokens.

    Raises:
        UserError: when a checkpoint has learnt fewer positions.
    """
    known: Any = config
    positions = known.max_position_embeddings
    if config.model_type == "roberta":
        positions -= (known.pad_token_id or 0) + 1  # numbered from the one after padding
    if config.model_type not in ENCODER_KINDS or tokens <= positions:
        return
    if not getattr(config, FROM_SIZES, False):
        raise UserError(
            f"got --tokens {tokens}; this {config.model_type} has {positions} positions"
        )
    known.max_position_embeddings = tokens


def config_of_model(name: str) -> PreTrainedConfig:
    """The config of the transformer in a run, a model folder, or a model by name.

    Of a tagger or classifier of ours on top of an encoder it is the encoder's; of an adapter, its
    base model's.

    Raises:
        UserError: when it could not be loaded, or has no transformer.
    """
    path = Path(name).expanduser()
    folder = path
    if path.is_dir() and not (path / "config.json").is_file():
        folder = Run.open(path).model_folder()[1]
    prompt = folder / "prompt.json"
    if prompt.is_file() and not (folder / "config.json").is_file():
        name = base_of(json.loads(prompt.read_text(encoding="utf-8")), folder)
    elif path.is_dir():
        name = str(folder)
    try:
        config: Any = AutoConfig.from_pretrained(weights.resolve(name), trust_remote_code=False)
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(name, error) from error
    while inner := getattr(config, "member", None) or getattr(config, "encoder", None):
        config = inner
    if config.model_type not in KINDS:
        raise UserError(
            f"{name}: the layers of a {config.model_type} are not known; wanted a model of one of "
            f"the types {', '.join(KINDS)}"
        )
    return config
