"""The run folder: its files, what it read and how, and the model that it trained."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from pipelines import families
from pipelines.corpora import ColumnNames, Columns, read_examples
from pipelines.corpora.images.paths import is_there
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.tasks import TASKS, Task
from pipelines.examples import Example, JsonObject
from pipelines.runs.library_options import NOT_WRITTEN
from pipelines.runs.secrets import without_secrets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger(__name__)

# One of these makes a folder a run.
SIGNS = ("config.yaml", "provenance.json", "report.json", "model", "merged", "predictions")
CARD = "README.md"  # the model card
CHECKPOINT_MANIFEST = "manifest.json"  # of a checkpoint, which it has once it is whole
EXPORT_FILE = "export.json"  # makes a run folder an export
PLACEHOLDER = "OWNER/NAME"  # in a card, for the name on the Hub that it is to have


class Run:
    """A folder with `config.yaml`, `provenance.json`, `model/`, `predictions/`, `report.json` …

    `Run(folder)` names the files of a run to be made; `Run.open(folder)` is for one that is there.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.model = self.folder / "model"
        self.merged = self.folder / "merged"
        self.checkpoints = self.folder / "checkpoints"
        self.splits = self.folder / "splits"
        self.report_file = self.folder / "report.json"
        self.page = self.folder / "report.html"
        self.submission = self.folder / "submission.csv"
        self.trainer_log = self.folder / "trainer_log.json"

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run in a folder.

        Raises:
            UserError: when the folder does not exist or holds no run.
        """
        run = cls(folder)
        if not run.folder.is_dir():
            raise UserError(f"{folder}: no such folder; give the folder of a run")
        if not any((run.folder / name).exists() for name in SIGNS):
            raise UserError(
                f"{folder}: holds none of {', '.join(SIGNS)}, so it is no run; give the folder of "
                f"a run"
            )
        return run

    def predictions(self, split: str) -> Path:
        return self.folder / "predictions" / f"{split}.jsonl"

    def is_finished(self) -> bool:
        return self.report_file.is_file()

    def config(self) -> JsonObject:
        """The options that the run was started with; empty for a folder without `config.yaml`."""
        return _content(self.folder / "config.yaml")

    def provenance(self) -> JsonObject:
        """Command, versions, machine, data; empty for a folder without `provenance.json`."""
        return _content(self.folder / "provenance.json")

    def report(self) -> JsonObject:
        """The scores and the cost; empty for a run that is not finished."""
        return _content(self.report_file)

    def training_log(self) -> list[JsonObject]:
        """What the trainer logged, step by step; empty for a model without a trainer."""
        if not self.trainer_log.is_file():
            return []
        log: list[JsonObject] = json.loads(self.trainer_log.read_text(encoding="utf-8"))
        return log

    def task(self) -> Task:
        """The task of the report.

        Raises:
            UserError: when there is no report, or it holds no scores.
        """
        report = self.report()
        if not self.is_finished():
            raise UserError(
                f"{self.report_file}: no such file; wanted the folder of a finished run"
            )
        if report.get("task") not in TASKS or "gold_sha256" not in report:
            raise UserError(
                f"{self.report_file}: holds no scores; score the run on labelled examples first"
            )
        return TASKS[report["task"]]

    def columns(self, given: Columns | None = None) -> Columns:
        """The run's own column options, but for those that are given now."""
        config = self.config()
        now = given or Columns()
        values = {}
        for field in dataclasses.fields(Columns):
            value = getattr(now, field.name)
            values[field.name] = (
                value if value != field.default else config.get(field.name, field.default)
            )
        return Columns(**values)

    def reading(self) -> tuple[str | None, ColumnNames | None]:
        """The answer that the run learnt, and the columns it found; None where not recorded."""
        known = self.provenance().get("reading", {})
        found = known.get("found")
        if found is None:
            return known.get("answer"), None
        return known.get("answer"), ColumnNames(**(found | {"labels": tuple(found["labels"])}))

    def read_examples(
        self,
        file: str | Path,
        *,
        given: Columns | None = None,
        answer: str | None = None,
        labelled: bool = True,
    ) -> list[Example]:
        """Reads a file as the run read its own, or one that it wrote itself."""
        known, found = self.reading()
        if Path(file).resolve().is_relative_to(self.folder.resolve()):
            return read_examples(file, answer=answer or known, labelled=labelled)
        return read_examples(
            file, columns=self.columns(given), answer=answer or known, labelled=labelled, like=found
        )

    def split_file(self, split: str) -> Path | None:
        """The file of a split: cut by the run, named by its config, or recorded."""
        cut = self.splits / f"{split}.jsonl"
        configured = self.config().get(f"{split}_file")
        recorded = [
            file
            for file in self.provenance().get("data", {})
            if Path(file).name.startswith(f"{split}.")
        ]
        if cut.is_file():
            return cut
        path = configured or next(iter(recorded), None)
        return Path(path).expanduser() if path else None

    def examples(self, split: str, *, labelled: bool = True) -> list[Example]:
        """The examples of a split, as the run read them.

        Raises:
            UserError: when the run has no such split, or its file is not here.
        """
        file = self.split_file(split)
        if file is None or not is_there(file):
            raise UserError(
                f"{self.folder}: its {split} examples are "
                f"{f'in {file}, which is' if file else ''} not "
                "here; give the file"
            )
        return self.read_examples(file, labelled=labelled)

    def model_folder(self) -> tuple[ModuleType, Path]:
        """The family of the run's model, and the folder it loads: `merged/` if there is one.

        A run that was downloaded from the Hub has its model beside its options.

        Raises:
            UserError: when no training of the run has finished.
        """
        for folder in (self.merged, self.model, self.folder):
            family = families.family_of(folder)
            if family is not None:
                return family, folder
        wanted = " or ".join(families.FAMILIES.values())
        raise UserError(
            f"{self.folder}: no model/ or merged/ with {wanted}; give the folder of a run that "
            "finished training"
        )

    def load(self) -> tuple[ModuleType, Any]:
        """The family and the loaded model, for `family.predict(model, examples)`."""
        family, folder = self.model_folder()
        return family, family.load(folder)

    def write_json(self, name: str, content: object) -> Path:
        with replacing(self.folder / name) as f:
            json.dump(content, f, indent=1, ensure_ascii=False)
            f.write("\n")
        return self.folder / name

    def write_config(self, options: JsonObject) -> None:
        """Writes options as a file that `--config` reads."""
        with replacing(self.folder / "config.yaml") as f:
            yaml.safe_dump(options, f, sort_keys=True, allow_unicode=True)

    def log_files(self, split: str) -> None:
        """Logs where what is; of the predictions, those of a split."""
        files = {
            "model": self.model,
            "report": self.report_file,
            "page": self.page,
            "predictions": self.predictions(split),
            "submission": self.submission,
            "model card": self.folder / CARD,
        }
        for name, file in files.items():
            if file.exists():
                logger.info("%-12s %s", name, file)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder that takes the place of the given one at the end, whole."""
    partial, old = (
        folder.with_name(f"{folder.name}.partial"),
        folder.with_name(f"{folder.name}.old"),
    )
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    yield partial
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def config_of(*groups: DataclassInstance) -> JsonObject:
    """The resolved options of a job's dataclasses, as plain values and without secrets."""
    options: JsonObject = {}
    for group in groups:
        values = group.to_dict() if hasattr(group, "to_dict") else dataclasses.asdict(group)
        names = {field.name for field in dataclasses.fields(group) if field.init} - NOT_WRITTEN
        # `to_dict` puts a stand-in for whatever is named a token, a padding token too.
        plain = {
            key: getattr(group, key) if key.endswith("_token") else values[key]
            for key in names & values.keys()
        }
        options |= {key: value for key, value in plain.items() if not key.endswith("hub_token")}
    cleaned: JsonObject = without_secrets(json.loads(json.dumps(options, default=str)))
    return cleaned


def _content(file: Path) -> JsonObject:
    """The object in a JSON or YAML file; empty where there is no file.

    Raises:
        UserError: when the file is damaged.
    """
    if not file.is_file():
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: damaged or cut off ({reason}); run it again") from None
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{file}: holds no object; wanted the folder of a run")
    return content or {}
