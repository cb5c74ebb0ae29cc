"""The examples as a page shows them: mentions marked in the text, mistakes by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pipelines.evaluation.mistakes import KINDS, Mistake, find_mistakes, ordered
from pipelines.evaluation.reports import Pairs, label_set
from pipelines.examples import Example, Prediction, Span, Steps

MOST_EXAMPLES = 2000
MOST_THUMBNAILS = 400


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that the same mentions cover.

    Attributes:
        classes: for the style sheet; empty where no mention covers it.
        title: the mentions in words.
        gold: types to show at the end of a gold mention.
        predicted: types to show at the start of a wrong prediction.
    """

    text: str
    classes: str = ""
    title: str = ""
    gold: str = ""
    predicted: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An example with its answer.

    Attributes:
        kinds: the classes of its mistakes, by which it is filtered.
        notes: (class, explanation) of each mistake.
        answer: gold and answer in words, where these are no spans.
        raw: what a generator wrote, where that explains a mistake.
        picture: the address of a thumbnail, where the example is a picture.
    """

    id: str
    pieces: tuple[Piece, ...]
    kinds: tuple[str, ...]
    notes: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    raw: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Browser:
    """Rows to browse.

    Attributes:
        rows: those with mistakes first.
        kinds: how many of the rows each class of mistake has.
        examples: how many there are, shown or not.
        right_or_wrong: whether an answer is either: a number is not.
    """

    rows: list[Row]
    kinds: dict[str, int]
    examples: int
    right_or_wrong: bool


def browser(pairs: Pairs, answer: str, *, most: int = MOST_EXAMPLES) -> Browser:
    """Lays out examples for browsing.

    Args:
        answer: the field of a prediction that holds the answer: `spans`, `label` or `value`.
        most: rows kept where there are more examples.
    """
    layout = {"spans": _span_rows, "label": _class_rows, "value": _value_rows}[answer]
    rows = list(layout(pairs))
    rows.sort(key=lambda row: not row.kinds)  # stable: the rest keeps its order
    shown = with_thumbnails(rows[:most], pairs)
    counts = Counter(kind for row in shown for kind in row.kinds)
    kinds = dict(counts.most_common())
    if answer == "spans":
        kinds = {kind: counts[kind] for kind in KINDS if counts[kind]}
    return Browser(shown, kinds, len(rows), answer != "value")


def with_thumbnails(rows: list[Row], pairs: Pairs) -> list[Row]:
    """The rows, of which the first pictures have a thumbnail."""
    paths = {e.id: e.features for e, _ in pairs if isinstance(e.features, str)}
    if not paths:
        return rows
    from pipelines.reporting.images import thumbnail  # Pillow takes its time

    first = [replace(row, picture=thumbnail(paths[row.id])) for row in rows[:MOST_THUMBNAILS]]
    return first + rows[MOST_THUMBNAILS:]


def _span_rows(pairs: Pairs) -> Iterator[Row]:
    labels: set[str] = set()
    for example, prediction in pairs:
        labels |= {span.label for span in (*(example.spans or ()), *(prediction.spans or ()))}
    mistakes: dict[str, list[Mistake]] = {}
    for mistake in find_mistakes(pairs):
        mistakes.setdefault(mistake.id, []).append(mistake)
    for example, prediction in pairs:
        own = mistakes.get(example.id, [])
        kinds = dict.fromkeys(mistake.kind for mistake in own)
        yield Row(
            id=example.id,
            pieces=tuple(marked(example, prediction, show_labels=len(labels) > 1)),
            kinds=tuple(kinds),
            notes=tuple((mistake.kind, _in_words(mistake, example.text)) for mistake in own),
            raw=_explaining_raw(prediction) if own else "",
        )


def marked(example: Example, prediction: Prediction, *, show_labels: bool) -> Iterator[Piece]:
    """Cuts the text where a mention starts or ends; the pieces joined are the text again."""
    text = example.text
    gold, predicted = ordered(example.spans), ordered(prediction.spans)
    cuts = {0, len(text)}
    for span in (*gold, *predicted):
        cuts |= {min(span.start, len(text)), min(span.end, len(text))}
    for start, end in pairwise(sorted(cuts)):
        gold_here = [span for span in gold if span.start <= start and end <= span.end]
        predicted_here = [span for span in predicted if span.start <= start and end <= span.end]
        if not gold_here and not predicted_here:
            yield Piece(text[start:end])
            continue
        ending = [span.label for span in gold_here if span.end == end]
        starting = [span for span in predicted_here if span.start == start]
        wrong = [span.label for span in starting if span not in gold]
        titles = [f"gold {span.label}" for span in gold_here]
        titles += [f"predicted {_scored(span)}" for span in predicted_here]
        flags = {
            "g": bool(gold_here),
            "g2": len(gold_here) > 1,
            "p": bool(predicted_here),
            "first": bool(starting),
            "last": any(span.end == end for span in predicted_here),
        }
        yield Piece(
            text=text[start:end],
            classes=" ".join(name for name, holds in flags.items() if holds),
            title="; ".join(titles),
            gold=" ".join(ending) if show_labels else "",
            predicted=" ".join(wrong) if show_labels else "",
        )


def _scored(span: Span) -> str:
    return span.label if span.score is None else f"{span.label}, score {span.score:.2f}"


def _in_words(mistake: Mistake, text: str) -> str:
    sides = []
    gold, predicted = mistake.gold, mistake.predicted
    if gold is not None:
        sides.append(f"gold “{text[gold.start : gold.end]}” ({gold.label})")
    if predicted is not None:
        string = text[predicted.start : predicted.end]
        sides.append(f"predicted “{string}” ({_scored(predicted)})")
    if mistake.string is not None:
        sides.append(f"generated “{mistake.string}”")
    return ", ".join(sides)


def _explaining_raw(prediction: Prediction) -> str:
    """A generator's own words, where something was lost between them and the spans."""
    lost = any(mention.get("place") is None for mention in prediction.mentions or ())
    if lost or prediction.status not in (None, "ok"):
        return prediction.raw or ""
    return ""


