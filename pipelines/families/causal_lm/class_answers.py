"""The class or classes of a text from a causal language model: probabilities of all answers.

No answer is generated. One pass reads a prompt and the names of all classes behind it, each of
which attends to the prompt and to itself, so that every answer is among the classes, and each class
has the probability that the model would answer with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import UserError
from pipelines.examples import Example, Prediction
from pipelines.families.batching import progress_bar
from pipelines.families.causal_lm.control_tokens import text_ids
from pipelines.families.causal_lm.generation import contiguous_last_positions
from pipelines.families.causal_lm.loading import Loaded, most_tokens
from pipelines.families.causal_lm.prompt_tokens import (
    ClassPieces,
    Prompt,
    class_answer_ids,
    class_pieces,
    prompt_ids,
)
from pipelines.formatting import some
from pipelines.prompting.class_formats import render_classes
from pipelines.prompting.prompts import Shot

MOST_TREE_TOKENS = 256  # of names that are read behind a prompt at once
logger = logging.getLogger(__name__)


class Continuation(NamedTuple):
    """What may follow a prompt, and the tokens of which one must follow it in turn."""

    ids: list[int]
    ends: list[int]


class Fitted(NamedTuple):
    """Prompts that are at most as long as asked.

    Attributes:
        prompts: token ids of each.
        cut: ids of the examples that lost the end of their text.
    """

    prompts: list[list[int]]
    cut: list[str]


def predict_classes(
    loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int = 1024, progress: bool = True
) -> list[Prediction]:
    """The classes of each example, with the probability of each class.

    Of one class a text: P(answer) over all answers, normalised. Of several: the answer names them
    in the order of the labels, and the score of a class is the probability that it comes next,
    given those before it in the answer and that none is left out before it. It is in the answer
    where that is 0.5 or more.

    Args:
        batch_tokens: at most this many tokens at a time, padding included.
        progress: show a bar on a terminal.
    """
    prompt = loaded.prompt
    pieces = class_pieces(loaded.tokenizer, prompt)
    shots = loaded.shots.nearest(examples, prompt.shots) if loaded.shots else None
    fitted = fitting_prompts(loaded, examples, pieces, shots)
    if fitted.cut:
        logger.warning(
            "%d texts are cut at the end, to %d tokens with prompt and answer: %s",
            len(fitted.cut),
            most_of(loaded),
            some(fitted.cut),
        )
    decide = _scores_of_several if prompt.format == "classes" else _scores_of_one
    with progress_bar(len(examples), "classifying", show=progress) as bar:
        scores = decide(loaded, fitted.prompts, pieces, batch_tokens, bar.update)
    return [
        _prediction(example, row, prompt) for example, row in zip(examples, scores, strict=True)
    ]


def most_of(loaded: Loaded) -> int:
    """Tokens of prompt and answer at most."""
    context = most_tokens(loaded.model.config)
    return min(context, loaded.prompt.max_length or context)


def fitting_prompts(
    loaded: Loaded,
    examples: Sequence[Example],
    pieces: ClassPieces,
    shots: Sequence[Sequence[Shot]] | None,
) -> Fitted:
    """Prompts that leave room for the longest answer: shots are dropped first, then text is cut."""
    most = most_of(loaded) - longest_answer(pieces, loaded.prompt)
    return fit(loaded.tokenizer, loaded.prompt, examples, shots, most=most)


def longest_answer(pieces: ClassPieces, prompt: Prompt) -> int:
    """The number of tokens of the longest answer."""
    classes = range(len(prompt.labels))
    if prompt.format == "classes":
        return max(len(class_answer_ids(pieces, classes)), len(class_answer_ids(pieces, [])))
    return max(len(class_answer_ids(pieces, [index])) for index in classes)


def fit(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    examples: Sequence[Example],
    shots: Sequence[Sequence[Shot]] | None = None,
    *,
    most: int,
) -> Fitted:
    """Prompts of at most `most` tokens; the farthest shots go first, then the ends of texts.

    Raises:
        UserError: when not even a prompt without a text fits.
    """
    prompts, cut = [], []
    for index, example in enumerate(examples):
        own = list(shots[index]) if shots else []
        ids = prompt_ids(tokenizer, example.text, prompt, pair=example.pair, shots=own)
        while own and len(ids) > most:
            own = own[1:]
            ids = prompt_ids(tokenizer, example.text, prompt, pair=example.pair, shots=own)
        if len(ids) > most:
            ids = _cut(tokenizer, prompt, example, ids, most)
            cut.append(example.id)
        if len(ids) > most:
            raise UserError(
                f"the prompt has {len(ids)} tokens without a text, and {most} fit beside the "
                f"longest answer, with {len(prompt.labels)} classes; raise --max_length, take "
                "--prompt_style plain, or a model with a longer context"
            )
        prompts.append(ids)
    return Fitted(prompts, cut)


def _cut(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, example: Example, ids: list[int], most: int
) -> list[int]:
    """The prompt `ids` of a text without the text's end; of two texts the longer one loses it."""
    parts = [example.text, *([example.pair] if example.pair is not None else [])]
    while len(ids) > most and any(parts):
        longer = max(range(len(parts)), key=lambda index: len(parts[index]))
        kept = text_ids(tokenizer, parts[longer], add_special_tokens=False)[: most - len(ids)]
        shorter = str(tokenizer.decode(kept)) if kept else ""
        # Some tokenizers do not give a text back to the letter; its beginning is as long.
        parts[longer] = parts[longer][: min(len(shorter), len(parts[longer]) - 1)]
        pair = parts[1] if len(parts) > 1 else None
        ids = prompt_ids(tokenizer, parts[0], prompt, pair=pair)
    return ids


