"""The tokenizer of an encoder, or of a network on words: of taggers and classifiers alike."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipelines.errors import UserError
from pipelines.networks import weights


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Loads a fast tokenizer, with a padding token, that pads on the right.

    A fast tokenizer knows which characters a token covers, which a tagger reads.

    Args:
        name: a folder, a Hub id or a `local:` name.

    Raises:
        UserError: when it could not be loaded, or is not a fast one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.resolve(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of {name!r} is not a fast one; take a model with a tokenizer.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    return tokenizer
