"""What a vocabulary's filters cost: its size and the share of unknown words, by filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.formatting import text_table
from pipelines.networks.word_tokenizer import vocabulary, word_counts

MIN_FREQS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
REMOVE_FRACS = tuple(tenth / 10 for tenth in range(10))
SHARES = (0.5, 0.9, 0.99, 1.0)  # of the sentences


@dataclass(frozen=True, slots=True)
class Cut:
    """A setting of the filters, and what it leaves.

    Attributes:
        size: words kept.
        unknown_train, unknown_dev: share of the running words of training and dev that are then
            unknown.
    """

    min_freq: int
    remove_frac: float
    size: int
    unknown_train: float
    unknown_dev: float | None


@dataclass(frozen=True, slots=True)
class VocabularyStudy:
    """What the filters leave of the words of a corpus.

    Attributes:
        min_freq: at which remove_frac is tried.
        by_min_freq: at remove_frac 0.
        by_remove_frac: at `min_freq`.
        lengths: words -> sentences of that length.
    """

    file: str
    dev_file: str | None
    lowercase: bool
    min_freq: int
    sentences: int
    running_words: int
    dev_running_words: int
    by_min_freq: list[Cut]
    by_remove_frac: list[Cut]
    lengths: dict[int, int]

    def length_at(self, share: float) -> int:
        """The least length that this share of the sentences does not exceed."""
        reached = 0
        for length, sentences in sorted(self.lengths.items()):
            reached += sentences
            if reached >= share * self.sentences:
                return length
        return max(self.lengths)


def study_vocabulary(
    train: Sequence[Example],
    dev: Sequence[Example] | None = None,
    *,
    file: str | Path = "",
    dev_file: str | Path | None = None,
    lowercase: bool = False,
    min_freq: int = 1,
) -> VocabularyStudy:
    """Counts words as the word tokenizer splits them, and tries the filters.

    In natural text, where no example brings its tokens, punctuation is split off.

    Args:
        min_freq: at which remove_frac is tried.

    Raises:
        UserError: when there is no word, or none as frequent as `min_freq`.
    """
    if min_freq < 1:
        raise UserError(f"got --min_freq {min_freq}; wanted at least 1")
    splits_punctuation = any(example.tokens is None for example in train)

    def counted(examples: Sequence[Example]) -> Counter[str]:
        texts = (example.text for example in examples)
        return word_counts(texts, lowercase=lowercase, punctuation=splits_punctuation)

    counts = counted(train)
    if not counts:
        raise UserError(f"{file}: no word in {len(train)} examples; give a file with text")
    vocabulary(counts, min_freq=min_freq)  # refuses a min_freq that leaves nothing
    dev_counts = None if dev is None else counted(dev)
    tried = [least for least in MIN_FREQS if least <= max(counts.values())]
    lengths = Counter(counted([example]).total() for example in train)
    return VocabularyStudy(
        file=str(file),
        dev_file=None if dev_file is None else str(dev_file),
        lowercase=lowercase,
        min_freq=min_freq,
        sentences=len(train),
        running_words=counts.total(),
        dev_running_words=dev_counts.total() if dev_counts else 0,
        by_min_freq=[_cut(counts, dev_counts, least, 0.0) for least in tried],
        by_remove_frac=[_cut(counts, dev_counts, min_freq, share) for share in REMOVE_FRACS],
        lengths=dict(sorted(lengths.items())),
    )


def _cut(
    counts: Counter[str], dev_counts: Counter[str] | None, min_freq: int, remove_frac: float
) -> Cut:
    try:
        kept = set(vocabulary(counts, min_freq=min_freq, remove_frac=remove_frac))
    except UserError:  # nothing is left
        kept = set()
    unknown_dev = None if dev_counts is None else _unknown(dev_counts, kept)
    return Cut(min_freq, remove_frac, len(kept), _unknown(counts, kept), unknown_dev)


def _unknown(counts: Counter[str], kept: set[str]) -> float:
    """The share of the running words that are not kept."""
    unknown = sum(count for word, count in counts.items() if word not in kept)
    return unknown / counts.total() if counts else 0.0


def vocabulary_as_text(study: VocabularyStudy) -> str:
    """The tables and quantiles, for a terminal."""
    lines = [study_facts(study), ""]
    lines += [*text_table(*cut_table(study.by_min_freq, "min_freq")), ""]
    head, rows = cut_table(study.by_remove_frac, "remove_frac")
    at_least = f"remove_frac (at min_freq {study.min_freq})"
    lines += [*text_table([at_least, *head[1:]], rows), ""]
    quantiles = []
    for share in SHARES:
        sentences = f"{100 * share:g} % of the sentences"
        quantiles.append(f"{sentences} have at most {study.length_at(share)} words")
    return "\n".join([*lines, ", ".join(quantiles)])


def cut_table(cuts: Sequence[Cut], option: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the value of an option, the words kept, and the shares of unknown words."""
    head = [option, "words", "unknown, train"]
    if cuts[0].unknown_dev is not None:
        head.append("unknown, dev")
    rows = []
    for cut in cuts:
        row = [str(getattr(cut, option)), f"{cut.size:,}", _percent(cut.unknown_train)]
        if cut.unknown_dev is not None:
            row.append(_percent(cut.unknown_dev))
        rows.append(row)
    return head, rows


def study_facts(study: VocabularyStudy) -> str:
    """One line: what was counted, and how many of dev's words are not in training."""
    first = study.by_min_freq[0]
    parts = [
        f"{study.file}: {study.sentences:,} sentences",
        f"{study.running_words:,} words",
        f"{first.size:,} different",
    ]
    if study.lowercase:
        parts.append("lower-cased")
    facts = ", ".join(parts)
    if first.unknown_dev is None:
        return facts
    dev = f"{study.dev_file}: {study.dev_running_words:,} words"
    return f"{facts}; {dev}, {_percent(first.unknown_dev)} not in training"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