def _scores_of_one(
    loaded: Loaded,
    prompts: Sequence[list[int]],
    pieces: ClassPieces,
    batch_tokens: int,
    advance: Callable[[int], object],
) -> np.ndarray:
    """(N, C) probabilities of the classes, normalised over them."""
    answers = [Continuation(ids, pieces.end[:1]) for ids in pieces.first]
    log_probabilities = continuation_log_probabilities(
        loaded.model, prompts, answers, batch_tokens=batch_tokens, advance=advance
    )
    if len(prompts):
        mass = log_probabilities.exp().sum(1).mean()
        logger.info("the model gives the classes %.0f %% of its probability", 100 * float(mass))
    return log_probabilities.softmax(1).numpy()


def _scores_of_several(
    loaded: Loaded,
    prompts: Sequence[list[int]],
    pieces: ClassPieces,
    batch_tokens: int,
    advance: Callable[[int], object],
) -> np.ndarray:
    """(N, C) probabilities of each class, given what is answered before it."""
    classes = range(len(pieces.first))
    scores = np.zeros((len(prompts), len(classes)))
    chosen: list[list[int]] = [[] for _ in prompts]
    open_rows = list(range(len(prompts)))
    ends = [pieces.end[0], *{ids[0] for ids in pieces.later}]
    while open_rows:
        going_on = []
        for later in (False, True):
            rows = [row for row in open_rows if bool(chosen[row]) == later]
            names = pieces.later if later else pieces.first
            stop = Continuation([] if later else pieces.none, pieces.end[:1])
            options = [*(Continuation(ids, ends) for ids in names), stop]
            so_far = [prompts[row] + _written(pieces, chosen[row]) for row in rows]
            log_probabilities = continuation_log_probabilities(
                loaded.model, so_far, options, batch_tokens=batch_tokens
            )
            for row, values in zip(rows, log_probabilities.exp().numpy(), strict=True):
                start = chosen[row][-1] + 1 if chosen[row] else 0
                index = _next_class(values, start, scores[row])
                if index is not None:
                    chosen[row].append(index)
                if index is not None and index + 1 < len(classes):
                    going_on.append(row)
                else:
                    advance(1)
        open_rows = going_on
    return scores


def _written(pieces: ClassPieces, indices: Sequence[int]) -> list[int]:
    return class_answer_ids(pieces, indices)[: -len(pieces.end)] if indices else []


def _next_class(values: np.ndarray, start: int, scores: np.ndarray) -> int | None:
    """Writes the scores of the classes from `start` to the next one chosen, which it returns.

    Args:
        values: (C + 1,) probabilities of each class as the next one, and of the end.
        scores: (C,), changed in place.
    """
    remaining = values[start:].sum()
    for index in range(start, len(values) - 1):
        scores[index] = values[index] / remaining if remaining > 0 else 0.0
        if scores[index] >= 0.5:
            return index
        remaining -= values[index]
    return None


def _prediction(example: Example, scores: np.ndarray, prompt: Prompt) -> Prediction:
    labels = prompt.labels
    # Beyond these digits, scores change with the size of the batch.
    by_class = {label: round(float(s), 6) for label, s in zip(labels, scores, strict=True)}
    if prompt.format == "classes":
        several = tuple(label for label in labels if by_class[label] >= 0.5)
        return Prediction(
            example.id, label=several, scores=by_class, raw=render_classes(several), status="ok"
        )
    best = max(labels, key=by_class.__getitem__)
    return Prediction(
        example.id, label=best, scores=by_class, raw=render_classes([best]), status="ok"
    )


