"""What a vocabulary's filters cost: its size and the share of unknown words, by filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.formatting import text_table
from pipelines.inspection.padding import Padding, padding_as_text, padding_shares
from pipelines.networks.word_tokenizer import vocabulary, word_counts

MIN_FREQS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
REMOVE_FRACS = tuple(tenth / 10 for tenth in range(10))
SHARES = (0.5, 0.9, 0.99, 1.0)  # of the sentences
# Unknown words are to be at least this share as frequent in training as they will be later.
ENOUGH_UNKNOWN = 0.5


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
        dev_lengths: the same of dev; empty without dev.
        recommended: the `min_freq` that is recommended, and why.
        padding: of the batches of an epoch over the training sentences.
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
    dev_lengths: dict[int, int]
    recommended: tuple[int, str]
    padding: list[Padding]

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
    batch_size: int = 32,
    batch_tokens: int = 2048,
) -> VocabularyStudy:
    """Counts words as the word tokenizer splits them, and tries the filters.

    In natural text, where no example brings its tokens, punctuation is split off.

    Args:
        min_freq: at which remove_frac is tried.
        batch_size, batch_tokens: of the batches whose padding is counted.

    Raises:
        UserError: when there is no word, or none as frequent as `min_freq`.
    """
    at_least_one = {"min_freq": min_freq, "batch_size": batch_size, "batch_tokens": batch_tokens}
    for name, value in at_least_one.items():
        if value < 1:
            raise UserError(f"got --{name} {value}; wanted at least 1")
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
    lengths, dev_lengths = (
        Counter(counted([example]).total() for example in part) for part in (train, dev or [])
    )
    by_min_freq = [_cut(counts, dev_counts, least, 0.0) for least in tried]
    rows = sorted(length for length in lengths.elements() if length)
    return VocabularyStudy(
        file=str(file),
        dev_file=None if dev_file is None else str(dev_file),
        lowercase=lowercase,
        min_freq=min_freq,
        sentences=len(train),
        running_words=counts.total(),
        dev_running_words=dev_counts.total() if dev_counts else 0,
        by_min_freq=by_min_freq,
        by_remove_frac=[_cut(counts, dev_counts, min_freq, share) for share in REMOVE_FRACS],
        lengths=dict(sorted(lengths.items())),
        dev_lengths=dict(sorted(dev_lengths.items())),
        recommended=recommend_min_freq(by_min_freq, counts),
        padding=padding_shares(rows, batch_size=batch_size, batch_tokens=batch_tokens),
    )


def recommend_min_freq(cuts: Sequence[Cut], counts: Counter[str]) -> tuple[int, str]:
    """The least `min_freq` at which training has enough unknown words to learn from.

    Enough is `ENOUGH_UNKNOWN` of their share in new text. That is dev's; without dev it is
    estimated by leaving each word of training out in turn: a word with a count of at most
    `min_freq` would then be unknown (Good 1953, in the form of Church and Gale 1991).

    Args:
        cuts: by `min_freq`, ascending.
        counts: how often each word occurs in training.

    Returns:
        It, and a sentence with the shares that decide.
    """
    for cut in cuts:
        rare = sum(count for count in counts.values() if count <= cut.min_freq)
        later, source = rare / counts.total(), "new text, estimated from training"
        if cut.unknown_dev is not None:
            later, source = cut.unknown_dev, "dev"
        if cut.unknown_train >= ENOUGH_UNKNOWN * later:
            break
    reason = (
        f"{_percent(cut.unknown_train)} of the words of training are then unknown, "
        f"{_percent(later)} of {source}"
    )
    return cut.min_freq, reason


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
    least, reason = study.recommended
    lines += [", ".join(quantiles), "", *padding_as_text(study.padding), ""]
    lines.append(f"recommended: --min_freq {least}; {reason}")
    return "\n".join(lines)


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
