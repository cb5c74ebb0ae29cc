"""Generation of many answers at once, greedy or sampled, with or without grammars.

Prompts of one length are read together, an answer leaves the batch when it is done, and others
join it. On a CPU one pass reads prompts and running answers (`cpu.one_pass`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.cpu import one_pass
from pipelines.families.causal_lm.constraints import forbid, matcher_for, token_constraint
from pipelines.families.causal_lm.sampling import draw, random_numbers
from pipelines.networks.key_value_cache import is_preallocated, keep_rows, preallocated_cache

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

Grammar = Callable[[str], str | None]
# While fewer rows are running, the next prompts are read: reading all weights for a step then costs
# more than the rows do. With more rows, copying their keys and values when others join costs more
# (SmolLM2 in float32, on two cores). A GPU takes as long to start the kernels of one row as of
# hundreds (an assumption, not measured).
ROWS_A_STEP = {"cpu": 32, "cuda": 256}


@dataclass(slots=True)
class Answer:
    """A generated answer.

    Attributes:
        ids: its token ids, without the end token.
        log_probabilities: of each token, and at the end of the end token if there is one.
        ended: whether the model ended the answer itself.
    """

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    limits: Sequence[int],
    grammars: Sequence[Grammar | None] | None = None,
    batch_tokens: int = 1024,
    advance: Callable[[int], object] = lambda count: None,
) -> list[Answer]:
    """Generates greedily until the end token or the limit.

    `model.generate` continues every row of a batch until its longest answer is done. Here a row
    that is done leaves, and the next prompts are read beside the rest, or once few rows are left.

    Args:
        model: a causal language model.
        tokenizer: the model's.
        prompts: token ids of each prompt.
        limits: at most this many tokens for each answer.
        grammars: for each answer None, or a function from the text so far to the llguidance grammar
            of the rest (None: continue with the one before). Its first call gets an empty text.
        batch_tokens: prompt tokens that are read at once, padding included.
        advance: called with the number of answers that have just been finished.

    Returns:
        The answers, in the order of the prompts.

    Raises:
        UserError: when a grammar or the tokenizer cannot constrain answers.
    """
    answers = generate_samples(
        model,
        tokenizer,
        prompts,
        limits=limits,
        grammars=grammars,
        batch_tokens=batch_tokens,
        advance=advance,
    )
    return [greedy for greedy, *_ in answers]


def generate_samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    limits: Sequence[int],
    grammars: Sequence[Grammar | None] | None = None,
    samples: int = 0,
    temperature: float = 1.0,
    batch_tokens: int = 1024,
    advance: Callable[[int], object] = lambda count: None,
) -> list[list[Answer]]:
    """Generates an answer greedily, and others by sampling each token (ancestral sampling).

    A prompt is read once for all its answers. The random numbers of a sample depend on its prompt
    and its number alone, so it is the same in any batch, but for rounding.

    Args:
        samples: S, how many answers to each prompt are sampled.
        temperature: of the samples: they are drawn from softmax(logits / temperature), of the
            tokens that the grammar admits.

    The other arguments, and what is raised, are those of `generate`.

    Returns:
        For each prompt, in their order, S + 1 answers: the greedy one, then the samples.
    """
    constraint = token_constraint(tokenizer) if any(grammars or ()) else None
    copies = samples + 1
    rows: list[_Row] = []
    for prompt, limit, grammar in zip(
        prompts, limits, grammars or [None] * len(prompts), strict=True
    ):
        ids = list(prompt)
        rows.append(_Row(ids, Answer(), limit, grammar))
        for number in range(samples):
            rows.append(_Row(ids, Answer(), limit, grammar, random_numbers(ids, number)))
    # The longest first, so that memory runs out at once or not at all; rows of one prompt stay
    # together.
    waiting = sorted(rows, key=lambda row: -len(row.prompt))

    def write(rows: Sequence[_Row], logits: Tensor) -> list[int]:
        kept = _append_tokens(tokenizer, rows, logits, constraint, temperature)
        advance(len(rows) - len(kept))
        return kept

    with torch.inference_mode(), contiguous_last_positions(model):
        if one_pass.can_read_in_one_pass(model):
            one_pass.generate_in_one_pass(model, waiting, write, batch_tokens, copies=copies)
        else:
            _generate_in_turn(
                model, waiting, write, batch_tokens, copies=copies, padding=tokenizer.pad_token_id
            )
    answers = [row.answer for row in rows]
    return [answers[start : start + copies] for start in range(0, len(answers), copies)]


@dataclass(slots=True, eq=False)
class _Row:
    """An answer that is waiting or running; it gets its grammar's `matcher` when it starts.

    Attributes:
        random: draws its tokens; None where it takes the likeliest ones.
    """

    prompt: list[int]
    answer: Answer
    limit: int
    grammar: Grammar | None
    random: Random | None = None
    matcher: LLMatcher | None = None

    @property
    def tokens(self) -> list[int]:
        return self.answer.ids


# Appends the next token to each row, given logits (B, V): the indices of the rows that go on.
Write = Callable[[Sequence[_Row], Tensor], list[int]]


def _generate_in_turn(
    model: PreTrainedModel,
    waiting: Sequence[_Row],
    write: Write,
    batch_tokens: int,
    *,
    copies: int,
    padding: int,
) -> None:
    """A pass reads prompts, or the last token of all rows; rows are padded on the left.

    Args:
        copies: how many rows each prompt has, one behind the other; it is read once for them.
    """
    batch: _Batch | None = None
    most = ROWS_A_STEP.get(model.device.type, 32)
    while waiting or batch:
        # Where a layer's cache holds a window of each row, rows have no common last column.
        can_join = batch is None or (len(batch.rows) < most and is_preallocated(batch.cache))
        if waiting and can_join:
            lengths = repeat(len(waiting[0].prompt), len(waiting) // copies)
            count = one_pass.fitting(lengths, batch_tokens)
            if copies > 1:
                count = min(count, max(1, most // copies))
            new, waiting = waiting[: count * copies], waiting[count * copies :]
            started = _step(model, _start(model, new, copies=copies, padding=padding), write)
            batch = _join(batch, started) if batch and started else batch or started
        elif batch:
            batch = _step(model, batch, write)


@dataclass(slots=True, eq=False)
class _Batch:
    """Answers that are written together.

    Attributes:
        rows: B of them; before the prompts are read, several for each of B prompts.
        ids: (B, T'), what the network reads next: the prompts, later the last token of each.
        mask: (B, T), 1 where there is a token, of all that was read and of `ids`; padded on the
            left.
        cache: keys and values of what was read.
    """

    rows: Sequence[_Row]
    ids: Tensor
    mask: Tensor
    cache: DynamicCache


def _start(model: PreTrainedModel, rows: Sequence[_Row], *, copies: int, padding: int) -> _Batch:
    prompts = [row.prompt for row in rows[::copies]]
    width = max(map(len, prompts))
    gaps = [width - len(prompt) for prompt in prompts]
    ids = [[padding] * gap + prompt for gap, prompt in zip(gaps, prompts, strict=True)]
    mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
    return _Batch(
        rows,
        torch.tensor(ids, device=model.device),
        torch.tensor(mask, device=model.device),
        preallocated_cache(model.config),
    )


def _join(batch: _Batch, other: _Batch) -> _Batch:
    """The rows of two batches in one; columns in which no row has a token are cut."""
    masks = [batch.mask, other.mask]
    used = [mask.shape[1] - int(mask.any(0).int().argmax()) for mask in masks]  # from the right
    width = max(used)
    cache = batch.cache
    layers: Any = zip(cache.layers, other.cache.layers, strict=True)
    for layer, other_layer in layers:
        layer.stack([layer, other_layer], columns=width - 1)  # the last column is still to be read
    aligned = [
        pad(mask[:, mask.shape[1] - columns :], (width - columns, 0))
        for mask, columns in zip(masks, used, strict=True)
    ]
    ids = torch.cat([batch.ids, other.ids])  # (B, 1)
    mask = torch.cat(aligned)  # (B, T)
    return _Batch([*batch.rows, *other.rows], ids, mask, cache)


def _step(model: PreTrainedModel, batch: _Batch, write: Write) -> _Batch | None:
    """Writes the next token of each row; the batch of those that go on, or None."""
    positions = (batch.mask.cumsum(1) - 1).clamp(min=0)[:, -batch.ids.shape[1] :]  # (B, T')
    outputs = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=positions,
        past_key_values=batch.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits, mask = outputs.logits[:, -1].float(), batch.mask  # (B, V), (B, T)
    copies = len(batch.rows) // len(batch.ids)
    if copies > 1:  # of prompts that were read once for several rows
        logits, mask = logits.repeat_interleave(copies, 0), mask.repeat_interleave(copies, 0)
        batch.cache.batch_repeat_interleave(copies)
    kept = write(batch.rows, logits)
    if not kept:
        return None
    if len(kept) < len(batch.rows):
        kept = keep_rows(batch.cache, kept, mask.device)
        mask = mask[kept]
    rows = [batch.rows[index] for index in kept]
    ids = torch.tensor([[row.tokens[-1]] for row in rows], device=mask.device)  # (B, 1)
    return _Batch(rows, ids, torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), batch.cache)


@contextmanager
def contiguous_last_positions(model: PreTrainedModel) -> Iterator[None]:
    """Copies the last positions of each row, (B, 1, H), before they go into the head.

    Of a view into the states of all positions torch makes a batched matmul, with a copy of the
    whole head for each row: twice the time, and gigabytes.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, states: (states[0].contiguous(),))
    try:
        yield
    finally:
        hook.remove()


