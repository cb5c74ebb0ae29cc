"""Language models: the likelihood of texts, by a recurrent network or by trigrams over words.

A prediction's `value` is the negative natural log-likelihood of a text with its end mark, and its
`scores` say what it sums over: `tokens` (the end mark is one), `end`, the nats of the end mark,
`unknown`, the words that were read as `[UNK]`, and `spelling`, the nats of their letters, which the
value does not contain. Texts are independent: each starts from the begin mark and the zero state.

Masked language modelling, which pretrains an encoder, is in `masked_lm`; scoring of any causal
language model in `scoring`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.kneser_ney import KneserNey
from pipelines.evaluation.word_trigrams import Spelling
from pipelines.examples import Example, Prediction
from pipelines.families.batching import chunks, progress_bar
from pipelines.families.language_model.token_nats import nats_of_tokens
from pipelines.families.language_model.word_tokens import EncodedText, encode_words
from pipelines.formatting import text_table
from pipelines.networks import precision, recurrent_lm, weights

MODEL_FILE = "language_model.json"
COUNTS_FILE = "counts.safetensors"
BATCH_TOKENS = 2048  # tokens of a batch in prediction: each has a logit for every word
TRIGRAM = "kneser_ney"
NETWORKS = (TRIGRAM, *recurrent_lm.CELLS)
Model = PreTrainedModel | KneserNey


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """What the folder of a model says of it.

    Attributes:
        network: one of `NETWORKS`.
        characters: those that unknown words are spelt with, in the order of their symbols.
    """

    network: str
    characters: str


class Loaded(NamedTuple):
    """A model ready to predict."""

    model: Model
    tokenizer: Tokenizer
    spelling: Spelling
    settings: LanguageSettings


def predict(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> list[Prediction]:
    """The negative log-likelihood of each text, in nats.

    Args:
        batch_tokens: tokens of a batch at most, padding included.
        progress: show a bar on a terminal.
    """
    predictions: list[Prediction] = []
    with progress_bar(len(examples), "scoring", show=progress) as bar:
        for part in chunks(examples):
            encoded = encode_words([example.text for example in part], loaded.tokenizer)
            rows = [text.ids for text in encoded]
            if isinstance(loaded.model, KneserNey):
                nats = [_trigram_nats(loaded.model, loaded.tokenizer, row) for row in rows]
                bar.update(len(rows))
            else:
                nats = nats_of_tokens(
                    loaded.model, rows, batch_tokens=batch_tokens, advance=bar.update
                )
            for example, text, values in zip(part, encoded, nats, strict=True):
                predictions.append(_prediction(example, text, values, loaded.spelling))
    return predictions


def _prediction(
    example: Example, text: EncodedText, nats: np.ndarray, spelling: Spelling
) -> Prediction:
    """A text's answer. Digits beyond the sixth depend on the order of floating-point sums."""
    scores = {
        "tokens": len(nats),
        "end": round(float(nats[-1]), 6),
        "unknown": len(text.unknown),
        "spelling": round(sum(map(spelling.nats, text.unknown)), 6),
    }
    return Prediction(example.id, value=round(float(nats.sum()), 6), scores=scores)


def symbols(tokenizer: Tokenizer, row: Sequence[int]) -> list[int]:
    """The predicted tokens of a row as symbols of a trigram: 0 is the end mark, 1 unknown.

    Neither the begin mark nor padding is ever predicted, so that they have no symbol.
    """
    first_word = int(tokenizer.eos_token_id) + 1
    known = {tokenizer.eos_token_id: 0, tokenizer.unk_token_id: 1}
    return [known[token] if token in known else token - first_word + 2 for token in row[1:]]


def _trigram_nats(model: KneserNey, tokenizer: Tokenizer, row: Sequence[int]) -> np.ndarray:
    return model.nats(symbols(tokenizer, row))


