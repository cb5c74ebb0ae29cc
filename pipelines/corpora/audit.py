"""What is wrong with corpora, and what will be lost, said before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.corpora.corpus import Corpus, Fault
from pipelines.corpora.duplicates import near_duplicates
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example
from pipelines.formatting import text_table
from pipelines.prompts import FORMATS

CARRIED = 0.99  # strict F1 of gold -> render -> parse below which a format is unfit for a corpus
SHOWN = 5

Lengths = Callable[[Sequence[Example], Sequence[str]], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median, 95th percentile and maximum of lengths."""

    p50: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Carried:
    """What a prompt format keeps of the gold mentions: strict F1 after render and parse, and what is lost.

    ``ids`` are the examples that do not come back as they were.
    """

    f1: float
    lost_mentions: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class CutOff:
    """Examples longer than ``max_length`` tokens, and the mentions in them."""

    max_length: int
    examples: int
    mentions: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Split:
    """One file. ``no_mention`` is a share of the examples; it and ``carried`` are empty for an unlabelled file.

    ``repeated`` counts texts that stood before in the same file.
    """

    path: str
    layout: str
    rows: int
    bad_rows: int
    examples: int
    repeated: int
    labelled: bool
    mentions: int
    types: dict[str, int]
    no_mention: float | None
    words: Percentiles
    characters: Percentiles
    tokens: Percentiles | None
    carried: dict[str, Carried]
    cut_off: CutOff | None
    faults: list[Fault]


@dataclass(frozen=True, slots=True)
class Shared:
    """What two files have in common.

    ``exact`` and ``near`` count the examples of ``path`` whose text stands, letter for letter or nearly, in
    ``against``; ``pairs`` are (id, id in ``against``, similarity), the most similar first. ``seen_mentions`` is the
    share of the mentions of ``path`` whose string is a mention in ``against`` too.
    """

    path: str
    against: str
    exact: int
    near: int
    pairs: list[tuple[str, str, float]]
    seen_mentions: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings. ``problems`` are those of a file as a whole; the faults of rows are in the splits."""

    splits: list[Split]
    shared: list[Shared]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether there are no faults; warnings do not count."""
        return not self.problems and not any(split.bad_rows for split in self.splits)

    def to_json(self) -> dict[str, Any]:
        whole = asdict(self)
        for split, written in zip(self.splits, whole["splits"], strict=True):
            for fault, row in zip(split.faults, written["faults"], strict=True):
                row["severity"] = "warning" if fault.is_warning else "fault"
        return {"ok": self.ok, **whole}


def audit(corpora: Sequence[Corpus], *, against: Corpus | None = None, format: str | None = None,
          lengths: Lengths | None = None, max_length: int | None = None) -> Audit:
    """Audits corpora by themselves and against one another.

    Args:
        corpora: the splits, in the order train, dev, test: a later one is compared with each before it.
        against: a corpus (usually the training split) to compare each with, which is not audited itself.
        format: prompt format that has to carry the mentions; by default all are tried, and one has to.
        lengths: ``(examples, labels) -> tokens of each``, with prompt and answer.
        max_length: tokens that a model takes.
    """
    known = [*corpora, *([against] if against else [])]
    labels = sorted({span.label for corpus in known for example in corpus.examples for span in example.spans or ()})
    labels = labels or ["Disease"]
    splits = [_split(corpus, labels, [format] if format else list(FORMATS), lengths, max_length) for corpus in corpora]
    earlier = [[*([against] if against else []), *corpora[:i]] for i in range(len(corpora))]
    shared = [_shared(corpus, other) for corpus, others in zip(corpora, earlier, strict=True) for other in others]
    return Audit(splits, shared, [problem for split in splits for problem in _problems(split)])


def _split(corpus: Corpus, labels: Sequence[str], formats: Sequence[str], lengths: Lengths | None,
           max_length: int | None) -> Split:
    examples = corpus.examples
    labelled = any(example.spans is not None for example in examples)
    types = Counter(span.label for example in examples for span in example.spans or ())
    tokens = None if lengths is None else list(lengths(examples, labels))
    return Split(
        path=corpus.path,
        layout=corpus.layout,
        rows=corpus.n_rows,
        bad_rows=len({fault.row for fault in corpus.faults if not fault.is_warning}),
        examples=len(examples),
        repeated=len(examples) - len({example.text for example in examples}),
        labelled=labelled,
        mentions=types.total(),
        types=dict(types.most_common()),
        no_mention=sum(not example.spans for example in examples) / len(examples) if labelled else None,
        words=_percentiles([len(example.text.split()) for example in examples]),
        characters=_percentiles([len(example.text) for example in examples]),
        tokens=None if tokens is None else _percentiles(tokens),
        carried={name: _carried(examples, name, labels) for name in formats} if types else {},
        cut_off=None if tokens is None or max_length is None else _cut_off(examples, tokens, max_length),
        faults=corpus.faults,
    )


def _percentiles(lengths: Sequence[int]) -> Percentiles:
    if not lengths:
        return Percentiles(0, 0, 0)
    return Percentiles(*(int(n) for n in np.percentile(lengths, [50, 95, 100], method="higher")))


def _carried(examples: Sequence[Example], format: str, labels: Sequence[str]) -> Carried:
    """Gold -> render -> parse -> strict F1."""
    render, parse = FORMATS[format].render, FORMATS[format].parse
    gold = [example.spans or () for example in examples]
    back = [parse(render(example.text, spans, labels), example.text, labels).spans
            for example, spans in zip(examples, gold, strict=True)]
    changed = [i for i in range(len(examples)) if set(gold[i]) != set(back[i])]
    lost = sum(len(set(gold[i]) - set(back[i])) for i in changed)
    return Carried(score_spans(gold, back)["strict"]["f1"], lost, [examples[i].id for i in changed])


