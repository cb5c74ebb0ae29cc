"""Control tokens that occur in a text (`</s>`, `<|im_end|>`) are read as text.

`tokenizer(text)` takes them for the model's own tokens, so that a text could end the answer or open
another turn. A text by itself is encoded by `text_ids`. A text inside a chat template is shielded
first, since the template's own control tokens have to remain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

# A noncharacter of Unicode (23.7), which no text interchanged holds.
MARK = "\ufdd0"


def control_strings(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The control tokens of a tokenizer as strings, the longest first."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    strings = {*added, *tokenizer.all_special_tokens} - {""}
    return sorted(strings, key=lambda string: (-len(string), string))


def control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches any control token, in any case: some tokenizers lower the case of a text first."""
    pattern = "|".join(map(re.escape, control_strings(tokenizer)))
    return re.compile(pattern or r"(?!)", re.IGNORECASE)


def text_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = True
) -> list[int]:
    """Token ids of a text whose control tokens are read as text.

    Args:
        tokenizer: the model's.
        text: any string.
        add_special_tokens: put the model's own tokens around the text, as its tokenizer does.
    """
    # Only where it has an effect, since some tokenizers lack this option.
    options = {"split_special_tokens": True} if control_pattern(tokenizer).search(text) else {}
    return tokenizer(text, add_special_tokens=add_special_tokens, **options)["input_ids"]


def shield(
    tokenizer: PreTrainedTokenizerBase, text: str, *, first: int = 0
) -> tuple[str, list[str]]:
    """Replaces the control tokens in a text by marks that no tokenizer takes for control tokens.

    Args:
        first: the number of the first mark, where a conversation has several texts.

    Returns:
        The text, and the strings that were replaced, in order.
    """
    strings: list[str] = []

    def mark(match: re.Match[str]) -> str:
        strings.append(match[0])
        return f"{MARK}{first + len(strings) - 1}{MARK}"

    return control_pattern(tokenizer).sub(mark, text), strings


def unshield(text: str, strings: Sequence[str]) -> str:
    """Restores what `shield` replaced."""
    for index, string in enumerate(strings):
        text = text.replace(f"{MARK}{index}{MARK}", string, 1)
    return text


def rendered_ids(tokenizer: Any, rendered: str, strings: Sequence[str]) -> list[int]:
    """Token ids of a shielded text that a chat template has rendered.

    The template's control tokens become tokens, `strings` become text. As in a tokenizer, the
    string is split at control tokens, and each piece between two is read by itself.
    """
    if not strings:
        return tokenizer(rendered, add_special_tokens=False)["input_ids"]
    ids: list[int] = []
    controls = control_strings(tokenizer)
    for piece in re.split(f"({'|'.join(map(re.escape, controls))})", rendered):
        if piece in controls:
            ids.append(tokenizer.convert_tokens_to_ids(piece))
        elif piece:
            ids += text_ids(tokenizer, unshield(piece, strings), add_special_tokens=False)
    return ids
