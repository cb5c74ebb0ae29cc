"""Pictures on a page: thumbnails in the file itself, the worst answers, and what they depend on."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipelines.corpora.images.pictures import open_picture
from pipelines.errors import UserError
from pipelines.evaluation.reports import Pairs
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.reporting.page import Fragment, Section

SIDE = 96  # pixels of a thumbnail
EACH = 8  # pictures of a class
WORST = 12

# Examples and the class of each to trace back -> its pixels (h, w, 3) and heat (h, w).
Explain = Callable[[Sequence[Example], Sequence[str]], Sequence[tuple[np.ndarray, np.ndarray]]]


class Shown(NamedTuple):
    """One picture of a page: addresses of one image or of two beside each other, and a caption."""

    images: Sequence[str]
    caption: str
    is_wrong: bool = False


def thumbnail(path: str) -> str:
    """The address of a small copy of a picture, which holds the copy itself; "" if it is gone."""
    try:
        image = open_picture(path)
    except UserError:
        return ""
    image.thumbnail((SIDE, SIDE))
    return as_address(image)


def as_address(image: Image.Image) -> str:
    """A `data:` address of a picture."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A grey picture, the redder the hotter.

    Args:
        pixels: uint8 of shape (height, width, 3).
        heat: of shape (height, width), between 0 and 1.
    """
    grey = pixels.mean(axis=2, keepdims=True) * 0.6 + 60
    weight = heat[..., None]
    mixed = grey * (1 - weight) + np.array([230.0, 30.0, 20.0]) * weight
    image = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def image_sections(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    explain: Explain | None = None,
) -> list[Section]:
    """Some pictures of each class, the worst answers, and what right and wrong ones depend on.

    Args:
        explain: gives the pixels that the score of a class depends on.
    """
    pairs = joined_by_id(examples, predictions)
    worst = sorted((pair for pair in pairs if not _is_right(*pair)), key=_confidence, reverse=True)
    parts = [_of_classes(pairs)]
    sections = [Section("pictures", "Pictures", parts)]
    if worst:
        note = (
            f"The surest of {len(worst):,} wrong answers. Wrong labels of the corpus, where it has "
            "any, are among them."
        )
        shown = _with_heat(worst[:WORST], explain)
        sections.append(Section("worst", "Worst pictures", [_grid(shown, note=note)]))
    if explain:
        best: dict[str, tuple[Example, Prediction]] = {}
        for pair in sorted(pairs, key=_confidence, reverse=True):
            if _is_right(*pair):
                best.setdefault(str(pair[1].label), pair)
        note = (
            "Red is where the score of the predicted class changes most with the pixels (gradient, "
            "averaged over noisy copies): the surest right answer of each class."
        )
        shown = _with_heat([best[label] for label in sorted(best)], explain)
        sections.append(
            Section("saliency", "What the classes depend on", [_grid(shown, note=note)])
        )
    return sections


def _is_right(example: Example, prediction: Prediction) -> bool:
    return example.label == prediction.label


def _confidence(pair: tuple[Example, Prediction]) -> float:
    return max((pair[1].scores or {}).values(), default=0.0)


def _in_words(example: Example, prediction: Prediction) -> str:
    score = f" {_confidence((example, prediction)):.2f}"
    if _is_right(example, prediction):
        return f"{example.label}{score}"
    return f"{example.id}: gold {example.label}, predicted {prediction.label}{score}"


def _of_classes(pairs: Pairs) -> Fragment:
    """The first pictures of each class, wrong answers framed."""
    rows = []
    for label in sorted({str(example.label) for example, _ in pairs}):
        own = [pair for pair in pairs if str(pair[0].label) == label][:EACH]
        shown = []
        for example, prediction in own:
            is_wrong = not _is_right(example, prediction)
            caption = f"→ {prediction.label}" if is_wrong else ""
            shown.append(Shown([thumbnail(str(example.features))], caption, is_wrong))
        rows.append(f"<h3>{html.escape(label)}</h3>{_figures(shown)}")
    return Fragment("".join(rows), note="Framed: answered wrongly, as the class below it.")


def _with_heat(pairs: Sequence[tuple[Example, Prediction]], explain: Explain | None) -> list[Shown]:
    examples = [example for example, _ in pairs]
    labels = [str(prediction.label) for _, prediction in pairs]
    heats = explain(examples, labels) if explain else []
    shown = []
    for position, (example, prediction) in enumerate(pairs):
        images = [thumbnail(str(example.features))]
        if heats:
            images.append(as_address(overlay(*heats[position])))
        shown.append(Shown(images, _in_words(example, prediction)))
    return shown


def _grid(shown: Sequence[Shown], *, note: str) -> Fragment:
    return Fragment(_figures(shown), note=note)


def _figures(shown: Sequence[Shown]) -> str:
    figures = []
    for picture in shown:
        caption = html.escape(picture.caption)
        images = "".join(f'<img src="{address}" alt="{caption}">' for address in picture.images)
        kind = ' class="wrong"' if picture.is_wrong else ""
        figures.append(f"<figure{kind}>{images}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="pictures">{"".join(figures)}</div>'
