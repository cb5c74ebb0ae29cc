"""What is wrong with corpora and what will be lost, reported before anything is trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipelines.checks.duplicates import near_duplicates
from pipelines.checks.findings import Audit, Carried, CutOff, Percentiles, Shared, Split, Values
from pipelines.checks.tables import as_text
from pipelines.corpora.corpus import Corpus
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example, Steps, features_key
from pipelines.formatting import score, some
from pipelines.prompting.formats import FORMATS, Labels
from pipelines.spans import are_nested

__all__ = ["Audit", "Shared", "Split", "as_text", "audit"]

CARRIED = 0.99  # least strict F1 of gold -> render -> parse for a format to suit a corpus
RARE = 5  # a class with fewer texts can be neither learnt nor scored
IMBALANCED = 10  # least ratio of the largest class to the smallest that is not rare

Lengths = Callable[[Sequence[Example], Sequence[str]], Sequence[int]]


def audit(
    corpora: Sequence[Corpus],
    *,
    against: Corpus | None = None,
    format: str | None = None,
    lengths: Lengths | None = None,
    max_length: int | None = None,
) -> Audit:
    """Audits corpora of mentions, classes or numbers by themselves and against one another.

    Args:
        corpora: the splits, in the order train, dev, test: a later one is compared with each
            before it.
        against: a corpus (usually the training split) to compare each with, which is not audited
            itself.
        format: prompt format that has to carry the mentions; by default all are tried, and one
            has to.
        lengths: `(examples, labels) -> tokens of each`, with prompt and answer.
        max_length: tokens that a model takes.
    """
    others = [against] if against else []
    types: set[str] = set()
    nested = False
    for corpus in [*corpora, *others]:
        types |= set(_type_counts(corpus.examples))
        nested = nested or are_nested(example.spans or () for example in corpus.examples)
    labels = Labels.of(sorted(types) or ["Disease"])
    formats = [format] if format else list(FORMATS)
    splits = [
        _split(corpus, labels, formats, lengths, max_length, nested=nested) for corpus in corpora
    ]
    shared = []
    for index, corpus in enumerate(corpora):
        shared += [_shared(corpus, other) for other in [*others, *corpora[:index]]]
    problems: list[str] = []
    warnings: list[str] = []
    for split in splits:
        problems += _problems(split)
        warnings += _class_warnings(split)
    return Audit(splits, shared, problems, warnings)


def _type_counts(examples: Sequence[Example]) -> Counter[str]:
    return Counter(span.label for example in examples for span in example.spans or ())


def _split(
    corpus: Corpus,
    labels: Labels,
    formats: Sequence[str],
    lengths: Lengths | None,
    max_length: int | None,
    *,
    nested: bool,
) -> Split:
    examples = corpus.examples
    types = _type_counts(examples)
    tokens = None if lengths is None else list(lengths(examples, labels))
    classes = _classes(examples) if corpus.answer == "label" else {}
    by_text = _classes_by_text(examples)
    return Split(
        path=corpus.path,
        layout=corpus.layout,
        notes=list(corpus.notes),
        first_example=corpus.first_example(),
        answer=corpus.answer,
        rows=corpus.n_rows,
        bad_rows=len({fault.row for fault in corpus.faults if not fault.is_warning}),
        examples=len(examples),
        repeated=len(examples) - len({_exact_key(example) for example in examples}),
        contradicting=sum(len(set(by_id.values())) > 1 for by_id in by_text.values()),
        mentions=types.total(),
        types=dict(types.most_common()),
        no_mention=_share_without(examples, "spans") if corpus.answer == "spans" else None,
        classes=classes,
        no_class=_share_without(examples, "label") if corpus.answer == "label" else None,
        values=_values(examples) if corpus.answer == "value" else None,
        words=_percentiles(list(map(_words_or_steps, examples))),
        characters=_percentiles([len(_whole_text(example)) for example in examples]),
        tokens=None if tokens is None else _percentiles(tokens),
        carried={name: _carried(examples, name, labels, nested=nested) for name in formats}
        if types
        else {},
        cut_off=_cut_off(examples, tokens, max_length) if tokens and max_length else None,
        faults=corpus.faults,
    )


def _whole_text(example: Example) -> str:
    return example.text if example.pair is None else f"{example.text} {example.pair}"


def _exact_key(example: Example) -> tuple[str, str | None, str]:
    return example.text, example.pair, features_key(example)


def _words_or_steps(example: Example) -> int:
    if isinstance(example.features, Steps):
        return len(example.features)
    return len(_whole_text(example).split())


def _share_without(examples: Sequence[Example], answer: str) -> float | None:
    if not examples:
        return None
    return sum(not getattr(example, answer) for example in examples) / len(examples)


def _classes(examples: Sequence[Example]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for example in examples:
        counts.update(_class_set(example) or ())
    return dict(counts.most_common())


def _class_set(example: Example) -> tuple[str, ...] | None:
    """The classes of an example, sorted; None where they are not known, or it has a number."""
    if isinstance(example.label, str):
        return (example.label,)
    return tuple(sorted(example.label)) if isinstance(example.label, tuple) else None


def _classes_by_text(examples: Sequence[Example]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Text, but for white space -> id -> classes."""
    by_text: defaultdict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for example in examples:
        classes = _class_set(example)
        if classes is not None:
            by_text[_text_key(example)][example.id] = classes
    return by_text


