"""Which tokens each predicted tag depends on: gradient × input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families.token_tagger import Encoded, Loaded, Window, encode, read_tags
from pipelines.inspection.activations import TokenMatrix, batches_of_one, tokens_of
from pipelines.inspection.tags import Inspection
from pipelines.networks.tagger import Tagger
from pipelines.spans import spans_to_tags

MOST_TARGETS = 100  # predictions of a text that are traced back; each takes a backward pass


def saliency(loaded: Loaded, example: Example) -> TokenMatrix:
    """How much each predicted tag depends on each token (Shrikumar et al. 2016, arXiv 1605.01713).

    The value at (t, s) is Σ_d e_sd · ∂y_t / ∂e_sd: y_t is the score (before softmax or CRF) of the
    tag predicted for token t, e_s what the network reads of token s. Summed over the sub-words of a
    token. It is what y_t would lose, to first order, without e_s.

    Returns:
        Rows for the predicted or true entity tokens where the text is longer than `MOST_TARGETS`,
        else for all.

    Raises:
        UserError: for a text that does not fit one window.
    """
    [text] = encode([example], loaded.tokenizer, loaded.settings)
    if len(text.windows) != 1:
        raise UserError(
            f"--saliency traces a text within one window; example {example.id} takes "
            f"{len(text.windows)}: give a shorter one"
        )
    [window] = text.windows
    logits, read = _forward(loaded, text)  # (T, C), (1, T, D)
    scores = logits[window.positions].float()  # (U, C)
    decode = loaded.settings.decode
    [(tags, _)] = read_tags(loaded.model, [scores.detach().cpu()], decode=decode)
    rows = list(range(len(tags)))
    if len(rows) > MOST_TARGETS:
        gold = spans_to_tags(example.spans or (), text.offsets)
        rows = [row for row in rows if tags[row] or gold[row] != "O"][:MOST_TARGETS]
    owners = _owners(window)
    values = np.zeros((len(rows), len(tags)))
    hide = len(rows) < MOST_TARGETS
    for index, row in enumerate(tqdm(rows, desc="saliency", unit="token", disable=hide)):
        [gradient] = torch.autograd.grad(scores[row, tags[row]], read, retain_graph=True)
        product = (gradient * read).detach().float()
        by_position = product.reshape(len(window.input_ids), -1).sum(1).cpu().numpy()  # (T,)
        for position, unit in owners.items():
            values[index, unit] += by_position[position]
    return TokenMatrix(tokens_of(example, text), values, rows)


def _forward(loaded: Loaded, text: Encoded) -> tuple[Tensor, Tensor]:
    """(T, C) logits of a text of one window, and what was read of each sub-word, as a leaf."""
    model = loaded.model.eval()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        # A leaf of its own, so that frozen vectors have a gradient too.
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    [batch] = batches_of_one(loaded, text)
    source = model.embeddings if isinstance(model, Tagger) else model.get_input_embeddings()
    hook = source.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(**batch).logits[0]  # (1, T, C) -> (T, C)
    finally:
        hook.remove()
    return logits, kept[0]


def _owners(window: Window) -> dict[int, int]:
    """Position -> the token that its sub-word is part of; special tokens have none."""
    positions = np.arange(len(window.input_ids))
    owners = np.searchsorted(window.positions, positions, side="right") - 1
    return {
        position: int(unit)
        for position, unit in enumerate(owners)
        if unit >= 0 and window.words[position]
    }


def strongest(matrix: TokenMatrix, *, most: int = 3) -> list[list[tuple[int, float]]]:
    """For each row the tokens with the greatest absolute values other than 0, greatest first."""
    ranked = []
    for row in matrix.values:
        columns = np.argsort(-abs(row), kind="stable")[:most]
        ranked.append([(int(column), float(row[column])) for column in columns if row[column]])
    return ranked


def saliency_as_text(matrix: TokenMatrix, inspection: Inspection) -> str:
    """For each predicted entity token the strongest tokens, with their distance and sign."""
    lines = []
    for row, columns in zip(matrix.rows, strongest(matrix), strict=True):
        token = inspection.tokens[row]
        if token.predicted != "O":
            lines.append(f"{token.text} [{token.predicted}]: {_in_words(matrix, row, columns)}")
    if not lines:
        return "no entity was predicted: the page shows what each O depends on"
    return "\n".join(["what the predicted tags depend on (gradient × input)", *lines])


def _in_words(matrix: TokenMatrix, row: int, columns: Sequence[tuple[int, float]]) -> str:
    shown = []
    for column, value in columns:
        shown.append(f"{matrix.tokens[column]} ({column - row:+d}) {value:+.2f}")
    return ", ".join(shown)
