"""The model card of a run, `README.md`: metadata for the Hugging Face Hub, text for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.tasks import TASKS, interval_path, metric, metric_name
from pipelines.examples import Example, Fields
from pipelines.networks.weights import LOCAL
from pipelines.reporting.card_text import Splits, body_of
from pipelines.runs.run import CARD, Run
from pipelines.runs.secrets import without_folders

# What the packages of `weights.txt` are licensed under, by their names on the Hub.
LICENSES = {weights.hub_id: "apache-2.0" for weights in LOCAL.values()}
# Family of the model -> the Hub's name of its task, where the answer does not decide.
HUB_TASKS = {
    "causal_lm": "text-generation",
    "image_classifier": "image-classification",
    "language_model": "text-generation",
    "token_tagger": "token-classification",
    "sequence_classifier": "text-classification",
}
HUB_TASKS_OF_ANSWERS = {
    "span_extraction": "token-classification",
    "sequence_classification": "text-classification",
}
# Kind of a pretrained model -> the Hub's name of its task.
HUB_TASKS_OF_KINDS = {"CausalLM": "text-generation", "MaskedLM": "fill-mask"}
# Path of a metric in the report -> its name among the metrics of the Hub, where it is another.
HUB_METRICS = {"perplexity_per_word": "perplexity"}
Reports = Mapping[str, Fields]


def write_card(
    run: Run,
    reports: Reports | None = None,
    examples: Mapping[str, Sequence[Example]] | None = None,
) -> Path:
    """Writes `README.md` into the folder of a run.

    Args:
        reports: split -> its report, of each split that was scored; by default the run's own.
        examples: split -> its examples, which are counted.

    Returns:
        The file.
    """
    card = model_card(run, reports, examples)
    path = run.folder / CARD
    with replacing(path) as f:
        f.write(str(card))
    return path


def model_card(
    run: Run,
    reports: Reports | None = None,
    examples: Mapping[str, Sequence[Example]] | None = None,
) -> ModelCard:
    """The card of a run: metadata and text, without secrets and without paths of this machine.

    See `write_card`.
    """
    report = run.report()
    if reports is None:
        reports = {report["split"]: report} if "split" in report else {}
    family, folder = _model_of(run)
    base = base_model_of(run.config(), run.provenance())
    licence = licence_of(run.config().get("model_name_or_path"), base)
    data = ModelCardData(
        model_name=run.folder.resolve().name,
        license=licence,
        base_model=base,
        library_name=library_of(folder),
        pipeline_tag=hub_task(family, report.get("task"), pretrained_kind(folder)),
        tags=sorted(tags_of(run, report, folder)),
        datasets=hub_datasets(run.config()) or None,
        eval_results=list(eval_results(run, family, reports)) or None,
    )
    splits = Splits(reports, {name: list(part) for name, part in (examples or {}).items()})
    kind = pretrained_kind(folder)
    body = body_of(run, splits, family=family, base=base, licence=licence, kind=kind)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _model_of(run: Run) -> tuple[str, Path]:
    """The name of the family of a run's model, empty for a pretrained one, and its folder."""
    try:
        family, folder = run.model_folder()
    except UserError:
        return "", run.model
    return family.__name__.rpartition(".")[2], folder


def base_model_of(config: Fields, provenance: Fields) -> str | None:
    """The Hub id of the model that was fine-tuned; None for another's folder, or from scratch."""
    name = config.get("model_name_or_path")
    if name is None:
        return None
    if name in LOCAL:
        return LOCAL[name].hub_id
    is_folder = name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).is_dir()
    return None if is_folder else str(name)


def licence_of(name: str | None, base: str | None) -> str | None:
    """The licence of the base model: of a packaged one, or as its card says where that is here."""
    if base in LICENSES:
        return LICENSES[base]
    here = Path(name or "").expanduser() / CARD
    if name and base is not None:
        cached = try_to_load_from_cache(base, CARD)
        here = Path(cached) if isinstance(cached, str) else here
    if not name or not here.is_file():
        return None
    try:
        content = here.read_text(encoding="utf-8")
        licence = ModelCard(content, ignore_metadata_errors=True).data.get("license")
    except (OSError, ValueError):  # another's card may be damaged
        return None
    return licence if isinstance(licence, str) else None


def library_of(folder: Path) -> str:
    """What loads a model folder: `peft`, `transformers`, or this package its own networks."""
    if (folder / "adapter_config.json").is_file():
        return "peft"
    if not (folder / "config.json").is_file():
        return "pipelines"
    import transformers

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architectures = config.get("architectures") or [""]
    return "transformers" if hasattr(transformers, architectures[0]) else "pipelines"


def hub_task(family: str, task: str | None, kind: str = "MaskedLM") -> str | None:
    """The Hub's name of a task: by the answers, else by the family or kind of the model."""
    if family in HUB_TASKS:
        return HUB_TASKS[family]
    of_kind = None if family else HUB_TASKS_OF_KINDS[kind]
    return HUB_TASKS_OF_ANSWERS.get(task or "") or of_kind


def pretrained_kind(folder: Path) -> str:
    """What a pretrained model without a family is: `CausalLM` or `MaskedLM`."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    name = (config.get("architectures") or [""])[0]
    return "CausalLM" if name.endswith(("CausalLM", "LMHeadModel")) else "MaskedLM"


def tags_of(run: Run, report: Fields, folder: Path) -> set[str]:
    """Tags by which a model is found on the Hub."""
    config = run.config()
    named = ["pipelines", str(report.get("task", "")).replace("_", "-"), config.get("network")]
    if (folder / "adapter_config.json").is_file():
        named.append("lora")
    return {str(name) for name in named if name}


def hub_datasets(config: Fields) -> list[str]:
    """The data sets of the Hub that a run was trained and scored on."""
    files = [config.get(f"{split}_file") or "" for split in ("train", "dev", "test")]
    names = [
        file.split(":")[0]
        for file in files
        if file.count("/") == 1 and not Path(file).suffix and not Path(file.split(":")[0]).exists()
    ]
    return [name for name in dict.fromkeys(names) if not name.startswith((".", "~", "/"))]


def eval_results(run: Run, family: str, reports: Reports) -> Iterator[EvalResult]:
    """The entries of `model-index`: the metrics that tables show first, with their intervals."""
    config = run.config()
    for split, report in reports.items():
        task = TASKS[report["task"]]
        file = str(config.get(f"{split}_file") or config.get("train_file") or "data")
        for path in task.metrics:
            value = metric(report, path)
            if value is None:
                continue
            within = metric(report, interval_path(path))
            yield EvalResult(
                task_type=hub_task(family, task.name) or task.name.replace("_", "-"),
                dataset_type=next(iter(hub_datasets({"test_file": file})), "local-file"),
                dataset_name=without_folders(file),
                dataset_split=split,
                metric_type=HUB_METRICS.get(path, path.rpartition(".")[2]),
                metric_name=metric_name(path),
                metric_value=value,
                metric_args={"confidence": 0.95, "interval": list(within)} if within else None,
            )
