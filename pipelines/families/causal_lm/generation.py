"""Greedy generation of many answers at once: prompts of one length are read together, answers leave the batch when
they are done and others join it, grammars if given.

On a CPU one pass reads the next prompts and the last token of all answers that are being written: the products of
1,000 tokens hardly notice thirty more, which by themselves cost a reading of all weights. What all prompts begin with,
as the instruction to a chat model, is read once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, chain, groupby, repeat, takewhile
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.cpu.attention import NAME, Part
from pipelines.cpu.key_value_cache import RoomyLayer, keep_rows, roomy_cache
from pipelines.cpu.key_value_slots import Beginning, LastTokens, Prompts, Slots
from pipelines.errors import UserError
from pipelines.families.causal_lm.control_tokens import MARK

Grammar = Callable[[str], str | None]
# Where prompts are read by themselves: below so many rows, reading all weights for a step costs more than what each row
# costs by itself; above, copying keys and values when others join does (SmolLM2 in float32, on two cores).
ROWS_A_STEP = 32
# Where they are read together with answers: prompts wait while so many answers, or more, are being written, for their
# keys and values take memory.
ROWS_AT_ONCE = 256


@dataclass(slots=True)
class Answer:
    """Generated token ids without the end token, the log-probability of each (the end token's is the last, if there
    is one), and whether the model ended the answer itself."""

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], *,
             limits: Sequence[int], grammars: Sequence[Grammar | None] | None = None, batch_tokens: int = 1024,
             advance: Callable[[int], object] = lambda count: None) -> list[Answer]:
    """Generates greedily until the end token or the limit.

    `model.generate` would go on with every row of a batch until its longest answer is done. Here a row that is done
    leaves, and the next prompts are read beside the rest, or once few rows are left.

    Args:
        prompts: token ids of each prompt.
        limits: tokens that each answer may have.
        grammars: for each answer None, or a function from what is written so far to the llguidance grammar of the
            rest (None: go on with the one before). It is asked first about an empty answer.
        batch_tokens: prompt tokens that are read at once, padding, where there is any, counted.
        advance: gets the number of answers that have just been finished.

    Returns:
        The answers, in the order of the prompts.
    """
    constraint = _constraint(tokenizer) if any(grammars or ()) else None
    rows = [_Row(list(prompt), Answer(), limit, grammar)
            for prompt, limit, grammar in zip(prompts, limits, grammars or [None] * len(prompts), strict=True)]
    # The longest first, so that memory runs out at once or not at all.
    waiting = sorted(rows, key=lambda row: -len(row.prompt))
    with torch.inference_mode(), _contiguous_last_position(model):

        def write(rows: Sequence[_Row], logits: torch.Tensor) -> list[int]:
            kept = _written(tokenizer, rows, logits, constraint)
            advance(len(rows) - len(kept))
            return kept

        if attends_to_all_before(model):
            _in_one_pass(model, waiting, write, batch_tokens)
        else:
            _in_turn(model, waiting, write, batch_tokens, padding=tokenizer.pad_token_id)
    return [row.answer for row in rows]


@dataclass(slots=True, eq=False)
class _Row:
    """An answer that is waiting or being written; `matcher` is that of its grammar, once it has begun."""

    prompt: list[int]
    answer: Answer
    limit: int
    grammar: Grammar | None
    matcher: LLMatcher | None = None


# Writes the next token of each row, given (B, V) logits: which of the rows go on.
Write = Callable[[Sequence[_Row], torch.Tensor], list[int]]


def _in_one_pass(model: PreTrainedModel, waiting: Sequence[_Row], write: Write, batch_tokens: int) -> None:
    """Each pass reads prompts and the last token of all rows that are being written.

    Attention keeps them apart, and all else in such a model sees one token at a time.
    """
    slots = Slots(model.config, dtype=model.dtype, shared=shared_tokens([row.prompt for row in waiting]))
    rows: list[_Row] = []
    places = torch.zeros(0, dtype=torch.long)  # slots of the rows
    while waiting or rows:
        lengths = (len(row.prompt) - slots.shared for row in waiting)
        count = _fitting(lengths, batch_tokens) if len(rows) < ROWS_AT_ONCE else 0
        new, waiting = waiting[:count], waiting[count:]
        places, taken, logits = read(model, slots, [row.prompt for row in new], [row.answer.ids[-1] for row in rows],
                                     places)
        rows, places = [*new, *rows], torch.cat([taken, places])
        kept = write(rows, logits)
        stay = torch.zeros(len(rows), dtype=torch.bool)
        stay[kept] = True
        slots.leave(places[~stay])
        rows, places = [rows[place] for place in kept], places[stay]


def read(model: PreTrainedModel, slots: Slots, prompts: Sequence[Sequence[int]], last: Sequence[int],
         places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One pass over B prompts and the last tokens of N rows.

    Args:
        prompts: token ids, the longest first. All begin with `slots.shared` tokens, which the first pass reads.
        last: (N,) token ids.
        places: (N,), the slots of the rows.

    Returns:
        (N,) and (B,) slots of the rows and of the prompts from now on, and what comes next in the prompts and in the
        rows, (B + N, V).
    """
    lengths = list(map(len, prompts))
    places, taken = slots.take(torch.tensor(lengths, dtype=torch.long), places)
    parts: list[Part] = [Prompts(slots, torch.stack([place for _, place in group]), length)
                         for length, group in groupby(zip(lengths, taken, strict=True), key=lambda pair: pair[0])]
    pieces = [prompt[slots.shared:] for prompt in prompts]
    beginning: Sequence[int] = []
    if slots.shared and not slots.beginning:
        beginning = prompts[0][:slots.shared]
        parts.insert(0, Beginning(slots))
    if last:
        parts.append(LastTokens(slots, places))
    ends = torch.tensor([*map(len, pieces), *[1] * len(last)]).cumsum(0) + len(beginning) - 1
    logits = model(input_ids=torch.tensor([[*beginning, *chain.from_iterable(pieces), *last]]),
                   position_ids=torch.cat([part.positions for part in parts])[None],
                   attention_mask=torch.empty(1, 1, 1, 1),  # of this shape none is made; each part has its own
                   use_cache=False, logits_to_keep=ends, wanted=ends, parts=parts).logits[0]
    return places, taken, logits.float()


