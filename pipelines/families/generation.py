"""Greedy generation of many answers at once: sorted by length, finished ones leave the batch, grammars if given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from tqdm.auto import tqdm
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import UserError

Grammar = Callable[[str], str | None]


@dataclass(slots=True)
class Answer:
    """Generated token ids without the end token, the log-probability of each (the end token's is the last, if there
    is one), and whether the model ended the answer itself."""

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], *,
             limits: Sequence[int], grammars: Sequence[Grammar | None] | None = None, batch_tokens: int = 2048,
             progress: bool = False) -> list[Answer]:
    """Generates greedily until the end token or the limit.

    `model.generate` would go on with every row of a batch until its longest answer is done; here, rows that are done
    are taken out of the batch.

    Args:
        prompts: token ids of each prompt.
        limits: tokens that each answer may have.
        grammars: for each answer None, or a function from what is written so far to the llguidance grammar of the
            rest (None: go on with the one before). It is asked first about an empty answer.
        batch_tokens: prompt tokens, padding counted, of a batch.

    Returns:
        The answers, in the order of the prompts.
    """
    answers = [Answer() for _ in prompts]
    constraint = _constraint(tokenizer) if any(grammars or ()) else None
    with (tqdm(total=len(prompts), unit="text", desc="generate", disable=not progress) as bar, torch.inference_mode(),
          _contiguous_last_position(model)):
        for rows in _batches([len(prompt) for prompt in prompts], batch_tokens):
            _generate_batch(model, tokenizer, [prompts[row] for row in rows], [answers[row] for row in rows],
                            [limits[row] for row in rows], [grammars[row] if grammars else None for row in rows],
                            constraint)
            bar.update(len(rows))
    return answers


@contextmanager
def _contiguous_last_position(model: PreTrainedModel) -> Iterator[None]:
    """The last position of each row, (B, 1, H), is cut out of the states of all; of such a cut torch makes a batched
    product with a copy of the whole head for each row: half the time, and gigabytes."""
    head = model.get_output_embeddings().register_forward_pre_hook(lambda _, states: (states[0].contiguous(),))
    try:
        yield
    finally:
        head.remove()


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows of like length, the longest first, so that memory runs out at once or not at all."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if rows and lengths[rows[0]] * (len(rows) + 1) > batch_tokens:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _generate_batch(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]],
                    answers: list[Answer], limits: list[int], grammars: list[Grammar | None],
                    constraint: LLTokenizer | None) -> None:
    width = max(map(len, prompts))
    padding = tokenizer.pad_token_id
    ids = torch.tensor([[padding] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    cache = DynamicCache(config=model.config)
    matchers = [_matcher(constraint, grammar("") if grammar else None) for grammar in grammars]
    running = list(range(len(prompts)))
    while running:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1]:]                     # (B, T)
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                       use_cache=True, logits_to_keep=1).logits[:, -1].float()                # (B, V)
        _forbid(logits, [matchers[row] for row in running])
        log_probabilities, tokens = logits.log_softmax(-1).max(-1)                            # (B,), (B,)
        kept = []
        for place, (row, token, log_probability) in enumerate(
                zip(running, tokens.tolist(), log_probabilities.tolist(), strict=True)):
            answer, matcher, grammar = answers[row], matchers[row], grammars[row]
            answer.log_probabilities.append(log_probability)
            if token == tokenizer.eos_token_id:
                answer.ended = True
                continue
            answer.ids.append(token)
            if matcher is not None and grammar is not None:
                matcher.consume_token(token)
                matchers[row] = _matcher(constraint, grammar(str(tokenizer.decode(answer.ids)))) or matcher
            if len(answer.ids) < limits[row]:
                kept.append(place)
        if len(kept) < len(running):
            index = torch.tensor(kept, device=model.device, dtype=torch.long)
            running = [running[place] for place in kept]
            tokens, mask = tokens[index], mask[index]
            if running:
                cache.batch_select_indices(index)
        ids = tokens[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def _constraint(tokenizer: Any) -> LLTokenizer:
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("answers can be constrained only with a fast tokenizer; take --constrained false")
    return from_tokenizer(tokenizer, eos_token=tokenizer.eos_token_id)


def _matcher(constraint: LLTokenizer | None, grammar: str | None) -> LLMatcher | None:
    if constraint is None or grammar is None:
        return None
    matcher = LLMatcher(constraint, grammar)
    if matcher.is_error():
        raise UserError(f"the grammar of an answer cannot be used ({matcher.get_error()}); take --constrained false")
    return matcher


def _forbid(logits: torch.Tensor, matchers: Sequence[LLMatcher | None]) -> None:
    """Sets to minus infinity, in place, what the grammars do not admit; logits: (B, V)."""
    if not any(matchers):
        return
    bits = allocate_token_bitmask(len(matchers), logits.shape[1])                             # (B, V / 32)
    for row, matcher in enumerate(matchers):
        if matcher is not None and not matcher.is_error():
            fill_next_token_bitmask(matcher, bits, row)
    allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, :logits.shape[1]]
    logits.masked_fill_(torch.from_numpy(allowed == 0).to(logits.device), -torch.inf)