def sample(
    loaded: Loaded,
    prompt: str,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 60,
    seed: int = 0,
) -> str:
    """A text that begins with a prompt, drawn word by word until its end mark.

    Padding, begin mark and the unknown word are never drawn.

    Args:
        temperature: divides the logits; 0 takes the likeliest word each time.
        top_p: draw among the likeliest words that together have this probability.

    Raises:
        UserError: for a model that does not write, or options out of range.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    if isinstance(model, KneserNey):
        raise UserError(f"--sample draws from a network; --network {TRIGRAM} only scores texts")
    check_sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
    [encoded] = encode_words([prompt], tokenizer)
    ids = torch.tensor([encoded.ids[:-1]], device=model.device)
    drawn = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    options = drawn if temperature else {"do_sample": False}
    torch.manual_seed(seed)
    never = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id]
    with torch.inference_mode():
        written = model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            suppress_tokens=never,
            **options,
        )
    return str(tokenizer.decode(written[0, 1:], skip_special_tokens=True))


def check_sampling(*, temperature: float, top_p: float, max_new_tokens: int) -> None:
    """Refuses options out of range.

    Raises:
        UserError: naming them all.
    """
    faults = []
    if temperature < 0:
        faults.append(f"--temperature {temperature:g}; wanted 0 or more")
    if not 0 < top_p <= 1:
        faults.append(f"--top_p {top_p:g}; wanted a share above 0, up to 1")
    if max_new_tokens < 1:
        faults.append(f"--sample_tokens {max_new_tokens}; wanted 1 or more")
    if faults:
        raise UserError(f"got {', '.join(faults)}")


def sizes_as_text(loaded: Loaded) -> str:
    """The counts of a trigram model; empty for a network, whose tensors are counted instead."""
    model = loaded.model
    if not isinstance(model, KneserNey):
        return ""
    counts = [[name, f"{size:,}"] for name, size in model.sizes().items()]
    return "\n".join(text_table(["table", "numbers"], counts))


def save(folder: str | Path, loaded: Loaded) -> None:
    """Saves a model with its tokenizer and the counts of its trigrams.

    The settings are written last: a folder without them was not saved to the end.
    """
    folder = Path(folder)
    counts = {"spelling": loaded.spelling.model.to_array()}
    if isinstance(loaded.model, KneserNey):
        counts["words"] = loaded.model.to_array()
    else:
        loaded.model.save_pretrained(str(folder))
        # It repeats the ids of config.json, and a damaged one would be skipped in silence.
        (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(counts, folder / COUNTS_FILE)
    loaded.tokenizer.save_pretrained(folder)
    with replacing(folder / MODEL_FILE) as f:
        json.dump(asdict(loaded.settings), f, indent=1, ensure_ascii=False)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no finished model, or a damaged one.
    """
    folder = Path(folder)
    settings = _read_settings(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        counts = load_file(folder / COUNTS_FILE)
        index = {character: at for at, character in enumerate(settings.characters, start=2)}
        spelling = Spelling(index, KneserNey.from_array(counts["spelling"], len(index) + 2))
        if settings.network == TRIGRAM:
            n_symbols = len(tokenizer) - 2  # without padding and begin mark
            model: Model = KneserNey.from_array(counts["words"], n_symbols)
        else:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False
            )
            model.to(device or precision.choose().device).eval()  # type: ignore[arg-type]
    except (*weights.LOADING_ERRORS, SafetensorError, AttributeError) as error:
        raise weights.unavailable(str(folder), error) from error
    return Loaded(model, tokenizer, spelling, settings)


def _read_settings(folder: Path) -> LanguageSettings:
    file = folder / MODEL_FILE
    if not file.is_file():
        raise UserError(
            f"{folder}: no {MODEL_FILE}, so no finished model; give the folder of a run that has "
            "model/"
        )
    try:
        settings = LanguageSettings(**json.loads(file.read_text(encoding="utf-8")))
        if settings.network not in NETWORKS or not isinstance(settings.characters, str):
            raise ValueError(f"the network {settings.network!r}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file}: damaged ({type(error).__name__}: {error}); give the folder of a run that "
            "finished training"
        ) from error
    return settings