def _in_turn(model: PreTrainedModel, waiting: Sequence[_Row], write: Write, batch_tokens: int, *,
             padding: int) -> None:
    """A pass reads prompts, or the last token of all rows; rows are padded on the left."""
    batch: _Batch | None = None
    while waiting or batch:
        # A cache that holds a window of each row (sliding attention) has no common last place to join at.
        if waiting and (batch is None or (len(batch.rows) < ROWS_A_STEP and _all_roomy(batch.cache))):
            count = _fitting(repeat(len(waiting[0].prompt), len(waiting)), batch_tokens)
            started = _step(model, _started(model, waiting[:count], padding=padding), write)
            waiting = waiting[count:]
            batch = _joined(batch, started) if batch and started else batch or started
        elif batch:
            batch = _step(model, batch, write)


@dataclass(slots=True, eq=False)
class _Batch:
    """Answers that are written together.

    Attributes:
        ids: (B, T'), what the network reads next: the prompts, later the last token of each.
        mask: (B, T), 1 where there is a token, of all that is read and of `ids`; rows are padded on the left.
        cache: keys and values of what is read.
    """

    rows: Sequence[_Row]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache


def _started(model: PreTrainedModel, rows: Sequence[_Row], *, padding: int) -> _Batch:
    width = max(len(row.prompt) for row in rows)
    gaps = [width - len(row.prompt) for row in rows]
    ids = [[padding] * gap + row.prompt for gap, row in zip(gaps, rows, strict=True)]
    mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
    return _Batch(rows, torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device),
                  roomy_cache(model.config))


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


