"""Uploads a run to the Hugging Face Hub: its model, model card, report and options.

What goes up is copied into a folder first, so that a user sees it before, and so that nothing else
does: no texts of the data unless they are asked for, no paths of this machine, nothing pickled.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.formatting import size
from pipelines.runs.run import CARD, PLACEHOLDER, Run
from pipelines.runs.secrets import without_folders, without_secrets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger(__name__)

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Beside the model: what shows how it was made. Texts of the data are in none of them.
FILES = ("config.yaml", "provenance.json", "report.json", "trainer_log.json")
WITH_PATHS = ("config.yaml", "provenance.json")
PAGE = "report.html"
SHOTS = "shots.jsonl"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".joblib")
# Names of a base model in the files of a model folder, which may be a folder of this machine.
BASE_NAMES = ("_name_or_path", "name_or_path", "base_model_name_or_path", "base_model")


class Destination(NamedTuple):
    """Where a run goes.

    Attributes:
        repository: `OWNER/NAME`.
        private: whether a new repository is private; None as the account has it.
        revision: a branch; None for the main one.
        token: instead of the one that `hf auth login` or `HF_TOKEN` gave.
    """

    repository: str
    private: bool | None = None
    revision: str | None = None
    token: str | None = None


def destination_of(groups: Sequence[DataclassInstance]) -> Destination | None:
    """The destination of `--push_to_hub`, None without it; the trainers then do not push.

    A trainer would upload its checkpoints, and a card of its own, while it trains.

    Raises:
        UserError: without `--hub_model_id`, without a token, or offline: before the training.
    """
    for group in groups:
        options: Any = group
        if not getattr(options, "push_to_hub", False):
            continue
        options.push_to_hub = False
        destination = Destination(
            options.hub_model_id or "",
            options.hub_private_repo,
            options.hub_revision,
            options.hub_token,
        )
        if not destination.repository:
            raise UserError("got --push_to_hub without a name; add --hub_model_id OWNER/NAME")
        check(destination)
        return destination
    return None


def check(destination: Destination) -> None:
    """Refuses what cannot be uploaded to, without asking the Hub.

    Raises:
        UserError: for a name of another form, without a token, or offline.
    """
    from huggingface_hub import constants, get_token

    check_name(destination.repository)
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"{destination.repository}: HF_HUB_OFFLINE is set, so that nothing can be uploaded; "
            "unset it"
        )
    if not (destination.token or get_token()):
        raise UserError(
            f"{destination.repository}: no access token of the Hub; run `hf auth login`, or set "
            "HF_TOKEN to one that may write"
        )


def check_name(repository: str) -> None:
    """Refuses a name that is not `OWNER/NAME`.

    Raises:
        UserError: for such a name.
    """
    if not REPOSITORY.fullmatch(repository):
        raise UserError(f"got the repository {repository}; wanted OWNER/NAME, such as me/diseases")


def push(run: Run, destination: Destination, *, with_predictions: bool = False) -> str:
    """Uploads a run and returns the URL of its repository.

    Args:
        with_predictions: upload predictions and the page too, which show texts of the data.

    Raises:
        UserError: when the run cannot be published, or the upload fails; the run stays as it is.
    """
    with tempfile.TemporaryDirectory(prefix="push-") as folder:
        files = stage(run, Path(folder), destination.repository, with_predictions=with_predictions)
        logger.info("%s\n", listed(Path(folder), files))
        return _upload(run, Path(folder), destination)


def stage(run: Run, folder: Path, repository: str, *, with_predictions: bool = False) -> list[Path]:
    """Copies what is uploaded into a folder, the model at its top.

    Returns:
        The files, below the folder.

    Raises:
        UserError: for a run without a model or a card, and for a model that holds training texts.
    """
    model = model_folder_of(run)
    card = run.folder / CARD
    if not card.is_file():
        raise UserError(f"{run.folder}: no {CARD}; run the recipe again, which writes the card")
    if (model / SHOTS).is_file() and not with_predictions:
        raise UserError(
            f"{model / SHOTS}: the model shows these training texts before each text; "
            "--with_predictions uploads texts too"
        )
    _warn_of_base(model)
    for file in sorted(model.rglob("*")):
        target = folder / file.relative_to(model)
        if file.is_dir() or file.suffix in PICKLED or file.name == CARD:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_model_file(file, target)
    for name in FILES:
        if (run.folder / name).is_file():
            publish = _write_published if name in WITH_PATHS else shutil.copyfile
            publish(run.folder / name, folder / name)
    text = card.read_text(encoding="utf-8").replace(PLACEHOLDER, repository)
    (folder / CARD).write_text(text, encoding="utf-8")
    if with_predictions:
        if run.page.is_file():
            shutil.copyfile(run.page, folder / PAGE)
        for file in sorted(run.folder.glob("predictions/*.jsonl")):
            (folder / "predictions").mkdir(exist_ok=True)
            shutil.copyfile(file, folder / "predictions" / file.name)
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())


def model_folder_of(run: Run) -> Path:
    """The folder of a run's model: of a family, or one that was pretrained.

    Raises:
        UserError: where there is none.
    """
    if (run.model / "config.json").is_file() and not run.merged.is_dir():
        return run.model
    return run.model_folder()[1]


def _copy_model_file(source: Path, target: Path) -> None:
    """Copies a file of a model; where it names its base model by a folder, only that one's name."""
    if source.suffix == ".json" and source.name != "tokenizer.json":
        content = json.loads(source.read_text(encoding="utf-8"))
        cleaned = _with_plain_names(content)
        if cleaned != content:
            _write(target, cleaned)
            return
    shutil.copyfile(source, target)


