"""A tokenizer whose tokens are the words of a corpus: `tokenizers` WordLevel, as a PreTrainedTokenizerFast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.spans import UNSPACED

PAD, UNKNOWN = "[PAD]", "[UNK]"
# `spans.word_units` in the regular expressions of `tokenizers`, which name categories of characters.
UNIT = rf"[{UNSPACED}]\p{{M}}*|(?:(?![{UNSPACED}])[\p{{L}}\p{{N}}]\p{{M}}*)+|.\p{{M}}*"


def vocabulary(counts: Counter[str], *, min_freq: int = 1, remove_frac: float = 0.0) -> list[str]:
    """The words to keep, the most frequent first (ties in alphabetical order).

    Args:
        counts: how often each word occurs in training.
        min_freq: words that occur less often are left out.
        remove_frac: share of what is then left, the rarest, that is left out too.

    Raises:
        UserError: when that leaves no word.
    """
    if not 0 <= remove_frac <= 1:
        raise UserError(f"got --remove_frac {remove_frac:g}; wanted a share between 0 and 1")
    frequent = sorted((word for word, count in counts.items() if count >= min_freq),
                      key=lambda word: (-counts[word], word))
    kept = frequent[:len(frequent) - int(remove_frac * len(frequent))]
    if not kept:
        most = max(counts.values(), default=0)
        raise UserError(f"--min_freq {min_freq} and --remove_frac {remove_frac:g} leave none of {len(counts)} words "
                        f"(the most frequent occurs {most} times); lower them")
    return kept


def splitter(*, punctuation: bool = False) -> pre_tokenizers.PreTokenizer:
    """What cuts a text into words: white space; natural text is cut into its units (`spans.word_units`).

    The text of a tokenised example is its tokens joined by one blank, so white space gives them back.
    """
    spaces = pre_tokenizers.WhitespaceSplit()
    if not punctuation:
        return spaces
    return pre_tokenizers.Sequence([spaces, pre_tokenizers.Split(Regex(UNIT), behavior="isolated")])


def word_counts(texts: Iterable[str], *, lowercase: bool = False, punctuation: bool = False) -> Counter[str]:
    """How often each word occurs, as `word_tokenizer` cuts and writes them.

    A token of a corpus that reads `[PAD]` or `[UNK]` is not counted: it stays an unknown word.
    """
    split, written = splitter(punctuation=punctuation), normalizers.Lowercase() if lowercase else None
    counts: Counter[str] = Counter()
    for text in texts:
        pieces = split.pre_tokenize_str(written.normalize_str(text) if written else text)
        counts.update(word for word, _ in pieces)
    for reserved in (PAD, UNKNOWN):
        counts.pop(reserved, None)
    return counts


def word_tokenizer(words: Sequence[str], *, lowercase: bool = False, punctuation: bool = False,
                   padding_side: str = "right", truncation_side: str = "right",
                   max_length: int | None = None) -> PreTrainedTokenizerFast:
    """Makes a tokenizer with one token a word: [PAD] is 0, [UNK] is 1, then come the words.

    Raises:
        UserError: for a side that is none.
    """
    for name, side in (("padding", padding_side), ("truncation", truncation_side)):
        if side not in ("left", "right"):
            raise UserError(f"got --{name}_side {side}; wanted left or right")
    numbers = {word: number for number, word in enumerate([PAD, UNKNOWN, *words])}
    model = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    model.pre_tokenizer = splitter(punctuation=punctuation)
    if lowercase:
        model.normalizer = normalizers.Lowercase()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token=PAD, unk_token=UNKNOWN, padding_side=padding_side,
        truncation_side=truncation_side, model_input_names=["input_ids", "attention_mask"],
        **({"model_max_length": max_length} if max_length else {}))
