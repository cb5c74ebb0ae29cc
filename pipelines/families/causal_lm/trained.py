"""What training leaves, and how it is saved: an adapter, a whole model, an adapter merged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from pipelines.families.causal_lm.candidates import load_candidates
from pipelines.families.causal_lm.loading import (
    base_of,
    load_merged,
    load_tokenizer,
    read_settings,
    save,
)
from pipelines.families.causal_lm.prompt_tokens import Prompt
from pipelines.families.causal_lm.sft import AnswerTrainer, trained_model

logger = logging.getLogger(__name__)


class Trained(NamedTuple):
    """What was trained; the trainer holds the best checkpoint of it.

    Attributes:
        base_model: name of the model that an adapter was trained on.
    """

    trainer: AnswerTrainer
    tokenizer: PreTrainedTokenizerBase
    prompt: Prompt
    base_model: str

    def save(self, folder: Path) -> None:
        """Saves the adapter, or the whole model where all of it was trained."""
        save(
            folder,
            model=trained_model(self.trainer),
            tokenizer=self.tokenizer,
            prompt=self.prompt,
            base_model=self.base_model,
            initial=self.trainer.initial_adapter,
            candidates=self.trainer.candidates,
        )

    def save_merged(self, folder: Path, *, adapter: Path, trust_remote_code: bool) -> None:
        """Saves the sum of base and adapter, in whole weights; nothing is trained afterwards.

        Args:
            adapter: the folder that the adapter was saved to. It is added to a quantised base as
                that is stored: added to the quantised weights, it would be rounded like them.
        """
        network = trained_model(self.trainer)
        if getattr(network.get_base_model(), "is_quantized", False):
            logger.info("merging the adapter into %s, as it is stored", self.base_model)
            save_merged(adapter, folder, trust_remote_code=trust_remote_code)
            return
        save(
            folder,
            model=network.merge_and_unload(),
            tokenizer=self.tokenizer,
            prompt=self.prompt,
            base_model=self.base_model,
            candidates=self.trainer.candidates,
        )


def save_merged(adapter: Path, folder: str | Path, *, trust_remote_code: bool = False) -> None:
    """Saves the sum of an adapter of a quantised base and of that base as it is stored.

    Args:
        adapter: the model folder with the adapter.
        folder: of the whole model.

    Raises:
        UserError: when the base could not be loaded.
    """
    settings, prompt = read_settings(adapter)
    base = base_of(settings, adapter)
    network = load_merged(adapter, settings, dtype="auto", trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(str(adapter), trust_remote_code=trust_remote_code)
    save(
        folder,
        model=network,
        tokenizer=tokenizer,
        prompt=prompt,
        base_model=base,
        candidates=load_candidates(adapter) if prompt.candidates else None,
    )
