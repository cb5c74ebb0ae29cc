"""Grammars as constraints on the next token, by llguidance, which only they need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pipelines.errors import UserError
from pipelines.families.causal_lm.control_tokens import MARK

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer


@lru_cache(maxsize=2)  # it takes up to a second for a large vocabulary
def token_constraint(tokenizer: PreTrainedTokenizerBase) -> LLTokenizer:
    """The vocabulary of a tokenizer as llguidance needs it.

    Raises:
        UserError: for a tokenizer that is not a fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            "answers can be constrained only with a fast tokenizer; take --constrained false"
        )
    from llguidance import LLTokenizer

    backend = copy(tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    return LLTokenizer(_without_control_strings(backend.to_str()), eos_token=tokenizer.eos_token_id)


def _without_control_strings(tokenizer_json: str) -> str:
    """A tokenizer that reads its control strings as ordinary text.

    Where a grammar leaves no choice, its bytes are tokenised, and `</s>` in a mention would become
    the end token. So control tokens get other names.
    """
    content = json.loads(tokenizer_json)
    names = {}
    for token in content["added_tokens"]:
        if token["special"]:
            names[token["content"]] = token["content"] = f"{MARK}{token['content']}"
    model = content["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): id for token, id in vocabulary.items()}
    else:  # Unigram: tokens with their scores
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    return json.dumps(content)


def matcher_for(constraint: LLTokenizer | None, grammar: str | None) -> LLMatcher | None:
    """A matcher at the start of a grammar; None without a grammar.

    Raises:
        UserError: for a grammar that llguidance refuses.
    """
    if constraint is None or grammar is None:
        return None
    from llguidance import LLMatcher

    matcher = LLMatcher(constraint, grammar)
    if matcher.is_error():
        raise UserError(
            f"the grammar of an answer cannot be used ({matcher.get_error()}); "
            "take --constrained false"
        )
    return matcher


def forbid(logits: Tensor, matchers: Sequence[LLMatcher | None]) -> None:
    """Sets logits (B, V) of tokens that the grammars rule out to minus infinity, in place."""
    if not any(matchers):
        return
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

    bits = allocate_token_bitmask(len(matchers), logits.shape[1])  # (B, V / 32), all set
    constrained = [
        (matcher, row)
        for row, matcher in enumerate(matchers)
        if matcher is not None and not matcher.is_error()
    ]
    fill_next_token_bitmask_par(_executor(), constrained, bits)
    allowed = _unpacked(bits.view(np.uint8), logits.device)[:, : logits.shape[1]]
    logits.masked_fill_(allowed == 0, -torch.inf)


def _unpacked(packed: np.ndarray, device: torch.device) -> Tensor:
    """The bits (B, 8 N) of bytes (B, N), the lowest first; a GPU is sent the bytes."""
    if device.type == "cpu":  # where numpy is faster
        return torch.from_numpy(np.unpackbits(packed, axis=1, bitorder="little"))
    return bits_of(torch.from_numpy(packed).to(device))


def bits_of(packed: Tensor) -> Tensor:
    """The bits (B, 8 N) of bytes (B, N), the lowest first, on their device."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return packed[..., None].bitwise_right_shift(shifts).bitwise_and(1).flatten(1)


@cache
def _executor() -> LLExecutor:
    """Threads that look up the next tokens of several grammars at a time."""
    from llguidance import LLExecutor

    return LLExecutor()
