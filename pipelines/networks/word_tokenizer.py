"""A tokenizer whose tokens are the words of a corpus: `tokenizers` WordLevel, as a PreTrainedTokenizerFast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines.errors import UserError

PAD, UNKNOWN = "[PAD]", "[UNK]"


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


def word_tokenizer(words: Sequence[str], *, lowercase: bool = False, padding_side: str = "right",
                   truncation_side: str = "right", max_length: int | None = None) -> PreTrainedTokenizerFast:
    """Makes a tokenizer that splits at white space; [PAD] is 0, [UNK] is 1, then come the words.

    The text of a tokenised example is its tokens joined by one blank, so its tokens are these, with their offsets.
    """
    for name, side in (("padding", padding_side), ("truncation", truncation_side)):
        if side not in ("left", "right"):
            raise UserError(f"got --{name}_side {side}; wanted left or right")
    numbers = {word: number for number, word in enumerate([PAD, UNKNOWN, *words])}
    model = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if lowercase:
        model.normalizer = normalizers.Lowercase()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token=PAD, unk_token=UNKNOWN, padding_side=padding_side,
        truncation_side=truncation_side, model_input_names=["input_ids", "attention_mask"],
        **({"model_max_length": max_length} if max_length else {}))


def word_counts(texts: Iterable[str], *, lowercase: bool = False) -> Counter[str]:
    """How often each word, split at white space, occurs."""
    return Counter(word for text in texts for word in (text.lower() if lowercase else text).split())
