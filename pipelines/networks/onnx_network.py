"""A tagger or classifier as an ONNX file, run by ONNX Runtime on the CPU.

To prediction it is a network like any other: `model(input_ids=…).logits`, `config`, `device`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from pipelines.corpora.lexicon import load_lexicon
from pipelines.errors import UserError
from pipelines.networks.crf import LinearChainCRF
from pipelines.networks.encoder_tagger import case_of
from pipelines.networks.labels import bio_tags_of
from pipelines.networks.lexicon_feature import LEXICON_FILE, match_ids

ONNX_FILE = "model.onnx"
CRF_FILE = "crf.safetensors"  # the layer that decodes: its loops are no part of the graph


class Output(NamedTuple):
    """What a call returns: logits (B, C) of a classifier, or (B, T, C) of a tagger."""

    logits: Tensor


class OnnxNetwork:
    """An ONNX graph from token ids to logits.

    Args:
        folder: with `model.onnx` and `config.json`, `crf.safetensors` where a CRF decodes, and
            `lexicon.json` where the graph reads matches.

    Raises:
        UserError: when ONNX Runtime is not installed or refuses the file.
    """

    def __init__(self, folder: Path):
        runtime = onnx_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        file = folder / ONNX_FILE
        try:
            self.session = runtime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
            self.config: PreTrainedConfig = AutoConfig.from_pretrained(
                folder, trust_remote_code=False
            )
            self.inputs = [value.name for value in self.session.get_inputs()]
            self.lexicon = load_lexicon(folder / LEXICON_FILE) if "matches" in self.inputs else None
        except Exception as error:  # the errors of ONNX Runtime have no base class of their own
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{file}: ONNX Runtime {runtime.__version__} could not load it ({reason}); it is "
                "damaged or of a later version: export the run again"
            ) from error
        self.device = torch.device("cpu")
        self.crf = load_crf(folder, self.config)

    def __call__(self, **inputs: Tensor) -> Output:
        """Runs a batch; inputs that the graph does not have are left out."""
        feed = {name: inputs[name].numpy() for name in self.inputs}
        (logits,) = self.session.run(None, feed)
        return Output(torch.from_numpy(logits))

    def eval(self) -> OnnxNetwork:
        """Does nothing: a graph has no mode."""
        return self

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What the graph takes beside token ids; see `EncoderTagger.extra_inputs`."""
        return {"cases": list(map(case_of, words))} if "cases" in self.inputs else {}

    def word_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What it takes of the words of a whole text; see `EncoderTagger.word_inputs`."""
        if self.lexicon is None:
            return {}
        tags: Any = self.config.lexicon_tags
        return {"matches": match_ids(self.lexicon, tags, words)}


def is_in(folder: Path) -> bool:
    """Whether the model of a folder is an ONNX file."""
    return (folder / ONNX_FILE).is_file()


def onnx_runtime() -> ModuleType:
    """The module `onnxruntime`.

    Raises:
        UserError: when it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "an ONNX file needs the package onnxruntime, which is not installed; "
            "pip install 'ner-pipelines[export]'"
        ) from error
    module: ModuleType = onnxruntime
    return module


def save_crf(crf: LinearChainCRF, folder: Path) -> None:
    """Writes the weights of a CRF beside the graph that gives its emissions."""
    save_file(
        {name: value.contiguous() for name, value in crf.state_dict().items()}, folder / CRF_FILE
    )


def load_crf(folder: Path, config: Any) -> LinearChainCRF | None:
    """The CRF that `save_crf` wrote; None where there is none."""
    file = folder / CRF_FILE
    if not file.is_file():
        return None
    crf = LinearChainCRF(config.num_labels, tags=bio_tags_of(config))
    crf.load_state_dict(load_file(file))
    return crf.eval()