def continuation_log_probabilities(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    continuations: Sequence[Continuation],
    *,
    batch_tokens: int = 1024,
    advance: Callable[[int], object] = lambda count: None,
) -> Tensor:
    """(N, K) log-probabilities of K continuations of each of N prompts.

    log P(c_1 … c_n | prompt) + log Σ_e P(e | prompt, c_1 … c_n), over the tokens e that may come
    after it. A batch reads prompts, padded on the left, with all continuations behind them.
    """
    result = torch.zeros(len(prompts), len(continuations))
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    trees = list(_trees(continuations))
    width = max((len(tree.ids) for tree, _ in trees), default=0)
    with torch.inference_mode(), contiguous_last_positions(model):
        while order:
            row_tokens = len(prompts[order[0]]) + width
            batch = order[: max(1, batch_tokens // row_tokens)]
            order = order[len(batch) :]
            for tree, columns in trees:
                part = _read(model, [prompts[index] for index in batch], tree)
                result[torch.tensor(batch)[:, None], torch.tensor(columns)] = part.cpu()
            advance(len(batch))
    return result


class _Tree(NamedTuple):
    """Continuations side by side, as M tokens behind a prompt.

    Attributes:
        ids: (M,) token ids.
        depths: (M,) the position of each, counted from the end of the prompt.
        owners: (M,) the continuation of each.
        parents: (M,) where each is predicted: 0 at the end of the prompt, i + 1 at token i.
        last: (K,) where the end of each continuation is predicted, counted likewise.
        ends: of each continuation, the tokens of which one must follow.
    """

    ids: list[int]
    depths: list[int]
    owners: list[int]
    parents: list[int]
    last: list[int]
    ends: list[list[int]]


def _trees(continuations: Sequence[Continuation]) -> Iterator[tuple[_Tree, list[int]]]:
    """Trees of a bounded number of tokens, each with the indices of its continuations."""
    tree, columns = _Tree([], [], [], [], [], []), list[int]()
    for column, continuation in enumerate(continuations):
        if columns and len(tree.ids) + len(continuation.ids) > MOST_TREE_TOKENS:
            yield tree, columns
            tree, columns = _Tree([], [], [], [], [], []), []
        for depth, id in enumerate(continuation.ids):
            tree.parents.append(len(tree.ids) if depth else 0)
            tree.ids.append(id)
            tree.depths.append(depth)
            tree.owners.append(len(columns))
        tree.last.append(len(tree.ids) if continuation.ids else 0)
        tree.ends.append(continuation.ends)
        columns.append(column)
    if columns:
        yield tree, columns


def _read(model: PreTrainedModel, prompts: Sequence[list[int]], tree: _Tree) -> Tensor:
    """(B, K) log-probabilities of the continuations of a tree after B prompts."""
    device, width, count = model.device, max(map(len, prompts)), len(tree.ids)
    gaps = torch.tensor([width - len(prompt) for prompt in prompts], device=device)  # (B,)
    ids = torch.tensor(
        [[0] * (width - len(prompt)) + prompt + tree.ids for prompt in prompts], device=device
    )  # (B, T)
    depths = torch.tensor(tree.depths, dtype=torch.long, device=device)
    columns = torch.cat([torch.arange(width, device=device), width + depths])  # (T,)
    positions = (columns - gaps[:, None]).clamp(min=0)  # (B, T)
    # At least the last token of the prompt and all of the tree: (B, 1 + M, V)
    logits = model(
        input_ids=ids,
        attention_mask=_mask(gaps, width, tree.owners, model.dtype),
        position_ids=positions,
        use_cache=False,
        logits_to_keep=count + 1,
    ).logits.float()
    log_probabilities = logits.log_softmax(-1)
    total = logits.new_zeros(len(prompts), len(tree.last))  # (B, K)
    if count:
        parents = torch.tensor(tree.parents, device=device)
        each = log_probabilities[:, parents, torch.tensor(tree.ids, device=device)]  # (B, M)
        total.index_add_(1, torch.tensor(tree.owners, device=device), each)
    for column, (last, ends) in enumerate(zip(tree.last, tree.ends, strict=True)):
        total[:, column] += log_probabilities[:, last, ends].logsumexp(-1)
    return total


def _mask(gaps: Tensor, width: int, owners: Sequence[int], dtype: torch.dtype) -> Tensor:
    """(B, 1, T, T), 0 where a token attends to another, else the least number.

    Tokens of a continuation attend to the prompt and to those before them in the continuation.
    """
    length = width + len(owners)
    index = torch.arange(length, device=gaps.device)
    of = torch.tensor([-1] * width + list(owners), device=gaps.device)  # (T,)
    seen = (of == -1)[None, :] | (of[:, None] == of[None, :])  # (T, T)
    seen = seen & (index[None, :] <= index[:, None])
    visible = seen & (index >= gaps[:, None])[:, None, :]  # (B, T, T)
    mask = torch.zeros(visible.shape, dtype=dtype, device=gaps.device)
    return mask.masked_fill(~visible, torch.finfo(dtype).min)[:, None]
