"""How sharply each layer of a tagger separates entity tokens from others, over many examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families.token_tagger import Loaded, encode
from pipelines.formatting import text_table
from pipelines.inspection.activations import token_rows
from pipelines.spans import spans_to_tags

HEAD = (
    "layer",
    "units",
    "sparsity, entities",
    "sparsity, others",
    "Fisher ratio, mean",
    "of the best unit",
    "unit",
    "d′",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """How a module's activations of entity tokens differ from those of other tokens.

    Attributes:
        units: N.
        entity_sparsity, other_sparsity: mean over the tokens of Hoyer's sparsity,
            (√N - |a|₁ / |a|₂) / (√N - 1): 0 where all units are equally strong, 1 where one unit
            is on (Hoyer 2004, JMLR 5, section 3.1).
        fisher: Fisher's ratio of a unit, (μ₁ - μ₀)² / (σ₁² + σ₀²) (Bishop 2006, equation 4.25),
            mean over the units.
        best_fisher, best_unit: the unit in which entities stand out most.
        d_prime: (μ₁ - μ₀) / √((σ₁² + σ₀²) / 2) of the activations' component along the difference
            of the two means (Green and Swets 1966, section 3.2): by how many standard deviations
            the layer separates the two kinds of tokens.
    """

    name: str
    units: int
    entity_sparsity: float
    other_sparsity: float
    fisher: float
    best_fisher: float
    best_unit: int
    d_prime: float


def compare_layers(
    loaded: Loaded, examples: Sequence[Example], *, progress: bool = True
) -> list[Layer]:
    """Measures each layer over all tokens of labelled examples.

    Raises:
        UserError: when examples are unlabelled, or have fewer than two entity tokens or two others.
    """
    if any(example.spans is None for example in examples):
        raise UserError(
            "--compare_layers needs examples with their entities; give a labelled file with --input"
        )
    names = layer_names(loaded.model)
    sums: dict[str, LayerSums] = {}
    for example in tqdm(examples, desc="layers", unit="example", disable=not progress):
        [text] = encode([example], loaded.tokenizer, loaded.settings)
        if not text.offsets:
            continue
        tags = spans_to_tags(example.spans or (), text.offsets)
        is_entity = np.array([tag != "O" for tag in tags])  # (U,)
        for name, rows in token_rows(loaded, text, names).items():
            sums.setdefault(name, LayerSums(rows.shape[1])).add(rows, is_entity)
    if not sums or min(next(iter(sums.values())).count) < 2:
        raise UserError(
            f"--compare_layers got {len(examples)} examples without two entity tokens and two "
            "others; give a larger file with --input"
        )
    return [layer_sums.layer(name) for name, layer_sums in sums.items()]


def layer_names(model: PreTrainedModel) -> list[str]:
    """The layers: the word vectors, the members of each list of modules, and the classifier."""
    vectors = model.get_input_embeddings()
    layers: list[str] = []
    for name, module in model.named_modules():
        parent = model.get_submodule(name.rpartition(".")[0]) if name else model
        in_list = isinstance(parent, nn.ModuleList) and not isinstance(module, nn.ModuleList)
        if module is vectors or name == "classifier" or in_list:
            layers.append(name)
    # A list within a member of a list (the parts of one layer) is not a layer of its own.
    return [name for name in layers if not any(name.startswith(f"{other}.") for other in layers)]


class LayerSums:
    """Sums over tokens, of others (0) and of entities (1), from which a layer's figures come.

    Attributes:
        count: tokens of each kind.
        sparsity: sums of Hoyer's sparsity, by kind.
        total: (2, N) sums of the activations.
        products: (2, N, N) sums of the products of each pair of units.
    """

    def __init__(self, units: int):
        self.count = [0, 0]
        self.sparsity = [0.0, 0.0]
        self.total = np.zeros((2, units))
        self.products = np.zeros((2, units, units))

    def add(self, rows: np.ndarray, is_entity: np.ndarray) -> None:
        """Adds (U, N) activations of tokens of which (U,) says whether they are entities."""
        sparsity = hoyer(rows)
        for kind in (0, 1):
            of_kind = is_entity == kind
            own = rows[of_kind].astype(np.float64)
            self.count[kind] += len(own)
            self.sparsity[kind] += float(sparsity[of_kind].sum())
            self.total[kind] += own.sum(0)
            self.products[kind] += own.T @ own

    def layer(self, name: str) -> Layer:
        """The figures of the tokens so far."""
        count = np.array(self.count)
        means = self.total / count[:, None]  # (2, N)
        outer = means[:, :, None] * means[:, None, :]
        covariances = self.products / count[:, None, None] - outer  # (2, N, N)
        difference = means[1] - means[0]  # (N,)
        variances = np.einsum("kii->i", covariances)  # σ₁² + σ₀² of each unit
        fisher = np.zeros_like(variances)
        np.divide(difference**2, variances, out=fisher, where=variances > 1e-12)
        along = difference @ covariances.sum(0) @ difference / 2
        separation = difference @ difference
        best = int(fisher.argmax())
        return Layer(
            name=name,
            units=means.shape[1],
            entity_sparsity=self.sparsity[1] / self.count[1],
            other_sparsity=self.sparsity[0] / self.count[0],
            fisher=float(fisher.mean()),
            best_fisher=float(fisher[best]),
            best_unit=best,
            d_prime=float(separation / np.sqrt(along)) if along > 1e-24 else 0.0,
        )


def hoyer(rows: np.ndarray) -> np.ndarray:
    """Hoyer's sparsity of each row of (T, N): (T,) between 0 and 1.

    A row of zeros, and any row for N = 1, has 0.
    """
    root = np.sqrt(rows.shape[1])
    if root <= 1:
        return np.zeros(len(rows))
    values = rows.astype(np.float64)
    norms = np.linalg.norm(values, axis=1)
    ratio = np.full(len(rows), root)
    np.divide(abs(values).sum(1), norms, out=ratio, where=norms > 0)
    return (root - ratio) / (root - 1)


def layers_as_text(layers: Sequence[Layer]) -> str:
    """One line a layer, for a terminal."""
    return "\n".join(text_table(HEAD, [layer_cells(layer) for layer in layers]))


def layer_cells(layer: Layer) -> tuple[str, ...]:
    """The figures of a layer below `HEAD`."""
    return (
        layer.name,
        str(layer.units),
        f"{layer.entity_sparsity:.3f}",
        f"{layer.other_sparsity:.3f}",
        f"{layer.fisher:.3f}",
        f"{layer.best_fisher:.3f}",
        str(layer.best_unit),
        f"{layer.d_prime:.2f}",
    )
