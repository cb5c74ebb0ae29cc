"""A Llama with a byte-level tokenizer as a GGUF file, for llama.cpp and what is built on it.

Names, order of rows and metadata are those that llama.cpp's `convert_hf_to_gguf.py` writes for
`LlamaForCausalLM`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipelines.examples import Example, JsonObject
from pipelines.exporting import merged_format
from pipelines.exporting.source import Source, refusal
from pipelines.families.causal_lm.loading import GGUF_FILE, PROMPT_FILE, read_settings
from pipelines.families.causal_lm.shots import save_shots

DTYPES = ("float16", "float32", "int8")
# dtype -> how matrices are stored, and what the file says of itself; vectors stay float32.
STORED = {
    "float32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "float16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "int8": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
BYTES = {"float32": 4.0, "float16": 2.0, "int8": 34 / 32}  # Q8_0: 32 weights and a scale
BLOCK = 32  # weights of a row that share a scale in Q8_0
# How llama.cpp names the ways to cut a text before the merges.
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
check = merged_format.check


def check_model(source: Source, loaded: Any) -> None:
    """Refuses another architecture than Llama, and a tokenizer that llama.cpp has no name for.

    Raises:
        UserError: for such a model.
    """
    _check_architecture(source, loaded.model.config)
    pre_tokenizer_name(source, loaded.tokenizer)


def room(loaded: Any, dtype: str) -> int:
    """Bytes that the folder takes at most, the tokenizer included."""
    return int(loaded.model.num_parameters() * BYTES[dtype] * 1.05) + (20 << 20)


def write(
    source: Source, loaded: Any, examples: Sequence[Example], folder: Path, dtype: str
) -> JsonObject:
    """Writes the GGUF file, and beside it tokenizer and prompt, which prediction here reads.

    Raises:
        UserError: when the tokenizer in the file cuts a text differently.
    """
    model, tokenizer, _, shots, *_ = loaded
    pre = pre_tokenizer_name(source, tokenizer)
    tokenizer.save_pretrained(folder)
    writer = gguf.GGUFWriter(folder / GGUF_FILE, "llama")
    add_metadata(writer, model.config, source.folder.resolve().parent.name, dtype)
    add_tokenizer(writer, tokenizer, folder, pre=pre, size=model.config.vocab_size)
    for name, values, stored in tensors(model, dtype):
        writer.add_tensor(name, values, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_tokenizer(source, folder, tokenizer, [example.text for example in examples], pre)
    if shots is not None:
        save_shots(shots, folder)
    settings = read_settings(source.folder)[0] | {"untrained": False}
    (folder / PROMPT_FILE).write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return {"pre_tokenizer": pre, "stored": STORED[dtype][0].name}


def _check_architecture(source: Source, config: Any) -> None:
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    has_bias = getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)
    kind = None
    if config.model_type != "llama":
        kind = f"the architecture {config.model_type}, only llama"
    elif rope != "default" or has_bias:
        kind = f"a llama with {f'rope {rope}' if rope != 'default' else 'biases'}"
    if kind:
        raise refusal(source.folder.parent, kind, "gguf", ("merged",))


def pre_tokenizer_name(source: Source, tokenizer: PreTrainedTokenizerBase) -> str:
    """How llama.cpp names the way that this tokenizer cuts a text into words.

    Raises:
        UserError: when it has no name for it.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    cut = content["pre_tokenizer"] or {}
    steps = cut.get("pretokenizers", [cut])
    is_byte_level = content["model"]["type"] == "BPE" and not content["normalizer"]
    last = steps[-1]
    if is_byte_level and all(last.get(key) == value for key, value in GPT2.items()):
        if len(steps) == 1:
            return "gpt-2"
        if steps[:-1] == [DIGITS]:
            return "smollm"
    names = " and ".join(str(step.get("type")) for step in steps)
    kind = f"the tokenizer ({content['model']['type']} with {names}), only byte-level BPE"
    raise refusal(source.folder.parent, kind, "gguf", ("merged",))


def add_metadata(writer: gguf.GGUFWriter, config: Any, name: str, dtype: str) -> None:
    """Adds what llama.cpp needs to build the network."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(head_dim)
    if head_dim * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_file_type(STORED[dtype][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer(
    writer: gguf.GGUFWriter,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    pre: str,
    size: int,
) -> None:
    """Adds vocabulary, merges, special tokens and chat template.

    Args:
        folder: the tokenizer as it was saved.
        pre: from `pre_tokenizer_name`.
        size: of the embeddings, V; what the tokenizer lacks of it is unused.
    """
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for token, index in tokenizer.get_vocab().items():
        tokens[index], types[index] = token, gguf.TokenType.NORMAL
    for index, added in tokenizer.added_tokens_decoder.items():
        types[index] = gguf.TokenType.CONTROL if added.special else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=size)
    special.add_special_token.setdefault("bos", False)
    special.add_to_gguf(writer, quiet=True)
    writer.add_add_space_prefix(False)


def tensors(model: Any, dtype: str) -> Iterator[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    """Name, values and storage of each weight; a head tied to the embeddings is left out."""
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for key, weight in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        layer = key.split(".")[-2]
        if layer in heads:
            weight = interleaved(weight, heads[layer])
        values = weight.float().numpy()
        stored = STORED[dtype][0]
        if values.ndim == 1:
            stored = gguf.GGMLQuantizationType.F32
        elif stored == gguf.GGMLQuantizationType.Q8_0 and values.shape[-1] % BLOCK:
            stored = gguf.GGMLQuantizationType.F16
        name = names.get_name(key, try_suffixes=(".weight",)) or key
        yield name, gguf.quantize(values, stored), stored


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Query or key rows (heads * D, H) with the two halves of each head's rotation side by side.

    transformers rotates feature i with i + D/2, llama.cpp feature 2i with 2i + 1.
    """
    halves = weight.view(heads, 2, -1, weight.shape[-1])  # (heads, 2, D/2, H)
    return halves.transpose(1, 2).reshape(weight.shape)


def check_tokenizer(
    source: Source, folder: Path, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], pre: str
) -> None:
    """Checks that the tokenizer in the file makes the same tokens of texts.

    Raises:
        UserError: naming the first text that it cuts differently.
    """
    written: Any = AutoTokenizer.from_pretrained(
        folder, gguf_file=GGUF_FILE, trust_remote_code=False
    )
    if pre == "smollm":  # which transformers does not read
        backend = written.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
    for text in texts:
        if written(text)["input_ids"] != tokenizer(text)["input_ids"]:
            kind = f"the tokenizer, which cuts {text[:40]!r} differently once written"
            raise refusal(source.folder.parent, kind, "gguf", ("merged",))