def _step(model: PreTrainedModel, batch: _Batch, write: Write) -> _Batch | None:
    """Writes the next token of each row; the batch of those that go on, or None."""
    positions = (batch.mask.cumsum(1) - 1).clamp(min=0)[:, -batch.ids.shape[1]:]                  # (B, T')
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, position_ids=positions,
                   past_key_values=batch.cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
    kept = write(batch.rows, logits)
    if not kept:
        return None
    mask = batch.mask
    if len(kept) < len(batch.rows):
        kept = keep_rows(batch.cache, kept, mask.device)
        mask = mask[kept]
    rows = [batch.rows[place] for place in kept]
    return _Batch(rows, torch.tensor([[row.answer.ids[-1]] for row in rows], device=mask.device),
                  torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), batch.cache)


def shared_tokens(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, none of them to its end; 0 of a single one."""
    if len(prompts) < 2:
        return 0
    # All others sort between these two, and begin as they do.
    pairs = zip(min(prompts), max(prompts), strict=False)
    return min(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), min(map(len, prompts)) - 1)


def _fitting(lengths: Iterable[int], room: int) -> int:
    """How many of the first rows are read together: at least one, else as many as have so many tokens."""
    return max(1, sum(1 for _ in takewhile(lambda total: total <= room, accumulate(lengths))))


@contextmanager
def _contiguous_last_position(model: PreTrainedModel) -> Iterator[None]:
    """The last position of each row, (B, 1, H), is cut out of the states of all; of such a cut torch makes a batched
    product with a copy of the whole head for each row: half the time, and gigabytes."""
    head = model.get_output_embeddings().register_forward_pre_hook(lambda _, states: (states[0].contiguous(),))
    try:
        yield
    finally:
        head.remove()


def attends_to_all_before(model: PreTrainedModel) -> bool:
    """Whether each layer's attention is `grouped_attention`, and none sees a window only."""
    return model.config._attn_implementation == NAME and _all_roomy(roomy_cache(model.config))


def _all_roomy(cache: DynamicCache) -> bool:
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def _written(tokenizer: PreTrainedTokenizerBase, rows: Sequence[_Row], logits: torch.Tensor,
             constraint: LLTokenizer | None) -> list[int]:
    """Writes the next token of each row, given (B, V) logits: which of the rows go on."""
    for row in rows:
        if not row.answer.log_probabilities and row.grammar is not None:
            row.matcher = _matcher(constraint, row.grammar(""))
    _forbid(logits, [row.matcher for row in rows])
    log_probabilities, tokens = logits.log_softmax(-1).max(-1)                                # (B,), (B,)
    kept = []
    for place, (row, token, log_probability) in enumerate(
            zip(rows, tokens.tolist(), log_probabilities.tolist(), strict=True)):
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
    return kept


@lru_cache(maxsize=2)  # it takes up to a second for a large vocabulary
def _constraint(tokenizer: Any) -> LLTokenizer:
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("answers can be constrained only with a fast tokenizer; take --constrained false")
    backend = copy(tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    return LLTokenizer(_without_control_strings(backend.to_str()), eos_token=tokenizer.eos_token_id)


def _without_control_strings(tokenizer_json: str) -> str:
    """A tokenizer whose control tokens bear other names, so that a text that holds one is written in ordinary tokens.

    Where a grammar leaves no choice, its bytes are tokenised, and `</s>` in a mention would become the end token.
    """
    content = json.loads(tokenizer_json)
    names = {}
    for token in content["added_tokens"]:
        if token["special"]:
            names[token["content"]] = token["content"] = f"{MARK}{token['content']}"
    model = content["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): number for token, number in model["vocab"].items()}
    else:  # Unigram: tokens with their scores
        model["vocab"] = [[names.get(token, token), score] for token, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    return json.dumps(content)


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
