"""What goes on in a tagger: activations of its modules, how sharply each layer tells entities apart, and saliency."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from tqdm.auto import tqdm

from pipelines.errors import UserError
from pipelines.evaluation.token_scores import tags_of
from pipelines.examples import Example
from pipelines.families.token_tagger import Encoded, Loaded, Window, encode, extra_inputs, read_tags
from pipelines.networks.tagger import Tagger

MOST_TARGETS = 100  # tokens of a text whose predictions are traced back; each takes a backward pass


@dataclass(frozen=True)
class TokenMatrix:
    """A number for each token and column.

    Attributes:
        tokens: (U,) strings.
        values: (U, N): N units of a module, or, of a saliency, the U tokens that each of the targets leans on.
        rows: numbers of the tokens that the rows are of; all of them for activations.
    """

    tokens: list[str]
    values: np.ndarray
    rows: list[int]


@dataclass(frozen=True, slots=True)
class Layer:
    """How a module's activations of entity tokens differ from those of other tokens, over many examples.

    Attributes:
        units: N.
        entity_sparsity, other_sparsity: mean over the tokens of Hoyer's sparsity, (√N - |a|₁ / |a|₂) / (√N - 1): 0
            where all units are equally strong, 1 where one unit is on (Hoyer 2004, JMLR 5, section 3.1).
        fisher: Fisher's ratio of a unit, (μ₁ - μ₀)² / (σ₁² + σ₀²) (Bishop 2006, equation 4.25), mean over the units.
        best_fisher, best_unit: the unit in which entities stand out most.
        d_prime: (μ₁ - μ₀) / √((σ₁² + σ₀²) / 2) of the activations' component along the difference of the two means
            (Green and Swets 1966, section 3.2): how many standard deviations the layer holds the two kinds apart.
    """

    name: str
    units: int
    entity_sparsity: float
    other_sparsity: float
    fisher: float
    best_fisher: float
    best_unit: int
    d_prime: float


def activations(loaded: Loaded, example: Example, module: str) -> TokenMatrix:
    """The activations of a module for each token of an example, by a forward hook.

    Args:
        module: a name of `model.named_modules()`.

    Raises:
        UserError: where there is no such module, or it does not give one row a token.
    """
    modules = dict(loaded.model.named_modules())
    if module not in modules or not module:
        near = difflib.get_close_matches(module, modules, n=3, cutoff=0.3)
        raise UserError(f"got --activations {module}; the network has no such module; near it are "
                        f"{', '.join(near) or 'none'}; all: {', '.join(filter(None, modules))}")
    [text] = encode([example], loaded.tokenizer, loaded.settings)
    found = _unit_rows(loaded, text, [module]).get(module)
    if found is None:
        raise UserError(f"--activations {module}: it does not give one row for each token (or did not run at all); "
                        f"those that do: {', '.join(_unit_rows(loaded, text, list(filter(None, modules))))}")
    return TokenMatrix([example.text[start:end] for start, end in text.offsets], found,
                       list(range(len(text.offsets))))


def compare_layers(loaded: Loaded, examples: Sequence[Example], *, progress: bool = True) -> list[Layer]:
    """Measures each layer over all tokens of labelled examples.

    Raises:
        UserError: when examples are unlabelled, or hold only entities or none.
    """
    if any(example.spans is None for example in examples):
        raise UserError("--compare_layers wants examples with their entities; give a labelled file with --input")
    names = layer_names(loaded.model)
    sums: dict[str, _Moments] = {}
    for example in tqdm(examples, desc="layers", unit="example", disable=not progress):
        [text] = encode([example], loaded.tokenizer, loaded.settings)
        if not text.offsets:
            continue
        is_entity = np.array([tag != "O" for tag in tags_of(example.spans or (), text.offsets)])
        for name, rows in _unit_rows(loaded, text, names).items():
            sums.setdefault(name, _Moments(rows.shape[1])).add(rows, is_entity)
    if not sums or min(next(iter(sums.values())).count) < 2:
        raise UserError(f"--compare_layers got {len(examples)} examples without two entity tokens and two others; give "
                        "a larger file with --input")
    return [moments.layer(name) for name, moments in sums.items()]


def layer_names(model: nn.Module) -> list[str]:
    """What is taken for a layer: the word vectors, the members of each list of modules, and the classifier."""
    vectors = model.get_input_embeddings()  # type: ignore[operator]
    layers = []
    for name, module in model.named_modules():
        parent = model.get_submodule(name.rpartition(".")[0]) if name else model
        if module is vectors or name == "classifier" or (
                isinstance(parent, nn.ModuleList) and not isinstance(module, nn.ModuleList)):
            layers.append(name)
    # A list within a member of a list (the parts of one layer) is not a layer of its own.
    return [name for name in layers if not any(name.startswith(f"{other}.") for other in layers)]


def saliency(loaded: Loaded, example: Example) -> TokenMatrix:
    """How much each predicted tag leans on each token: gradient × input (Shrikumar et al. 2016, arXiv 1605.01713).

    The value at (t, s) is Σ_d e_sd · ∂y_t / ∂e_sd: y_t is the score (before softmax or CRF) of the tag predicted for
    token t, e_s what the network reads of token s. Summed over the sub-words of a token. It is what y_t would lose, to
    first order, without e_s.

    Returns:
        Rows for the predicted or true entity tokens where the text is longer than `MOST_TARGETS`, else for all.

    Raises:
        UserError: for a text that does not fit one window.
    """
    [text] = encode([example], loaded.tokenizer, loaded.settings)
    if len(text.windows) != 1:
        raise UserError(f"--saliency traces a text within one window; example {example.id} takes {len(text.windows)}: "
                        "give a shorter one")
    [window], model = text.windows, loaded.model.eval()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        # A leaf of its own, so that frozen vectors have a gradient too.
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    source = model.embeddings if isinstance(model, Tagger) else model.get_input_embeddings()
    hook = source.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(**_inputs(loaded, window)).logits[0]                                # (T, C)
    finally:
        hook.remove()
    scores = logits[window.positions].float()                                                  # (U, C)
    [(tags, _)] = read_tags(model, [scores.detach().cpu()], decode=loaded.settings.decode)
    rows = list(range(len(tags)))
    if len(rows) > MOST_TARGETS:
        gold = tags_of(example.spans or (), text.offsets)
        rows = [row for row in rows if tags[row] or gold[row] != "O"][:MOST_TARGETS]
    owner = np.searchsorted(window.positions, np.arange(len(window.input_ids)), side="right") - 1
    values = np.zeros((len(rows), len(tags)))
    for place, row in enumerate(tqdm(rows, desc="saliency", unit="token", disable=len(rows) < MOST_TARGETS)):
        [gradient] = torch.autograd.grad(scores[row, tags[row]], kept[0], retain_graph=True)
        product = (gradient * kept[0]).detach().float().reshape(len(window.input_ids), -1).sum(1).cpu().numpy()
        for position, unit in enumerate(owner):
            if unit >= 0 and window.words[position]:
                values[place, unit] += product[position]
    return TokenMatrix([example.text[start:end] for start, end in text.offsets], values, rows)


def leanings(matrix: TokenMatrix, *, most: int = 3) -> list[list[tuple[int, float]]]:
    """For each row the tokens of the greatest absolute values, the greatest first."""
    return [[(int(column), float(row[column])) for column in np.argsort(-abs(row), kind="stable")[:most]
             if row[column]] for row in matrix.values]


def _inputs(loaded: Loaded, window: Window) -> dict[str, Tensor]:
    given = {"input_ids": window.input_ids, "attention_mask": [1] * len(window.input_ids),
             **extra_inputs(loaded.model, window.words)}
    return {name: torch.tensor([values], device=loaded.model.device) for name, values in given.items()}


@torch.no_grad()
def _unit_rows(loaded: Loaded, text: Encoded, names: Sequence[str]) -> dict[str, np.ndarray]:
    """(U, N) outputs of the modules that give a row for each token, by name."""
    found: dict[str, np.ndarray] = {}
    model = loaded.model.eval()
    for window in text.windows:
        with _recorded(model, names) as outputs:
            model(**_inputs(loaded, window))
        for name, calls in outputs.items():
            rows = _rows(calls, len(window.input_ids))
            if rows is None:
                continue
            if _reads_backwards(model, name):
                rows = rows[::-1]
            whole = found.setdefault(name, np.zeros((len(text.offsets), rows.shape[1]), rows.dtype))
            whole[window.units] = rows[window.positions]
    return found


@contextmanager
def _recorded(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What the modules put out while the body runs, call by call."""
    outputs: dict[str, list[Tensor]] = {}

    def record(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            first = output
            while isinstance(first, tuple | list) and not isinstance(first, PackedSequence) and first:
                first = first[0]
            first = getattr(first, "last_hidden_state", first)
            first = first.data if isinstance(first, PackedSequence) else first
            if isinstance(first, Tensor):
                outputs.setdefault(name, []).append(first.detach().float().cpu())
        return hook

    hooks = [model.get_submodule(name).register_forward_hook(record(name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _rows(calls: Sequence[Tensor], length: int) -> np.ndarray | None:
    """(T, N) from the outputs of one module for one text of T sub-words; None where that is not what they are.

    A module gives all rows at once, with or without a batch of one around them, or one at each step of a loop.
    """
    last = calls[-1]
    if len(calls) == length > 1 and all(call.ndim == 2 and call.shape[0] == 1 for call in calls):
        last = torch.cat(list(calls))
    elif last.ndim > 2 and last.shape[:2] == (1, length):
        last = last[0]
    if last.ndim < 2 or last.shape[0] != length:
        return None
    return last.reshape(length, -1).numpy()


def _reads_backwards(model: Any, name: str) -> bool:
    """Whether a module of ours puts its rows out from the last word to the first."""
    return model.config.model_type == "recurrent_tagger" and re.match(r"layers\.\d+\.1(\.|$)", name) is not None


class _Moments:
    """Sums over tokens, apart for others (0) and entities (1), from which a layer's figures come."""

    def __init__(self, units: int):
        self.count = [0, 0]
        self.sparsity = [0.0, 0.0]
        self.sum = np.zeros((2, units))
        self.products = np.zeros((2, units, units))

    def add(self, rows: np.ndarray, is_entity: np.ndarray) -> None:
        sparsity = hoyer(rows)
        for kind in (0, 1):
            own = rows[is_entity == kind].astype(np.float64)
            self.count[kind] += len(own)
            self.sparsity[kind] += float(sparsity[is_entity == kind].sum())
            self.sum[kind] += own.sum(0)
            self.products[kind] += own.T @ own

    def layer(self, name: str) -> Layer:
        count = np.array(self.count)
        means = self.sum / count[:, None]                                                      # (2, N)
        covariances = self.products / count[:, None, None] - means[:, :, None] * means[:, None, :]
        difference = means[1] - means[0]
        spread = np.einsum("kii->i", covariances)
        fisher = np.divide(difference ** 2, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        along = difference @ covariances.sum(0) @ difference / 2
        d_prime = float(difference @ difference / np.sqrt(along)) if along > 1e-24 else 0.0
        best = int(fisher.argmax())
        return Layer(name, means.shape[1], self.sparsity[1] / count[1], self.sparsity[0] / count[0],
                     float(fisher.mean()), float(fisher[best]), best, d_prime)


def hoyer(rows: np.ndarray) -> np.ndarray:
    """Hoyer's sparsity of each row of (T, N), between 0 and 1; 0 for a row of zeros, and for N = 1."""
    root = np.sqrt(rows.shape[1])
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    ratio = np.divide(abs(rows.astype(np.float64)).sum(1), norms, out=np.full(len(rows), root), where=norms > 0)
    return (root - ratio) / (root - 1) if root > 1 else np.zeros(len(rows))


def layers_as_text(layers: Sequence[Layer]) -> str:
    rows: list[tuple[str, ...]] = [layer_head(), *map(layer_cells, layers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                               enumerate(zip(row, widths, strict=True))).rstrip() for row in rows)


def layer_head() -> tuple[str, ...]:
    return ("layer", "units", "sparsity, entities", "sparsity, others", "Fisher ratio, mean", "of the best unit",
            "unit", "d′")


def layer_cells(layer: Layer) -> tuple[str, ...]:
    return (layer.name, str(layer.units), f"{layer.entity_sparsity:.3f}", f"{layer.other_sparsity:.3f}",
            f"{layer.fisher:.3f}", f"{layer.best_fisher:.3f}", str(layer.best_unit), f"{layer.d_prime:.2f}")
