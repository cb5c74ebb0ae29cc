"""What a vocabulary's filters cost: its size and the share of unknown words, against min_freq and remove_frac."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.networks.word_tokenizer import vocabulary, word_counts

MIN_FREQS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
REMOVE_FRACS = tuple(tenth / 10 for tenth in range(10))


@dataclass(frozen=True, slots=True)
class Cut:
    """A setting of the filters, and what it leaves.

    Attributes:
        size: words kept.
        unknown_train, unknown_dev: share of the running words of training and dev that are then unknown.
    """

    min_freq: int
    remove_frac: float
    size: int
    unknown_train: float
    unknown_dev: float | None


@dataclass(frozen=True, slots=True)
class VocabularyStudy:
    """Attributes: ``by_min_freq`` at remove_frac 0; ``by_remove_frac`` at a given min_freq; sentences by length."""

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
        """The least length that so large a share of the sentences does not exceed."""
        reached = 0
        for length, number in sorted(self.lengths.items()):
            reached += number
            if reached >= share * self.sentences:
                return length
        return max(self.lengths)


def study_vocabulary(train: Sequence[Example], dev: Sequence[Example] | None = None, *, file: str | Path = "",
                     dev_file: str | Path | None = None, lowercase: bool = False,
                     min_freq: int = 1) -> VocabularyStudy:
    """Counts words as the word tokenizer cuts them (in natural text punctuation stands alone), and tries the filters.

    Args:
        min_freq: at which remove_frac is tried.

    Raises:
        UserError: when there is no word, or none as frequent as ``min_freq``.
    """
    if min_freq < 1:
        raise UserError(f"got --min_freq {min_freq}; wanted at least 1")
    how = {"lowercase": lowercase, "punctuation": any(example.tokens is None for example in train)}
    counts = word_counts((example.text for example in train), **how)
    if not counts:
        raise UserError(f"{file}: no word in {len(train)} examples; give a file with text")
    vocabulary(counts, min_freq=min_freq)  # refuses a min_freq that leaves nothing
    dev_counts = None if dev is None else word_counts((example.text for example in dev), **how)
    most = max(counts.values())

    def cut(min_freq: int, remove_frac: float) -> Cut:
        try:
            kept = set(vocabulary(counts, min_freq=min_freq, remove_frac=remove_frac))
        except UserError:
            kept = set()
        return Cut(min_freq, remove_frac, len(kept), _unknown(counts, kept),
                   None if dev_counts is None else _unknown(dev_counts, kept))

    return VocabularyStudy(
        file=str(file), dev_file=None if dev_file is None else str(dev_file), lowercase=lowercase, min_freq=min_freq,
        sentences=len(train), running_words=counts.total(),
        dev_running_words=dev_counts.total() if dev_counts else 0,
        by_min_freq=[cut(least, 0.0) for least in MIN_FREQS if least <= most],
        by_remove_frac=[cut(min_freq, share) for share in REMOVE_FRACS],
        lengths=dict(sorted(Counter(word_counts([example.text], **how).total() for example in train).items())))


def _unknown(counts: Counter[str], kept: set[str]) -> float:
    total = counts.total()
    return sum(count for word, count in counts.items() if word not in kept) / total if total else 0.0


def vocabulary_as_text(study: VocabularyStudy) -> str:
    """The tables, for a terminal."""
    lines = [facts(study), ""]
    for title, cuts, show in (
        ("min_freq", study.by_min_freq, lambda cut: str(cut.min_freq)),
        (f"remove_frac (at min_freq {study.min_freq})", study.by_remove_frac, lambda cut: f"{cut.remove_frac:.1f}"),
    ):
        dev_head = f"{'unknown, dev':>15}" if study.dev_file else ""
        lines.append(f"{title:<30}{'words':>9}{'unknown, train':>17}{dev_head}")
        for cut in cuts:
            dev = "" if cut.unknown_dev is None else f"{100 * cut.unknown_dev:>13.2f} %"
            lines.append(f"{show(cut):<30}{cut.size:>9,}{100 * cut.unknown_train:>15.2f} %{dev}")
        lines.append("")
    quantiles = ", ".join(f"{100 * share:g} % of the sentences have at most {study.length_at(share)} words"
                          for share in (0.5, 0.9, 0.99, 1.0))
    return "\n".join([*lines, quantiles])


def facts(study: VocabularyStudy) -> str:
    first = study.by_min_freq[0]
    words = f"{study.sentences:,} sentences, {study.running_words:,} words, {first.size:,} different"
    dev = "" if first.unknown_dev is None else \
        f"; {study.dev_file}: {study.dev_running_words:,} words, {100 * first.unknown_dev:.2f} % not in training"
    return f"{study.file}: {words}{', lower-cased' if study.lowercase else ''}{dev}"
