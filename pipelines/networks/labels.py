"""Labels in the config of a model, and heads that follow them to another checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.spans import looks_like_tag

IGNORED = -100  # instead of a label's number: no loss here


def label_map(labels: Sequence[str]) -> dict[str, Any]:
    """`id2label` and `label2id` of a config."""
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def labels_of(config: Any) -> list[str]:
    """The labels of a config, in order of their numbers."""
    return [label for _, label in sorted(config.id2label.items())]


def bio_tags_of(config: Any) -> list[str] | None:
    """The labels of a config where all are BIO tags; else None."""
    labels = labels_of(config)
    return labels if all(map(looks_like_tag, labels)) else None


@torch.no_grad()
def follow_labels(model: Any, before: Sequence[str], *, new: Iterable[str] = ()) -> list[str]:
    """Fits the layer that scores labels, and a CRF, to the labels of the model's config.

    The same labels in another order move with their weights. Other labels start at random: a row
    that fits by its shape alone belongs to another class.

    Args:
        before: the labels of the checkpoint that the model was loaded from.
        new: names of the weights that the checkpoint lacks.

    Returns:
        The names of all weights that start at random.
    """
    now, crf = labels_of(model.config), getattr(model, "crf", None)
    new = set(new) - {name for name, _ in model.named_buffers()}
    if crf is not None:
        # A checkpoint holds the rules of its own labels.
        crf.allow(bio_tags_of(model.config))
    if list(before) == now:
        return sorted(new)
    weights = {name: weight for name, weight in _label_weights(model) if name not in new}
    if sorted(before) == sorted(now):
        order = torch.tensor([before.index(label) for label in now])
        for name, weight in weights.items():
            moved = weight[order]
            weight.copy_(moved[:, order] if name == "crf.transitions" else moved)
        return sorted(new)
    for name, weight in weights.items():
        if weight.ndim == 2 and not name.startswith("crf."):
            nn.init.normal_(weight, std=0.02)
        else:
            nn.init.zeros_(weight)
    return sorted(new | set(weights))


def _label_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Weights with a row for each label: of the last linear layer beside the encoder, and a CRF."""
    encoder = f"{model.base_model_prefix}."
    heads = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and layer.out_features == model.config.num_labels
        and not name.startswith(encoder)
    ]
    if not heads:
        return
    parts = [heads[-1]]
    if getattr(model, "crf", None) is not None:
        parts.append(("crf", model.crf))
    for name, part in parts:
        for key, weight in part.named_parameters():
            yield f"{name}.{key}", weight