def _cut_off(examples: Sequence[Example], tokens: Sequence[int], max_length: int) -> CutOff:
    long = [example for example, n in zip(examples, tokens, strict=True) if n > max_length]
    return CutOff(max_length, len(long), sum(len(example.spans or ()) for example in long), [e.id for e in long])


def _shared(corpus: Corpus, other: Corpus) -> Shared:
    texts, others = [e.text for e in corpus.examples], [e.text for e in other.examples]
    known = {" ".join(text.split()): example.id for text, example in zip(others, other.examples, strict=True)}
    same = {i: known[key] for i, text in enumerate(texts) if (key := " ".join(text.split())) in known}
    near = [pair for pair in near_duplicates(texts, others) if pair[0] not in same]
    pairs = [(corpus.examples[i].id, id, 1.0) for i, id in same.items()]
    pairs += [(corpus.examples[i].id, other.examples[j].id, round(similarity, 3)) for i, j, similarity in near]
    mentions, known_mentions = _strings(corpus.examples), set(_strings(other.examples))
    seen = sum(string in known_mentions for string in mentions) / len(mentions) if mentions and known_mentions else None
    return Shared(corpus.path, other.path, len(same), len({pair[0] for pair in near}), pairs, seen)


def _strings(examples: Sequence[Example]) -> list[str]:
    return [e.text[span.start:span.end].casefold() for e in examples for span in e.spans or ()]


def _problems(split: Split) -> list[str]:
    if not split.examples:
        return [f"{split.path}: not one good row of {split.rows}"]
    unfit = {name: carried for name, carried in split.carried.items() if carried.f1 < CARRIED}
    if not split.carried or len(unfit) < len(split.carried):
        return []
    return [f"{split.path}: the prompt format {name!r} cannot carry {carried.lost_mentions} of {split.mentions} gold "
            f"mentions (strict F1 after render and parse {carried.f1:.3f}; wanted {CARRIED}), in {_some(carried.ids)}"
            for name, carried in unfit.items()]


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


def as_text(audit: Audit) -> str:
    """The audit as tables, with the faults below them, for a person."""
    names = _names([split.path for split in audit.splits] + [both.against for both in audit.shared])
    blocks = [_split_table(audit.splits, names), [f"{names[split.path]}: {split.layout}" for split in audit.splits],
              _carried_table(audit.splits, names), _shared_table(audit.shared, names)]
    for split in audit.splits:
        if len(split.types) > 1:
            blocks.append([f"{names[split.path]}: " + ", ".join(f"{n} {label}" for label, n in split.types.items())])
        if split.cut_off:
            cut = split.cut_off
            named = f": {_some(cut.ids)}" if cut.ids else ""
            blocks.append([f"{names[split.path]}: {cut.max_length} tokens are too few for {cut.examples} examples with "
                           f"{cut.mentions} mentions{named}"])
    faults = [fault for split in audit.splits for fault in split.faults if not fault.is_warning]
    warnings = [fault for split in audit.splits for fault in split.faults if fault.is_warning]
    for name, listed in (("warnings", warnings), ("faults", [*audit.problems, *faults])):
        if listed or name == "faults":
            blocks.append([f"{len(listed) or 'no'} {name}{':' if listed else ''}", *map(str, listed)])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _names(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each path, where that tells them apart."""
    last = {path: path.rsplit("/", 1)[-1] for path in paths}
    return last if len(set(last.values())) == len(last) else {path: path for path in last}


def _split_table(splits: Sequence[Split], names: Mapping[str, str]) -> list[str]:
    head = ["file", "rows", "bad", "repeated", "mentions", "types", "no mention", "words 50/95/max", "characters"]
    rows = []
    for split in splits:
        labels = ["-", "-", "-"]
        if split.no_mention is not None:
            labels = [f"{split.mentions}", f"{len(split.types)}", f"{split.no_mention:.1%}"]
        rows.append([names[split.path], f"{split.rows}", f"{split.bad_rows}", f"{split.repeated}", *labels,
                     _written(split.words), _written(split.characters)])
        if split.tokens:
            rows[-1].append(_written(split.tokens))
    return text_table([*head, "tokens"] if splits[0].tokens else head, rows)


def _carried_table(splits: Sequence[Split], names: Mapping[str, str]) -> list[str]:
    labelled = [split for split in splits if split.carried]
    if not labelled:
        return []
    formats = list(labelled[0].carried)
    rows = [[names[split.path], *(f"{split.mentions - carried.lost_mentions} ({carried.f1:.4f})"
                                  for carried in split.carried.values())] for split in labelled]
    return text_table(["mentions that come back (strict F1)", *formats], rows)


def _shared_table(shared: Sequence[Shared], names: Mapping[str, str]) -> list[str]:
    if not shared:
        return []
    rows = [[names[both.path], names[both.against], f"{both.exact}", f"{both.near}",
             "-" if both.seen_mentions is None else f"{both.seen_mentions:.1%}",
             ", ".join(f"{a} = {b}" if similarity == 1 else f"{a} ~ {b}" for a, b, similarity in both.pairs[:3])]
            for both in shared]
    return text_table(["file", "against", "duplicates", "near", "mentions seen there", "such as"], rows)


def _written(lengths: Percentiles) -> str:
    return f"{lengths.p50}/{lengths.p95}/{lengths.max}"