def _with_plain_names(content: Any) -> Any:
    """The content of a JSON file without the folders of base models, at any depth."""
    if isinstance(content, list):
        return list(map(_with_plain_names, content))
    if not isinstance(content, dict):
        return content
    return {
        key: without_folders(value)
        if key in BASE_NAMES and isinstance(value, str)
        else _with_plain_names(value)
        for key, value in content.items()
    }


def _warn_of_base(model: Path) -> None:
    """Warns of a model without weights of its own, whose base is a folder of this machine."""
    if any(model.glob("model*.safetensors")) or not (model / "prompt.json").is_file():
        return
    base = json.loads((model / "prompt.json").read_text(encoding="utf-8")).get("base_model", "")
    if without_folders(base) != base:
        logger.warning(
            "%s needs its base model, which is the folder %s of this machine; others need that "
            "model too, or take --save_merged true",
            model,
            base,
        )


def _write_published(source: Path, target: Path) -> None:
    """Copies a file of options without secrets and without folders of this machine."""
    text = source.read_text(encoding="utf-8")
    is_yaml = source.suffix == ".yaml"
    content = yaml.safe_load(text) if is_yaml else json.loads(text)
    content = without_folders(without_secrets(content))
    if not is_yaml:
        _write(target, content)
        return
    target.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def _write(target: Path, content: JsonObject) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    target.write_text(f"{text}\n", encoding="utf-8")


def listed(folder: Path, files: Sequence[Path]) -> str:
    """The files to upload with their sizes, one a line, and their sum."""
    sizes = [(folder / file).stat().st_size for file in files]
    width = max(len(str(file)) for file in files)
    lines = [
        f"{str(file).ljust(width)}  {size(number):>10}"
        for file, number in zip(files, sizes, strict=True)
    ]
    return "\n".join([*lines, f"{len(files)} files, {sum(sizes):,} bytes ({size(sum(sizes))})"])


def _upload(run: Run, folder: Path, destination: Destination) -> str:
    from httpx2 import HTTPError
    from huggingface_hub import HfApi

    api = HfApi(token=destination.token, library_name="pipelines")
    name = destination.repository
    try:
        url = api.create_repo(name, private=destination.private, exist_ok=True)
        if destination.revision:
            api.create_branch(name, branch=destination.revision, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=destination.revision,
            commit_message=f"Uploads the run {run.folder.resolve().name}",
        )
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(
            f"{name}: the upload failed ({reason}); {run.folder} is whole: once that is fixed, "
            f"`pipelines push --run {run.folder} {name}`"
        ) from None
    return str(url)
