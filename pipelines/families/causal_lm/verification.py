"""A question about each mention that a model wrote: is it one, yes or no?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from pipelines.examples import Example, Prediction, Span
from pipelines.families.causal_lm.candidates import Candidates
from pipelines.families.causal_lm.class_answers import (
    Continuation,
    continuation_log_probabilities,
)
from pipelines.families.causal_lm.loading import Loaded
from pipelines.families.causal_lm.prompt_tokens import (
    Prompt,
    class_answer_ids,
    class_pieces,
    question_ids,
)
from pipelines.prompting.class_formats import VERDICTS

KEPT_FROM = 0.5  # the least probability of a yes
MOST_WRONG = 4  # questions of a training text whose answer is no
YES, NO = map(VERDICTS.index, ("yes", "no"))


def questions(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    candidates: Candidates,
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields questions and answers about mentions, as token ids.

    Gold mentions are answered by yes, candidates that are no gold mention by no, at most
    `MOST_WRONG` a text. Candidates of training texts are those of models that did not see the text,
    so their mistakes are like those on new texts. A string is asked about once.
    """
    pieces = class_pieces(tokenizer, prompt.of_questions)
    answers = [class_answer_ids(pieces, [index]) for index in range(len(VERDICTS))]
    for example, named in zip(examples, candidates.of(examples), strict=True):
        gold = dict.fromkeys(_strings(example, example.spans or ()), YES)
        wrong = [key for key in _strings(example, named) if key not in gold]
        asked = gold | dict.fromkeys(list(dict.fromkeys(wrong))[:MOST_WRONG], NO)
        for (mention, label), verdict in asked.items():
            yield (
                question_ids(tokenizer, example.text, mention, label, prompt),
                answers[verdict],
            )


def _strings(example: Example, spans: Sequence[Span]) -> list[tuple[str, str]]:
    return [(example.text[span.start : span.end], span.label) for span in spans]


def verified(
    loaded: Loaded,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    batch_tokens: int,
) -> list[Prediction]:
    """The predictions with the mentions whose answer is yes.

    A mention's score is P(yes) / (P(yes) + P(no)); with less than 0.5 it is left out.

    Args:
        examples: what was answered, texts or windows of them.
        predictions: of each, with spans.
        batch_tokens: tokens of questions that are read at once, padding included.
    """
    tokenizer, prompt = loaded.tokenizer, loaded.prompt
    asked: dict[tuple[int, str, str], list[int]] = {}
    for row, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        for mention, label in _strings(example, prediction.spans or ()):
            if (row, mention, label) not in asked:
                ids = question_ids(tokenizer, example.text, mention, label, prompt)
                asked[row, mention, label] = ids
    pieces = class_pieces(tokenizer, prompt.of_questions)
    answers = [Continuation(ids, pieces.end[:1]) for ids in pieces.first]
    log_probabilities = continuation_log_probabilities(
        loaded.model, list(asked.values()), answers, batch_tokens=batch_tokens
    )  # (N, 2)
    chances = dict(zip(asked, log_probabilities.softmax(1)[:, YES].tolist(), strict=True))
    kept = []
    for row, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        strings = _strings(example, prediction.spans or ())
        scored = [
            replace(span, score=round(chances[row, *string], 6))
            for span, string in zip(prediction.spans or (), strings, strict=True)
        ]
        kept.append(_without_dropped(prediction, scored))
    return kept


def _without_dropped(prediction: Prediction, scored: Sequence[Span]) -> Prediction:
    """The prediction with those of its scored spans that stay, and what was written for them."""
    spans = tuple(span for span in scored if (span.score or 0.0) >= KEPT_FROM)
    dropped = {(span.start, span.end, span.label) for span in {*scored} - {*spans}}
    mentions = [
        mention
        for mention in prediction.mentions or ()
        if (*(mention["place"] or ()), mention["label"]) not in dropped
    ]
    return replace(prediction, spans=spans, mentions=tuple(mentions))
