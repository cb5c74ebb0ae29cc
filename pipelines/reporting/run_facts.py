"""What was run, for the header of a page: model, data, options, date, seed, commit and machine."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.examples import Fields
from pipelines.runs.secrets import without_secrets

# A fact has a name and one value, or a list of values that folds where it is long.
Facts = Mapping[str, str | list[str]]

SHOWN_ELSEWHERE = {"model_name_or_path", "network", "seed", "run_dir", "output_dir", "config"}


def run_facts(config: Fields, provenance: Fields) -> dict[str, str | list[str]]:
    """What a page says of the run behind it; what is not known, and every secret, is left out.

    Args:
        config: the content of a run's `config.yaml`.
        provenance: the content of its `provenance.json`; its `options` are those that differ from
            the defaults.
    """
    config, provenance = without_secrets(config), without_secrets(provenance)
    named = (config.get(key) for key in ("model_name_or_path", "network"))
    model = provenance.get("model") or next(filter(None, named), "")
    seed = config.get("seed")
    facts: dict[str, str | list[str]] = {
        "model": str(model),
        "data": list(provenance.get("data", {})),
        "changed options": _options(provenance.get("options", {})),
        "date": _date(provenance.get("started", "")),
        "seed": "" if seed is None else str(seed),
        "commit": provenance.get("commit") or "",
        "machine": machine(provenance.get("hardware", {})),
    }
    return {name: value for name, value in facts.items() if value}


def machine(hardware: Fields) -> str:
    """The GPUs of a machine, or its processor with the number of threads; empty where not known."""
    gpus = hardware.get("gpus")
    if gpus:
        return str(gpus[0]) if len(gpus) == 1 else f"{len(gpus)} × {gpus[0]}"
    threads = hardware.get("threads")
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    processor = re.sub(r"\((R|TM)\)| Processor| CPU", "", hardware.get("cpu") or "")
    return f"{processor}, {counted}" if processor else ""


def _options(options: Fields) -> list[str]:
    lines = []
    for name, value in sorted(options.items()):
        if name in SHOWN_ELSEWHERE or name.endswith("_file"):
            continue
        listed = " ".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"{name} {listed}")
    return lines


def _date(started: str) -> str:
    """`2026-11-27 09:04 UTC` from `2026-11-27T09:04:11Z`."""
    return f"{started[:10]} {started[11:16]} UTC" if started else ""