def _append_tokens(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[_Row],
    logits: Tensor,
    constraint: LLTokenizer | None,
    temperature: float,
) -> list[int]:
    """Appends the next token to each row, given logits (B, V): indices of the rows that go on."""
    for row in rows:
        if not row.answer.log_probabilities and row.grammar is not None:
            row.matcher = matcher_for(constraint, row.grammar(""))
    forbid(logits, [row.matcher for row in rows])
    log_probabilities = logits.log_softmax(-1)  # (B, V)
    values, ids = log_probabilities.max(-1)  # (B,), (B,)
    points = {i: row.random.random() for i, row in enumerate(rows) if row.random is not None}
    if points:
        sampled = torch.tensor(list(points), device=logits.device)  # (S,)
        ids[sampled] = draw(logits[sampled], list(points.values()), temperature)
        values[sampled] = log_probabilities[sampled, ids[sampled]]
    # Both in one tensor, since each reading waits for a GPU: float32 holds ids up to 16 million.
    best = torch.stack([values, ids.to(values.dtype)]).tolist()  # (2, B)
    kept = []
    for index, (row, log_probability, id) in enumerate(zip(rows, *best, strict=True)):
        token = int(id)
        row.answer.log_probabilities.append(log_probability)
        if token == tokenizer.eos_token_id:
            row.answer.ended = True
            continue
        row.answer.ids.append(token)
        if row.matcher is not None and row.grammar is not None:
            row.matcher.consume_token(token)
            rest = row.grammar(str(tokenizer.decode(row.answer.ids)))
            row.matcher = matcher_for(constraint, rest) or row.matcher
        if len(row.answer.ids) < row.limit:
            kept.append(index)
    return kept
