"""Networks that read what a lexicon says of each word. It is saved with them, as `lexicon.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import cached_file

from pipelines.corpora.lexicon import Lexicon, lexicon_tags, load_lexicon, save_lexicon

LEXICON_FILE = "lexicon.json"
HUB_OPTIONS = ("cache_dir", "local_files_only", "revision", "subfolder", "token")


class ReadsLexicon(PreTrainedModel):
    """A network that may have a lexicon.

    Attributes:
        lexicon: None where the network has none, or was made from a config alone.
    """

    lexicon: Lexicon | None = None

    @property
    def lexicon_tags(self) -> Sequence[str]:
        """What the lexicon can say of a word; nothing where the network has none."""
        tags: Sequence[str] = self.config.lexicon_tags
        return tags

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *arguments: Any, **keywords: Any
    ) -> Any:
        """As the library's; loads the lexicon too."""
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *arguments, **keywords)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.lexicon_tags:
            hub = {name: keywords[name] for name in HUB_OPTIONS if name in keywords}
            path: Any = cached_file(pretrained_model_name_or_path, LEXICON_FILE, **hub)
            model.lexicon = load_lexicon(path)
        return loaded

    def save_pretrained(self, save_directory: Any, *arguments: Any, **keywords: Any) -> None:
        """As the library's; saves the lexicon too."""
        if self.lexicon is not None and keywords.get("is_main_process", True):
            # Before the rest, which `push_to_hub` uploads from the folder.
            Path(save_directory).mkdir(parents=True, exist_ok=True)
            save_lexicon(Path(save_directory) / LEXICON_FILE, self.lexicon)
        super().save_pretrained(save_directory, *arguments, **keywords)

    def match_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What `match_ids` says of words, (W,), where there is a lexicon."""
        if self.lexicon is None:
            return {}
        return {"matches": match_ids(self.lexicon, self.lexicon_tags, words)}


def match_ids(lexicon: Lexicon, tags: Sequence[str], words: Sequence[str]) -> list[int]:
    """(W,), the index in `tags` of what a lexicon says of each word of a text."""
    ids = {tag: index for index, tag in enumerate(tags)}
    return [ids[tag] for tag in lexicon_tags(lexicon, words)]