def _text_key(example: Example) -> str:
    # A pair is another pair where its two texts are cut elsewhere.
    texts = [" ".join(text.split()) for text in (example.text, example.pair) if text is not None]
    return "\n".join([*texts, features_key(example)] if example.features else texts)


def _values(examples: Sequence[Example]) -> Values | None:
    labels = [example.label for example in examples if isinstance(example.label, int | float)]
    numbers = [label for label in labels if np.isfinite(label)]
    if not numbers:
        return None
    return Values(float(min(numbers)), float(np.median(numbers)), float(max(numbers)))


def _percentiles(lengths: Sequence[int]) -> Percentiles:
    if not lengths:
        return Percentiles(0, 0, 0)
    p50, p95, longest = np.percentile(lengths, [50, 95, 100], method="higher").astype(int).tolist()
    return Percentiles(p50, p95, longest)


def _carried(examples: Sequence[Example], format: str, labels: Labels, *, nested: bool) -> Carried:
    """Gold -> render -> parse -> strict F1."""
    render, parse = FORMATS[format].render, FORMATS[format].parse
    gold = [example.spans or () for example in examples]
    parsed = []
    for example, spans in zip(examples, gold, strict=True):
        answer = render(example.text, spans, labels)
        parsed.append(parse(answer, example.text, labels, nested=nested).spans)
    lost, changed_ids = 0, []
    for example, before, after in zip(examples, gold, parsed, strict=True):
        lost += len(set(before) - set(after))
        if set(before) != set(after):
            changed_ids.append(example.id)
    return Carried(score_spans(gold, parsed)["strict"]["f1"], lost, changed_ids)


def _cut_off(examples: Sequence[Example], tokens: Sequence[int], max_length: int) -> CutOff:
    long = [example for example, n in zip(examples, tokens, strict=True) if n > max_length]
    mentions = sum(len(example.spans or ()) for example in long)
    return CutOff(max_length, len(long), mentions, [example.id for example in long])


def _shared(corpus: Corpus, other: Corpus) -> Shared:
    known = {_text_key(example): example.id for example in other.examples}
    same, rest = [], []
    for example in corpus.examples:
        id = known.get(_text_key(example))
        if id is None:
            rest.append(example)
        else:
            same.append((example.id, id, 1.0))
    texts, other_texts = map(_whole_text, rest), map(_whole_text, other.examples)
    similar = [
        (rest[match.position].id, other.examples[match.other].id, round(match.similarity, 3))
        for match in near_duplicates(list(texts), list(other_texts))
    ]
    contradictions = list(_contradictions(corpus, other))
    mentions, known_mentions = _strings(corpus.examples), set(_strings(other.examples))
    seen = None
    if mentions and known_mentions:
        seen = sum(string in known_mentions for string in mentions) / len(mentions)
    return Shared(
        path=corpus.path,
        against=other.path,
        exact=len(same),
        near=len(similar),
        pairs=same + similar,
        contradicting=len(contradictions),
        contradictions=contradictions,
        seen_mentions=seen,
    )


def _contradictions(corpus: Corpus, other: Corpus) -> Iterator[tuple[str, str, str, str]]:
    by_text = _classes_by_text(other.examples)
    for example in corpus.examples:
        classes, others = _class_set(example), by_text.get(_text_key(example))
        if classes is not None and others and classes not in others.values():
            id, other_classes = next(iter(others.items()))
            yield example.id, _written(classes), id, _written(other_classes)


def _written(classes: Sequence[str]) -> str:
    return " and ".join(classes) or "no class"


def _strings(examples: Sequence[Example]) -> list[str]:
    return [
        example.text[span.start : span.end].casefold()
        for example in examples
        for span in example.spans or ()
    ]


def _problems(split: Split) -> list[str]:
    if not split.examples:
        return [f"{split.path}: not one good row of {split.rows}"]
    unfit = {name: carried for name, carried in split.carried.items() if carried.f1 < CARRIED}
    if not split.carried or len(unfit) < len(split.carried):
        return []
    return [
        f"{split.path}: the prompt format {name!r} loses {carried.lost_mentions} of "
        f"{split.mentions} gold mentions (strict F1 after render and parse {score(carried.f1)}; "
        f"wanted {score(CARRIED)}), in {some(carried.ids, 5)}"
        for name, carried in unfit.items()
    ]


def _class_warnings(split: Split) -> Iterator[str]:
    if split.contradicting:
        yield (
            f"{split.path}: {split.contradicting} texts occur more than once, with different "
            "classes"
        )
    rare = [f"{name} ({count})" for name, count in split.classes.items() if count < RARE]
    if rare:
        yield (
            f"{split.path}: {len(rare)} of {len(split.classes)} classes have fewer than {RARE} "
            f"texts, too few to learn or to score: {some(rare, 5)}"
        )
    frequent = [(name, count) for name, count in split.classes.items() if count >= RARE]
    if len(frequent) > 1 and frequent[0][1] >= IMBALANCED * frequent[-1][1]:
        (largest, most), (smallest, fewest) = frequent[0], frequent[-1]
        yield (
            f"{split.path}: imbalanced, {most} texts of {largest} and {fewest} of {smallest}; "
            "judge by macro F1, accuracy hides the small classes"
        )
    if len(split.classes) == 1:
        yield f"{split.path}: all texts have one class, {next(iter(split.classes))}"
