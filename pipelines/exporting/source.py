"""The model to be exported: its family, its folder, and which formats hold its kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from pipelines.errors import UserError
from pipelines.families import causal_lm
from pipelines.families.causal_lm.loading import base_of, load_merged, read_settings
from pipelines.networks import weights
from pipelines.runs.run import Run

# Family -> the formats that hold its models.
FORMATS_OF = {
    "causal_lm": ("merged", "gguf"),
    "token_tagger": ("onnx",),
    "sequence_classifier": ("onnx",),
}
WEIGHT_FILES = ("*.safetensors", "*.onnx", "*.gguf")


@dataclass(frozen=True)
class Source:
    """A run's model.

    Attributes:
        family: its module.
        name: of the family.
        folder: of the model.
    """

    family: ModuleType
    name: str
    folder: Path

    def load(self) -> Any:
        """The model in float32 on the CPU, its adapter merged, as the library has it."""
        if self.name != "causal_lm":
            return self.family.load(self.folder, device="cpu")
        settings, prompt = read_settings(self.folder)
        tokenizer = causal_lm.load_tokenizer(str(self.folder))
        model = load_merged(self.folder, settings, dtype=torch.float32)
        shots = self.load_as_run().shots if settings.get("shots_by") else None
        return causal_lm.Loaded(model.eval(), tokenizer, prompt, shots)

    def load_as_run(self) -> Any:
        """The model as the run predicts with it."""
        return self.family.load(self.folder)

    def bytes_on_disk(self) -> int:
        """Of all files of the model, and of the weights of the base that an adapter needs."""
        total = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        if self.name == "causal_lm":
            base = Path(weights.resolve(base_of(read_settings(self.folder)[0], self.folder)))
            has_own = any(self.folder.glob("model*.safetensors"))
            if base.is_dir() and not has_own:
                total += sum(path.stat().st_size for path in base.glob("*.safetensors"))
        return total


def open_source(run: Run, to: str) -> Source:
    """The model of a run, where the format holds its family.

    Raises:
        UserError: naming the formats that hold it, or what to do where none does.
    """
    family, folder = run.model_folder()
    name = family.__name__.rpartition(".")[2]
    source = Source(family, name, folder)
    known = FORMATS_OF.get(name, ())
    if to not in known:
        if to == "merged" and known:
            raise UserError(
                f"{run.folder}: a {name} has no adapter to merge: {folder} is a plain folder of "
                f"transformers already; it can be exported --to {' or '.join(known)}"
            )
        raise refusal(run.folder, f"the family {name}", to, known)
    return source


def refusal(folder: Path, kind: str, to: str, formats: tuple[str, ...]) -> UserError:
    """The error for a model that a format does not hold: it names what does."""
    if formats:
        what_to_do = f"it can be exported --to {' or '.join(formats)}"
    else:
        what_to_do = (
            f"no format holds it; `pipelines bundle --run {folder}` packs the run with all that "
            "prediction needs"
        )
    return UserError(f"{folder}: --to {to} does not hold {kind}; {what_to_do}")
