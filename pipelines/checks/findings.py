"""What an audit of corpora finds: one record for each file, and one for each pair of files."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pipelines.corpora.corpus import Fault
from pipelines.examples import JsonObject


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median, 95th percentile and maximum of lengths."""

    p50: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Carried:
    """What a prompt format keeps of the gold mentions: strict F1 after render and parse.

    `ids` are the examples that do not come back as they were.
    """

    f1: float
    lost_mentions: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class CutOff:
    """Examples longer than `max_length` tokens, and the mentions in them."""

    max_length: int
    examples: int
    mentions: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Values:
    """The numbers of a file for regression."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, slots=True)
class Split:
    """One file. What does not belong to its kind of answer is empty.

    Attributes:
        layout, notes, first_example: what was read, in words.
        answer: `spans`, `label`, `value`, or None for an unlabelled file.
        repeated: texts that stood before in the same file.
        contradicting: different texts that occur in the file with different classes.
        types: type of mention -> number of mentions.
        no_mention: share of the examples without a mention.
        classes: class -> number of texts, the most frequent first.
        no_class: share of the examples without a class.
        words: of sequences, which have no characters, their steps.
    """

    path: str
    layout: str
    notes: list[str]
    first_example: str
    answer: str | None
    rows: int
    bad_rows: int
    examples: int
    repeated: int
    contradicting: int
    mentions: int
    types: dict[str, int]
    no_mention: float | None
    classes: dict[str, int]
    no_class: float | None
    values: Values | None
    words: Percentiles
    characters: Percentiles
    tokens: Percentiles | None
    carried: dict[str, Carried]
    cut_off: CutOff | None
    faults: list[Fault]

    @property
    def labelled(self) -> bool:
        """Whether the file has answers."""
        return self.answer is not None


@dataclass(frozen=True, slots=True)
class Shared:
    """What two files have in common.

    Attributes:
        exact, near: examples of `path` whose text occurs, exactly or nearly, in `against`.
        pairs: (id, id in `against`, similarity), the most similar first; the best for each id.
        contradicting: of the exact ones, those whose class no example of that text has.
        contradictions: (id, its class, id in `against`, its class) of these.
        seen_mentions: share of the mentions of `path` whose string is a mention in `against` too.
    """

    path: str
    against: str
    exact: int
    near: int
    pairs: list[tuple[str, str, float]]
    contradicting: int
    contradictions: list[tuple[str, str, str, str]]
    seen_mentions: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings.

    `problems` and `warnings` are those of a file as a whole; the faults of rows are in the splits.
    """

    splits: list[Split]
    shared: list[Shared]
    problems: list[str]
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether there are no faults; warnings do not count."""
        return not self.problems and not any(split.bad_rows for split in self.splits)

    def to_json(self) -> JsonObject:
        """All findings in plain JSON types."""
        whole = asdict(self)
        for split, written in zip(self.splits, whole["splits"], strict=True):
            written["labelled"] = split.labelled
            for fault, row in zip(split.faults, written["faults"], strict=True):
                row["severity"] = "warning" if fault.is_warning else "fault"
        return {"ok": self.ok, **whole}
