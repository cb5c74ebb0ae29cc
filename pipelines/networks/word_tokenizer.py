"""A tokenizer whose tokens are the words of a corpus: WordLevel of `tokenizers`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.spans import UNSPACED

PAD, UNKNOWN = "[PAD]", "[UNK]"
TOKENIZER_FILE = "tokenizer.json"
# `spans.word_units` as a regular expression of `tokenizers`, which names character categories.
UNIT = rf"[{UNSPACED}]\p{{M}}*|(?:(?![{UNSPACED}])[\p{{L}}\p{{N}}]\p{{M}}*)+|.\p{{M}}*"


def vocabulary(counts: Counter[str], *, min_freq: int = 1, remove_frac: float = 0.0) -> list[str]:
    """The words to keep, the most frequent first (ties in alphabetical order).

    Args:
        counts: how often each word occurs in training.
        min_freq: rarer words are left out.
        remove_frac: share of the remaining words, the rarest, that is left out too.

    Raises:
        UserError: when no word is left.
    """
    if not 0 <= remove_frac <= 1:
        raise UserError(f"got --remove_frac {remove_frac:g}; wanted a share between 0 and 1")
    frequent = [word for word, count in counts.items() if count >= min_freq]
    frequent.sort(key=lambda word: (-counts[word], word))
    kept = frequent[: len(frequent) - int(remove_frac * len(frequent))]
    if not kept:
        most = max(counts.values(), default=0)
        raise UserError(
            f"--min_freq {min_freq} and --remove_frac {remove_frac:g} leave none of "
            f"{len(counts)} words (the most frequent occurs {most} times); lower them"
        )
    return kept


def splitter(*, punctuation: bool = False) -> pre_tokenizers.PreTokenizer:
    """Splits a text into words at white space.

    The text of a tokenised example is its tokens joined by one blank, so this gives them back.

    Args:
        punctuation: for natural text, split words into their units too (`spans.word_units`).
    """
    spaces = pre_tokenizers.WhitespaceSplit()
    if not punctuation:
        return spaces
    units = pre_tokenizers.Split(Regex(UNIT), behavior="isolated")
    return pre_tokenizers.Sequence([spaces, units])


def word_counts(
    texts: Iterable[str], *, lowercase: bool = False, punctuation: bool = False
) -> Counter[str]:
    """How often each word occurs, split and normalised as by `word_tokenizer`.

    A token of a corpus that reads `[PAD]` or `[UNK]` is not counted: it stays an unknown word.
    """
    split = splitter(punctuation=punctuation)
    lower = normalizers.Lowercase()
    counts: Counter[str] = Counter()
    for text in texts:
        normal = lower.normalize_str(text) if lowercase else text
        counts.update(word for word, _ in split.pre_tokenize_str(normal))
    for reserved in (PAD, UNKNOWN):
        counts.pop(reserved, None)
    return counts


def word_tokenizer(
    words: Sequence[str],
    *,
    lowercase: bool = False,
    punctuation: bool = False,
    padding_side: str = "right",
    truncation_side: str = "right",
    max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """Creates a tokenizer with one token a word: [PAD] is 0, [UNK] is 1, then the words.

    Raises:
        UserError: for an unknown side.
    """
    for name, side in (("padding", padding_side), ("truncation", truncation_side)):
        if side not in ("left", "right"):
            raise UserError(f"got --{name}_side {side}; wanted left or right")
    ids = {word: index for index, word in enumerate([PAD, UNKNOWN, *words])}
    model = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    model.pre_tokenizer = splitter(punctuation=punctuation)
    if lowercase:
        model.normalizer = normalizers.Lowercase()
    options = {"model_max_length": max_length} if max_length else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side=padding_side,
        truncation_side=truncation_side,
        model_input_names=["input_ids", "attention_mask"],
        **options,
    )


def load_word_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """Loads a tokenizer of words: from a folder of its own, a model folder, or a run.

    Raises:
        UserError: when there is none, or it is of sub-words.
    """
    folders = [Path(folder), Path(folder) / "model"]
    found = next((path for path in folders if (path / TOKENIZER_FILE).is_file()), None)
    if found is None:
        raise UserError(
            f"{folder}: no {TOKENIZER_FILE}; give a folder that `pipelines vocabulary "
            "--save_tokenizer` wrote, or a run of a network on words"
        )
    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
            found, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{found}: its tokenizer could not be loaded ({reason})") from error
    is_of_words = isinstance(tokenizer.backend_tokenizer.model, models.WordLevel)
    if not is_of_words or (tokenizer.pad_token_id, tokenizer.unk_token_id) != (0, 1):
        raise UserError(
            f"{found}: a tokenizer of another kind; networks on words take one that `pipelines "
            "vocabulary --save_tokenizer` wrote"
        )
    return tokenizer
