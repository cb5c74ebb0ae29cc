"""Training of new adapters: how they start, and what of their start has to be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor

from pipelines.families.causal_lm import adapters
from pipelines.families.training import TrainerMixin


class InitialAdapter(TrainerMixin):
    """Begins with the weights of an earlier adapter, or keeps those that a new one starts with.

    Args:
        earlier_adapter: the folder of an adapter whose weights the new one starts with.

    Attributes:
        initial_adapter: see `adapters.begin`.
    """

    def __init__(self, *arguments: Any, earlier_adapter: Path | None = None, **keywords: Any):
        super().__init__(*arguments, **keywords)
        network: Any = self.model
        self.initial_adapter: dict[str, Tensor] | None = None
        if isinstance(network, PeftModel):
            self.initial_adapter = adapters.begin(network, earlier_adapter)

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *arguments: Any, **keywords: Any
    ) -> Any:
        """Trains, once the start is written beside the checkpoints or compared with it."""
        if self.initial_adapter is not None and self.args.output_dir:
            adapters.keep_start(
                self.initial_adapter,
                Path(self.args.output_dir),
                resumes=bool(resume_from_checkpoint),
            )
        return super().train(resume_from_checkpoint, *arguments, **keywords)
