"""A causal language model that writes the mentions of a text, or is asked for its class.

Training and prediction render and tokenise with the same two functions, `prompt_ids` and
`answer_ids`; a hash of what they make of a probe is stored beside the weights and checked at load.
Training itself is in `sft.py`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from pipelines.alignment.strings import mention_to_json
from pipelines.examples import Example, Prediction, Span
from pipelines.families.batching import chunks, progress_bar
from pipelines.families.causal_lm.candidates import within
from pipelines.families.causal_lm.class_answers import predict_classes
from pipelines.families.causal_lm.control_tokens import text_ids
from pipelines.families.causal_lm.generation import Answer, Grammar, generate_samples
from pipelines.families.causal_lm.loading import (
    PROMPT_FILE,
    Loaded,
    context_length,
    load,
    load_network,
    load_tokenizer,
    most_tokens,
    save,
    save_scaling,
)
from pipelines.families.causal_lm.prompt_tokens import (
    STYLES,
    Prompt,
    answer_ids,
    answer_lead,
    prompt_for,
    prompt_hash,
    prompt_ids,
    prompt_of_examples,
)
from pipelines.families.causal_lm.sampling import with_samples
from pipelines.families.causal_lm.text_windows import TextWindow, merged_prediction, text_windows
from pipelines.families.causal_lm.verification import verified
from pipelines.families.causal_lm.vllm_server import VllmServer, connect
from pipelines.formatting import some
from pipelines.prompting import formats, grammars
from pipelines.prompting.minimum_risk import least_risk
from pipelines.prompting.prompts import Shot

SHORT_ANSWER = 256  # tokens that are reserved for a list of mentions, however long the text is
__all__ = [
    "PROMPT_FILE",
    "STYLES",
    "Loaded",
    "Prompt",
    "answer_ids",
    "connect",
    "context_length",
    "load",
    "load_network",
    "load_tokenizer",
    "predict",
    "predict_everywhere",
    "prompt_for",
    "prompt_hash",
    "prompt_ids",
    "prompt_of_examples",
    "save",
    "save_scaling",
    "with_samples",
]
logger = logging.getLogger(__name__)


def predict(
    loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int = 1024, progress: bool = True
) -> list[Prediction]:
    """Answers each example: mentions as below, classes by `class_answers.predict_classes`.

    Mentions are generated greedily. A span's score is the probability of the tokens of its string,
    given all before them. Where the prompt asks for samples, the answer is the one that agrees most
    with them, and a span's score is the share of them that have it. `loaded.scaling` makes scores
    probabilities of being right. With `prompt.verify` see `verification.verified`. A text that
    does not fit into the model's context with its prompt and answer is read in overlapping windows;
    where even that is impossible the answer is empty, with the status `unparsable`. A warning names
    both kinds.

    Args:
        loaded: the model.
        examples: labelled or not.
        batch_tokens: at most this many prompt tokens at a time, padding included.
        progress: show a bar on a terminal.
    """
    if loaded.prompt.answer == "label":
        return predict_classes(loaded, examples, batch_tokens=batch_tokens, progress=progress)
    predictions: list[Prediction] = []
    is_served = isinstance(loaded.model, VllmServer)
    with progress_bar(len(examples), "generating", show=progress) as bar:
        for part in [examples] if is_served else chunks(examples):
            predictions += _predict_part(loaded, part, batch_tokens=batch_tokens, bar=bar)
    if loaded.scaling is not None:
        predictions = loaded.scaling.of_spans(predictions)
    return predictions


def predict_everywhere(
    loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int
) -> list[Prediction]:
    """Each process predicts a part; all of them get the whole, in the order of the examples."""
    state = PartialState()
    mine = predict(
        loaded,
        examples[state.process_index :: state.num_processes],
        batch_tokens=batch_tokens,
        progress=state.is_main_process,
    )
    by_id = {prediction.id: prediction for prediction in gather_object(mine)}
    return [by_id[example.id] for example in examples]


class _Request(NamedTuple):
    """What the model is asked about an example: the whole text, windows of it, or nothing.

    Attributes:
        prompts: token ids of the prompt of each piece.
    """

    example: Example
    windows: list[TextWindow]
    pieces: list[Example]
    prompts: list[list[int]]


def _predict_part(
    loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int, bar: tqdm
) -> list[Prediction]:
    model, tokenizer, prompt = loaded.model, loaded.tokenizer, loaded.prompt
    requests = _requests(loaded, examples)
    pieces = [piece for request in requests for piece in request.pieces]
    prompts = [ids for request in requests for ids in request.prompts]
    context = most_tokens(model.config)
    limits = [
        min(_answer_limit(tokenizer, piece.text), context - len(ids))
        for piece, ids in zip(pieces, prompts, strict=True)
    ]
    lead = answer_lead(tokenizer, prompt)
    total = bar.n + len(examples)
    # Where a text has several windows or answers, a finished answer is not a finished text.
    is_whole = len(pieces) == len(examples) and not prompt.samples
    generate: Any
    if isinstance(model, VllmServer):
        generate = model.answers
    else:
        generate = partial(
            generate_samples,
            model,
            tokenizer,
            samples=prompt.samples,
            temperature=prompt.temperature,
            batch_tokens=batch_tokens,
        )
    answers = generate(
        prompts,
        limits=limits,
        grammars=[_grammar(piece.text, prompt, lead) for piece in pieces],
        advance=bar.update if is_whole else lambda count: None,
    )
    bar.update(total - bar.n)
    parsed = [
        _chosen(piece, own, tokenizer, prompt) for piece, own in zip(pieces, answers, strict=True)
    ]
    if prompt.verify:
        parsed = verified(loaded, pieces, parsed, batch_tokens=batch_tokens)
    of_pieces = iter(parsed)
    return [_answered(request, of_pieces) for request in requests]


def _answered(request: _Request, parsed: Iterator[Prediction]) -> Prediction:
    """The prediction of one example, from the next of those of all pieces."""
    parts = [next(parsed) for _ in request.pieces]
    if request.windows:
        return merged_prediction(request.example, request.windows, parts)
    if parts:
        return parts[0]
    return Prediction(request.example.id, spans=(), raw="", status="unparsable", mentions=())


def _requests(loaded: Loaded, examples: Sequence[Example]) -> list[_Request]:
    """What to ask about each example; warns of texts that are longer than the context.

    The farthest shots are left out where a text does not fit with all of them.
    """
    shots, prompt = loaded.shots, loaded.prompt
    context = most_tokens(loaded.model.config)
    nearest = shots.nearest(examples, prompt.shots) if shots else [[] for _ in examples]
    named: Sequence[Sequence[Span] | None] = [None for _ in examples]
    if loaded.candidates is not None:
        named = loaded.candidates.of(examples)
    requests: list[_Request] = []
    windowed: list[str] = []
    unanswered: list[str] = []
    for example, own, spans in zip(examples, nearest, named, strict=True):
        most = context - _room(loaded, example.text)
        ids = _prompt(loaded, example.text, spans, shots=own)
        while own and len(ids) > most:
            own = own[1:]
            ids = _prompt(loaded, example.text, spans, shots=own)
        if len(ids) <= most:
            requests.append(_Request(example, [], [example], [ids]))
            continue
        request, tokens = _in_windows(loaded, example, spans, context)
        requests.append(request)
        (windowed if request.windows else unanswered).append(f"{example.id} ({tokens} tokens)")
    _warn_of_long_texts(windowed, unanswered, context)
    return requests


def _in_windows(
    loaded: Loaded, example: Example, spans: Sequence[Span] | None, context: int
) -> tuple[_Request, int]:
    """What to ask about the windows of a long text, and the number of tokens of the whole."""

    def tokens_for(text: str) -> int:
        room = _room(loaded, text)
        # Candidates of a window take at most what its answer may take.
        more = 0 if spans is None else room
        return len(_prompt(loaded, text, None if spans is None else ())) + room + more

    tokens = tokens_for(example.text)
    windows = text_windows(
        example.text, lambda text: tokens_for(text) <= context, parts=tokens // context + 1
    )
    pieces, prompts = [], []
    for window in windows:
        piece = Example(example.id, example.text[window.start : window.end])
        own = None if spans is None else within(spans, window.start, window.end)
        ids = _prompt(loaded, piece.text, own)
        while own and len(ids) > context - _room(loaded, piece.text):
            own = own[:-1]
            ids = _prompt(loaded, piece.text, own)
        pieces.append(piece)
        prompts.append(ids)
    return _Request(example, windows, pieces, prompts), tokens


def _prompt(
    loaded: Loaded, text: str, spans: Sequence[Span] | None, shots: Sequence[Shot] = ()
) -> list[int]:
    return prompt_ids(loaded.tokenizer, text, loaded.prompt, shots=shots, candidates=spans)


def _room(loaded: Loaded, text: str) -> int:
    """Tokens that are reserved for the answer."""
    count = len(text_ids(loaded.tokenizer, text))
    return (count if loaded.prompt.format == "tagged" else min(count, SHORT_ANSWER)) + 32


def _warn_of_long_texts(windowed: list[str], unanswered: list[str], context: int) -> None:
    if windowed:
        logger.warning(
            "%d texts are longer than the model's %d tokens, prompt and answer included,"
            " and are read in overlapping windows: %s",
            len(windowed),
            context,
            some(windowed),
        )
    if unanswered:
        logger.warning(
            "%d texts get an empty answer (unparsable), since not even a part of them "
            "fits into the model's %d tokens with the prompt: %s",
            len(unanswered),
            context,
            some(unanswered),
        )


def _answer_limit(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    # A tagged answer repeats the text, and a list names a part of it.
    return 2 * len(text_ids(tokenizer, text)) + 32


def _grammar(text: str, prompt: Prompt, lead: str) -> Grammar | None:
    if not prompt.constrained:
        return None

    def grammar_of_rest(answer: str) -> str | None:
        if answer:
            return grammars.grammar_after(
                prompt.format, text, prompt.labels, answer, nested=prompt.nested
            )
        return grammars.grammar(prompt.format, text, prompt.labels, lead=lead)

    return grammar_of_rest


def _chosen(
    example: Example, answers: Sequence[Answer], tokenizer: PreTrainedTokenizerBase, prompt: Prompt
) -> Prediction:
    """The prediction of the greedy answer, or of the one that agrees most with its samples."""
    greedy, *samples = (_prediction(example, answer, tokenizer, prompt) for answer in answers)
    return least_risk(greedy, samples) if samples else greedy


def _prediction(
    example: Example, answer: Answer, tokenizer: PreTrainedTokenizerBase, prompt: Prompt
) -> Prediction:
    raw = str(tokenizer.decode(answer.ids, skip_special_tokens=True))
    ends = _token_ends(tokenizer, answer)
    parsed = formats.prompt_format(prompt.format).parse(
        raw, example.text, prompt.labels, cut_off=not answer.ended, nested=prompt.nested
    )
    spans, position = [], 0
    for mention in parsed.mentions:
        opening = f"<{mention.label}>" if prompt.format == "tagged" else ""
        start = raw.find(opening + mention.string, position)
        score = None
        if start >= 0:
            start += len(opening)
            position = start + len(mention.string)
            score = _probability(ends, start, position)
        if mention.span:
            span = mention.span
            spans.append(Span(span.start, span.end, span.label, score))
    return Prediction(
        example.id,
        spans=tuple(sorted(spans)),
        raw=raw,
        status=parsed.status if answer.ended else "cut_off",
        mentions=tuple(map(mention_to_json, parsed.mentions)),
    )


def _token_ends(tokenizer: PreTrainedTokenizerBase, answer: Answer) -> list[tuple[int, float]]:
    """For each token, where it ends in the decoded answer, and its log-probability."""
    lengths = [
        len(tokenizer.decode(answer.ids[:count], skip_special_tokens=True))
        for count in range(1, len(answer.ids) + 1)
    ]
    return list(zip(lengths, answer.log_probabilities, strict=False))


def _probability(ends: Sequence[tuple[int, float]], start: int, end: int) -> float:
    """The probability of the tokens that overlap characters `start` to `end` of the answer."""
    total, previous = 0.0, 0
    for token_end, log_probability in ends:
        if token_end > start and previous < end:
            total += log_probability
        previous = token_end
    return round(math.exp(total), 6)  # beyond that, digits change with the size of the batch
