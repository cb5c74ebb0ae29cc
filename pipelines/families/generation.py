"""Greedy generation of many answers at once: prompts of one length are read together, answers leave the batch when
they are done and others join it, grammars if given.

On a CPU one pass reads the next prompts and the last token of all answers that are being written: the products of
1,000 tokens hardly notice thirty more, which by themselves cost a reading of all weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from torch.nn.functional import pad
from tqdm.auto import tqdm
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import UserError
from pipelines.networks.cpu_attention import NAME, Part
from pipelines.networks.key_value_cache import RoomyLayer, keep_rows, roomy_cache

Grammar = Callable[[str], str | None]
# Where prompts are read by themselves: below so many rows, reading all weights for a step costs more than what each row
# costs by itself; above, copying keys and values when others join does (SmolLM2 in float32, on two cores).
ROWS_A_STEP = 32
# Where they are read together with answers: batches that are kept apart, for joining them copies their keys and values.
# 1, 2, 3 and 5 are equally fast, within the 3 % by which a machine wanders.
BATCHES_A_STEP = 2


@dataclass(slots=True)
class Answer:
    """Generated token ids without the end token, the log-probability of each (the end token's is the last, if there
    is one), and whether the model ended the answer itself."""

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], *,
             limits: Sequence[int], grammars: Sequence[Grammar | None] | None = None, batch_tokens: int = 1024,
             progress: bool = False) -> list[Answer]:
    """Generates greedily until the end token or the limit.

    `model.generate` would go on with every row of a batch until its longest answer is done. Here a row that is done
    leaves, and the next prompts are read beside the rest, or once few rows are left.

    Args:
        prompts: token ids of each prompt.
        limits: tokens that each answer may have.
        grammars: for each answer None, or a function from what is written so far to the llguidance grammar of the
            rest (None: go on with the one before). It is asked first about an empty answer.
        batch_tokens: prompt tokens, padding counted, of a batch.

    Returns:
        The answers, in the order of the prompts.
    """
    constraint = _constraint(tokenizer) if any(grammars or ()) else None
    answers = [Answer() for _ in prompts]
    running: list[_Batch] = []
    together = _reads_together(model)
    with (tqdm(total=len(prompts), unit="text", desc="generate", disable=not progress) as bar, torch.inference_mode(),
          _contiguous_last_position(model)):

        def step(batches: list[_Batch]) -> list[_Batch]:
            logits = _logits_together(model, batches) if together else [_logits(model, batch) for batch in batches]
            left = [_written(tokenizer, batch, scores, constraint)
                    for batch, scores in zip(batches, logits, strict=True)]
            bar.update(sum(len(batch.rows) for batch in batches) - sum(len(batch.rows) for batch in left))
            return [batch for batch in left if batch.rows]

        for numbers in _batches([len(prompt) for prompt in prompts], batch_tokens):
            given = [grammars[number] if grammars else None for number in numbers]
            rows = [_Row(answers[number], limits[number], grammar,
                         _matcher(constraint, grammar("") if grammar else None))
                    for number, grammar in zip(numbers, given, strict=True)]
            started = _started(model, rows, [prompts[number] for number in numbers], padding=tokenizer.pad_token_id)
            if together:
                running = _fewer(step([*running, started]), BATCHES_A_STEP)
                continue
            running = _fewer([*running, *step([started])], 1)
            # A cache that holds a window of each row (sliding attention) has no common last place to join at.
            fewest = ROWS_A_STEP if _all_roomy(started.cache) else 1
            while running and len(running[0].rows) >= fewest:
                running = step(running)
        while running:
            running = step(running)
    return answers


@dataclass(slots=True)
class _Row:
    """An answer that is being written."""

    answer: Answer
    limit: int
    grammar: Grammar | None
    matcher: LLMatcher | None


@dataclass(slots=True, eq=False)
class _Batch:
    """Answers that are written together.

    Attributes:
        ids: (B, T'), what the network reads next: the prompts, later the last token of each.
        mask: (B, T), 1 where there is a token, of all that is read and of `ids`; rows are padded on the left.
        cache: keys and values of what is read.
    """

    rows: list[_Row]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache


def _started(model: PreTrainedModel, rows: list[_Row], prompts: Sequence[Sequence[int]], *, padding: int) -> _Batch:
    width = max(map(len, prompts))
    ids = torch.tensor([[padding] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    return _Batch(rows, ids, mask, roomy_cache(model.config))


def _joined(batch: _Batch, other: _Batch) -> _Batch:
    """The rows of two batches that wait for their next token, in one; columns that all rows are done with are cut."""
    parts = [batch, other]
    used = [part.mask.shape[1] - int(part.mask.any(0).int().argmax()) for part in parts]      # columns, from the right
    width = max(used)
    cache = batch.cache
    layers: Any = zip(cache.layers, other.cache.layers, strict=True)
    for layer, others in layers:
        # The last column is still to be read.
        layer.resize([[layer.keys, others.keys], [layer.values, others.values]], like=(layer.keys, layer.values),
                     columns=width - 1)
    mask = torch.cat([pad(part.mask[:, part.mask.shape[1] - columns:], (width - columns, 0))
                      for part, columns in zip(parts, used, strict=True)])
    return _Batch([*batch.rows, *other.rows], torch.cat([batch.ids, other.ids]), mask, cache)


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


def _all_roomy(cache: DynamicCache) -> bool:
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def _reads_together(model: PreTrainedModel) -> bool:
    """Whether one pass can read several batches: attention keeps them apart, and all else sees one token at a time."""
    return model.config._attn_implementation == NAME and _all_roomy(roomy_cache(model.config))


def _fewer(batches: list[_Batch], most: int) -> list[_Batch]:
    """Joins batches, those first that together take the least memory, until there are no more than so many."""
    while len(batches) > most:
        pair = min(combinations(batches, 2), key=lambda pair: sum(len(batch.rows) for batch in pair)
                   * max(batch.mask.shape[1] for batch in pair))
        batches = [*(batch for batch in batches if batch not in pair), _joined(*pair)]
    return batches


def _positions(batch: _Batch) -> torch.Tensor:
    return (batch.mask.cumsum(1) - 1).clamp(min=0)[:, -batch.ids.shape[1]:]                  # (B, T')


def _logits(model: PreTrainedModel, batch: _Batch) -> torch.Tensor:
    """What comes next in each row, (B, V)."""
    return model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=_positions(batch),
                 past_key_values=batch.cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()


def _logits_together(model: PreTrainedModel, batches: Sequence[_Batch]) -> Sequence[torch.Tensor]:
    """What comes next in each row of each batch, (B, V), by one pass over the tokens of all."""
    lengths = [batch.ids.shape[1] for batch in batches for _ in batch.rows]
    last = torch.tensor(lengths, device=model.device).cumsum(0) - 1
    logits = model(input_ids=torch.cat([batch.ids.flatten() for batch in batches])[None],
                   position_ids=torch.cat([_positions(batch).flatten() for batch in batches])[None],
                   attention_mask=torch.empty(1, 1, 1, 1),  # of this shape none is made; each part has its own
                   use_cache=False, logits_to_keep=last, wanted=last,
                   parts=[Part(batch.mask, batch.ids.shape[1], batch.cache, dtype=model.dtype) for batch in batches])
    return logits.logits[0].float().split([len(batch.rows) for batch in batches])


def _written(tokenizer: PreTrainedTokenizerBase, batch: _Batch, logits: torch.Tensor,
             constraint: LLTokenizer | None) -> _Batch:
    """Writes the next token of each answer, given (B, V) logits, and gives the batch of those that go on."""
    _forbid(logits, [row.matcher for row in batch.rows])
    log_probabilities, tokens = logits.log_softmax(-1).max(-1)                                # (B,), (B,)
    kept = []
    for place, (row, token, log_probability) in enumerate(
            zip(batch.rows, tokens.tolist(), log_probabilities.tolist(), strict=True)):
        row.answer.log_probabilities.append(log_probability)
        if token == tokenizer.eos_token_id:
            row.answer.ended = True
            continue
        row.answer.ids.append(token)
        if row.matcher is not None and row.grammar is not None:
            row.matcher.consume_token(token)
            rest = row.grammar(str(tokenizer.decode(row.answer.ids)))
            row.matcher = _matcher(constraint, rest) or row.matcher
        if len(row.answer.ids) < row.limit:
            kept.append(place)
    mask = batch.mask
    if 0 < len(kept) < len(batch.rows):
        kept = keep_rows(batch.cache, kept, mask.device)
        tokens, mask = tokens[kept], mask[kept]
    return replace(batch, rows=[batch.rows[place] for place in kept], ids=tokens[:, None],
                   mask=torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1))


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
