"""An encoder that tags or classifies, as an ONNX graph for ONNX Runtime; int8 by its quantiser."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.corpora.lexicon import save_lexicon
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject
from pipelines.exporting.source import Source, refusal
from pipelines.families import sequence_classifier, token_tagger
from pipelines.families.token_tagger.span_answers import collate_spans, span_rows
from pipelines.networks.encoder_tagger import EncoderTagger
from pipelines.networks.lexicon_feature import LEXICON_FILE
from pipelines.networks.onnx_network import ONNX_FILE, onnx_runtime, save_crf
from pipelines.networks.pooled_classifier import PooledClassifier
from pipelines.networks.span_tagger import SpanTagger
from pipelines.networks.tagger_ensemble import TaggerEnsemble

DTYPES = ("float32", "int8")
PACKAGES = ("onnx", "onnxscript")  # which `torch.onnx` needs


def check(source: Source) -> None:
    """Checks that the libraries are there.

    Raises:
        UserError: naming what is not installed.
    """
    onnx_runtime()
    missing = []
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(
            f"--to onnx needs {' and '.join(missing)}, not installed; "
            "pip install 'ner-pipelines[export]'"
        )


def check_model(source: Source, loaded: Any) -> None:
    """Refuses what is no encoder on sub-words with a head.

    Raises:
        UserError: for a network on words, and for an ensemble.
    """
    model: nn.Module = loaded.model
    kind = None
    if isinstance(model, TaggerEnsemble):
        kind = f"an ensemble of {len(model.taggers)} taggers that vote"
    elif not isinstance(model, EncoderTagger | PooledClassifier | SpanTagger):
        is_from_library = type(model).__module__.startswith("transformers.")
        kind = None if is_from_library else f"a {type(model).__name__}, a network on words"
    if kind:
        raise refusal(source.folder.parent, kind, "onnx", ())


def room(loaded: Any, dtype: str) -> int:
    """Bytes that the folder takes at most: int8 is made from the graph in float32."""
    per_weight = 5 if dtype == "int8" else 4
    return int(loaded.model.num_parameters() * per_weight * 1.05)


def write(
    source: Source, loaded: Any, examples: Sequence[Example], folder: Path, dtype: str
) -> JsonObject:
    """Writes graph, config, tokenizer and settings; returns what `export.json` says of them."""
    model = loaded.model
    inputs = sample_inputs(source, loaded, examples)
    if dtype == "int8":
        whole = folder / "float32.onnx"
        write_graph(model, inputs, whole)
        quantize(whole, folder / ONNX_FILE)
        whole.unlink()
    else:
        write_graph(model, inputs, folder / ONNX_FILE)
    model.config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    if getattr(model, "crf", None) is not None:
        save_crf(model.crf, folder)
    if getattr(model, "lexicon", None) is not None:
        save_lexicon(folder / LEXICON_FILE, model.lexicon)
    shutil.copyfile(source.folder / source.family.MODEL_FILE, folder / source.family.MODEL_FILE)
    libraries = {name: import_module(name).__version__ for name in ("onnxruntime", *PACKAGES)}
    return {"inputs": list(inputs), "libraries": libraries | {"torch": torch.__version__}}


def sample_inputs(source: Source, loaded: Any, examples: Sequence[Example]) -> dict[str, Tensor]:
    """A batch of two rows or more, as prediction makes them."""
    model, tokenizer, settings = loaded
    few = [*examples[:4], *examples[:1]]  # one example makes two rows
    if source.name == "token_tagger":
        texts = token_tagger.encode(few, tokenizer, settings)
        pad = tokenizer.pad_token_id or 0
        if settings.decode == token_tagger.SPANS:
            return collate_spans([row for _, _, row in span_rows(model, texts)], pad=pad)
        rows = [row for text in texts for row in token_tagger.window_inputs(model, text)]
        return token_tagger.collate(rows, pad=pad)
    encoded = sequence_classifier.encode(few, tokenizer, max_length=settings.max_length)
    [(_, batch)] = sequence_classifier.batches(encoded.rows, tokenizer, batch_tokens=1 << 20)
    return dict(batch)


class _Logits(nn.Module):
    """A model whose inputs have an order and whose output is a tensor."""

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model = model
        self.names = list(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def write_graph(model: Any, inputs: dict[str, Tensor], file: Path) -> None:
    """Writes a graph for any number of rows and tokens, in float32.

    Args:
        model: on the CPU.
        inputs: a batch of two rows or more: a dimension of one would be taken for a constant.
        file: the graph with its weights.
    """
    encoder: Any = getattr(model, "encoder", None)
    # Written-out attention becomes matmuls, which the quantiser knows.
    (encoder if hasattr(encoder, "set_attn_implementation") else model).set_attn_implementation(
        "eager"
    )
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            _Logits(model, list(inputs)).eval(),
            tuple(inputs.values()),
            str(file),
            dynamo=True,
            external_data=False,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes=(tuple(dynamic for _ in inputs),),
            verbose=False,
        )


def quantize(source: Path, target: Path) -> None:
    """Writes a graph whose matmuls compute in int8: a scale for each column, and for each input.

    Left in float32: embeddings, and matmuls that narrow their input. Those are the second layer of
    each feed-forward block, whose inputs have outliers that one scale a batch does not hold, and
    the head (on NCBI dev, F1 83.6: all in int8 82.8, without these layers 83.7).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source).graph
    shapes = {value.name: tuple(value.dims) for value in graph.initializer}
    narrowing = [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and _narrows(shapes.get(node.input[1], ()))
    ]
    # Layers on pooled vectors, by the name that the quantiser gives them.
    on_vectors = [f"{node.name}_MatMul" for node in graph.node if node.op_type == "Gemm"]
    with _quiet():
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[*narrowing, *on_vectors],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


def _narrows(shape: tuple[int, ...]) -> bool:
    """Whether a weight (inputs, outputs) has fewer outputs; false for what is no weight."""
    return len(shape) == 2 and shape[0] > shape[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of the exporter that say nothing of the model."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