def _plain(example: Example) -> tuple[Piece, ...]:
    texts = [example.text]
    if isinstance(example.features, Steps):
        texts = [f"{len(example.features)} steps"]
    if example.pair is not None:
        texts.append(f"\n\n{example.pair}")
    return tuple(map(Piece, texts))


def _class_rows(pairs: Pairs) -> Iterator[Row]:
    for example, prediction in pairs:
        gold, predicted = label_set(example.label), label_set(prediction.label)
        gold_names = ", ".join(gold) or "none"
        predicted_names = ", ".join(predicted) or "none"
        answer = f"gold {gold_names}, predicted {predicted_names}"
        if prediction.scores:
            answer += f", score {max(prediction.scores.values()):.2f}"
        is_right = set(gold) == set(predicted)
        kinds = () if is_right else (f"{gold_names} → {predicted_names}",)
        yield Row(example.id, _plain(example), kinds, answer=answer)


def _value_rows(pairs: Pairs) -> Sequence[Row]:
    """The farthest from gold first; without gold, the least likely text."""
    rows = []
    for example, prediction in pairs:
        value = prediction.value or 0.0
        if example.label is None:
            words = len(example.text.split())
            tokens = (prediction.scores or {}).get("tokens", words)
            badness = value / max(tokens, 1)
            answer = f"{badness:.4g} nats per token"
        else:
            gold = float(str(example.label))
            badness = abs(value - gold)
            answer = f"gold {gold:.4g}, predicted {value:.4g}"
        rows.append((badness, Row(example.id, _plain(example), (), answer=answer)))
    rows.sort(key=lambda pair: -pair[0])
    return [row for _, row in rows]
