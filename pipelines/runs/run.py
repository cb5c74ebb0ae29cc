"""The run folder: what was run, on what, what it cost, and where its files are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml

from pipelines.corpora import Columns, Found, read_examples
from pipelines.errors import UserError
from pipelines.examples import Example, replacing


class Run:
    """A folder with `config.yaml`, `provenance.json`, `model/`, `predictions/`, `report.json`, `submission.csv`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.model = self.folder / "model"
        self.merged = self.folder / "merged"
        self.checkpoints = self.folder / "checkpoints"
        self.report = self.folder / "report.json"
        self.submission = self.folder / "submission.csv"

    def predictions(self, split: str) -> Path:
        return self.folder / "predictions" / f"{split}.jsonl"

    def start(self, *, resume: bool = False) -> Run:
        """Makes the folder.

        Raises:
            UserError: where it holds a finished run, or something that is no run.
        """
        if (self.report.exists() or self.model.exists()) and not resume:
            raise UserError(f"{self.folder} holds a trained run; give another --run_dir, or go on with this one by "
                            "--resume_from_checkpoint true")
        if self.folder.is_file():
            raise UserError(f"--run_dir {self.folder} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def write_json(self, name: str, content: Any) -> Path:
        with replacing(self.folder / name) as f:
            json.dump(content, f, indent=1, ensure_ascii=False)
            f.write("\n")
        return self.folder / name

    def write_config(self, *arguments: Any) -> None:
        """Writes all resolved options, those that hold secrets left out, as a file that `--config` reads."""
        options: dict[str, Any] = {}
        for group in arguments:
            values = group.to_dict() if hasattr(group, "to_dict") else dataclasses.asdict(group)
            names = {field.name for field in dataclasses.fields(group) if field.init}
            # `to_dict` puts a stand-in for whatever is named a token, a padding token too.
            options |= {key: getattr(group, key) if key.endswith("_token") else value for key, value in values.items()
                        if key in names and not key.endswith("hub_token")}
        with replacing(self.folder / "config.yaml") as f:
            yaml.safe_dump(json.loads(json.dumps(options, default=str)), f, sort_keys=True, allow_unicode=True)

    def config(self) -> dict[str, Any]:
        """The options that the run was started with; empty for a folder without `config.yaml`."""
        path = self.folder / "config.yaml"
        return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}

    def columns(self, given: Columns | None = None) -> Columns:
        """Where files hold what, as the run was told, but for what is given now."""
        named = self.config()
        default, now = Columns(), given or Columns()
        return Columns(**{field.name: getattr(now, field.name) if getattr(now, field.name) != field.default else
                          named.get(field.name, getattr(default, field.name))
                          for field in dataclasses.fields(Columns)})

    def reading(self) -> tuple[str | None, Found | None]:
        """The answer that the run learnt, and the columns that it found; ``None`` where it did not say."""
        path = self.folder / "provenance.json"
        known = json.loads(path.read_text(encoding="utf-8")).get("reading", {}) if path.is_file() else {}
        found = known.get("found")
        return known.get("answer"), None if found is None else Found(**(found | {"labels": tuple(found["labels"])}))

    def read_examples(self, file: str | Path, *, given: Columns | None = None, answer: str | None = None,
                      labelled: bool = True) -> list[Example]:
        """Reads a file as the run read its own; a file that the run wrote itself is in the project's own layout."""
        known, found = self.reading()
        if Path(file).resolve().is_relative_to(self.folder.resolve()):
            return read_examples(file, answer=answer or known, labelled=labelled)
        return read_examples(file, columns=self.columns(given), answer=answer or known, labelled=labelled, like=found)

    def print_files(self, split: str) -> None:
        """Prints where to find what there is, of the predictions those of a split."""
        for name, file in (("model", self.model), ("report", self.report), ("page", self.folder / "report.html"),
                           ("predictions", self.predictions(split)), ("submission", self.submission)):
            if file.exists():
                print(f"{name:<12} {file}")


def tell(show: Any, message: str) -> None:
    """Prints a message at once, if there is anything to show and this is the process that shows it."""
    if show:
        print(message, flush=True)
