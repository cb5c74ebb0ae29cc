"""Perplexity per word of any causal language model: comparable between tokenizers.

A model of sub-words writes every string; a model of words writes `[UNK]` for a word that it does
not know, which costs less than the word. So the letters of unknown words are added (`spelling`),
and end marks are left out, which not every model writes: what is left is the likelihood of the same
strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipelines.evaluation import significance
from pipelines.evaluation.regression import perplexity
from pipelines.examples import Example, Prediction
from pipelines.families.batching import chunks, progress_bar
from pipelines.families.causal_lm.control_tokens import control_strings, text_ids
from pipelines.families.language_model.token_nats import nats_of_tokens

END_OF_TEXT = "<|endoftext|>"
# What ends a text in pretraining, where a chat model's end token ends a turn.
ENDS_OF_TEXT = (END_OF_TEXT, "<|end_of_text|>")
BATCH_TOKENS = 2048


class WordPerplexity(NamedTuple):
    """How well a model predicts the words of texts.

    Attributes:
        tokens: that it reads of the texts, end marks not among them.
        words: what stands between blanks.
        unknown: words that it does not know, spelt here letter by letter.
        per_token: perplexity of its own tokens, in which an unknown word is one token.
        per_word: perplexity of the words.
        interval: of the latter, 95 % by resampling texts, or documents of several.
    """

    tokens: int
    words: int
    unknown: int
    per_token: float
    per_word: float
    interval: list[float]


def begin_of_text(tokenizer: Tokenizer) -> int | None:
    """The token after which a model expects a text; None where its tokenizer has none.

    What the tokenizer itself puts before a text, else the token between two texts of pretraining
    (`<|endoftext|>` of the GPT family, also where a chat template has other marks), else its begin
    or end token.
    """
    ids = tokenizer("a")["input_ids"]
    if ids and ids[0] in tokenizer.all_special_ids:
        return int(ids[0])
    if END_OF_TEXT in control_strings(tokenizer):
        return tokenizer.get_vocab()[END_OF_TEXT]
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return None


def end_of_text(tokenizer: Tokenizer) -> int:
    """The token that ends a text in pretraining: `<|endoftext|>` or its like, else the end token.

    Args:
        tokenizer: with an end token, as `causal_lm.load_tokenizer` gives it.
    """
    controls = control_strings(tokenizer)
    for token in ENDS_OF_TEXT:
        if token in controls:
            return tokenizer.get_vocab()[token]
    return int(tokenizer.eos_token_id)


def causal_nats(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> list[Prediction]:
    """The negative log-likelihood of each text under a causal model of sub-words, in nats.

    Texts end with their last token: `scores` holds `tokens` alone. Control tokens in a text are
    read as text.

    Args:
        batch_tokens: tokens of a batch at most, padding included.
        progress: show a bar on a terminal.
    """
    begin = begin_of_text(tokenizer)
    predictions: list[Prediction] = []
    with progress_bar(len(examples), "scoring", show=progress) as bar:
        for part in chunks(examples):
            rows = []
            for example in part:
                ids = text_ids(tokenizer, example.text, add_special_tokens=False)
                rows.append(ids if begin is None else [begin, *ids])
            nats = nats_of_tokens(model, rows, batch_tokens=batch_tokens, advance=bar.update)
            for example, values in zip(part, nats, strict=True):
                value = round(float(values.sum()), 6)
                predictions.append(
                    Prediction(example.id, value=value, scores={"tokens": len(values)})
                )
    return predictions


def word_perplexity(
    examples: Sequence[Example], predictions: Sequence[Prediction]
) -> WordPerplexity:
    """Summed over the texts first, divided once.

    Args:
        examples: with at least one word.
        predictions: one for each, in the same order: of `predict` or `causal_nats`.
    """
    rows, tokens, unknown, token_nats = [], 0, 0, 0.0
    for example, prediction in zip(examples, predictions, strict=True):
        scores, nats = prediction.scores or {}, float(prediction.value or 0.0)
        has_end = "end" in scores
        rows.append(
            (nats - scores.get("end", 0.0) + scores.get("spelling", 0.0), len(example.text.split()))
        )
        tokens += round(scores["tokens"]) - has_end
        unknown += round(scores.get("unknown", 0))
        token_nats += nats - scores.get("end", 0.0)
    counts = np.array(rows, dtype=float)
    nats, words = counts.sum(axis=0)
    units = significance.resampling_units(examples)
    return WordPerplexity(
        tokens=tokens,
        words=int(words),
        unknown=unknown,
        per_token=perplexity(token_nats, max(tokens, 1)),
        per_word=perplexity(nats, max(int(words), 1)),
        interval=significance.bootstrap_interval(counts, significance.mean_perplexity, units),
    )
