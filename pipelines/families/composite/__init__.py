"""A model made of the models of other runs, of any family: they vote, or one filters for another.

The model folder holds `composite.json` alone, with the paths of its members relative to it: the
runs can be moved together, as one tree of folders. A member is loaded when it predicts and freed
before the next one, so that memory holds one at a time.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from pipelines import families
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.cascade import goes_on
from pipelines.evaluation.voting import vote
from pipelines.examples import Example, Fields, Prediction
from pipelines.families.batching import chunks, progress_bar
from pipelines.formatting import text_table

MODEL_FILE = "composite.json"
RULES = ("vote", "cascade")


@dataclass(frozen=True)
class Member:
    """A model of another run.

    Attributes:
        name: of its run, for messages.
        folder: its model folder.
        sha256: of the names and contents of its files, see `digest`.
    """

    name: str
    folder: Path
    sha256: str


@dataclass(frozen=True)
class Composite:
    """Models and how their answers become one.

    Attributes:
        rule: one of `RULES`.
        members: of a cascade the cheap one and the expensive one.
        threshold: of a cascade; texts on which the cheap one's certainty is below it go on.
    """

    rule: str
    members: tuple[Member, ...]
    threshold: float | None = None


def member(name: str, folder: str | Path) -> Member:
    """A finished model as a member.

    Raises:
        UserError: when it is a composite itself, or no finished model.
    """
    family = families.family_of(folder)
    if family is None:
        raise UserError(f"{folder}: no finished model; give a run that finished training")
    if family is sys.modules[__name__]:
        raise UserError(
            f"{name}: made of other runs itself; give the runs that it is made of, which "
            f"{Path(folder) / MODEL_FILE} names"
        )
    return Member(name, Path(folder).resolve(), digest(folder))


def digest(folder: str | Path) -> str:
    """SHA-256 of the names and contents of a model's files, but for hidden ones and Markdown."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".md":
            with open(path, "rb") as f:
                content = hashlib.file_digest(f, "sha256").hexdigest()
            total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def predict(
    loaded: Composite,
    examples: Sequence[Example],
    *,
    batch_tokens: int | None = None,
    progress: bool = True,
) -> list[Prediction]:
    """Answers each example by the members' votes, or by the one that decides it.

    Args:
        batch_tokens: for the members; each family's own by default.
        progress: show a bar on a terminal.
    """
    keywords = {"batch_tokens": batch_tokens} if batch_tokens else {}
    if loaded.rule == "vote":
        answers = []
        for one in loaded.members:
            answers.append(_answers(one, [examples], keywords, progress=progress)[0])
            _free_memory()
        return vote(answers, names=[one.name for one in loaded.members])
    cheap, expensive = loaded.members
    [predictions] = _answers(cheap, [examples], keywords, progress=progress)
    _free_memory()
    # Chunk by chunk of all examples: a batch of the expensive model never depends on where the
    # caller cuts the file, see `batching.CHUNK`.
    threshold = loaded.threshold or 0.0
    unsure = [
        [index for index in part if goes_on(predictions[index], threshold)]
        for part in chunks(range(len(examples)))
    ]
    parts = [[examples[index] for index in part] for part in unsure if part]
    decided = _answers(expensive, parts, keywords, progress=progress) if parts else []
    _free_memory()
    for index, answer in zip(
        chain.from_iterable(unsure), chain.from_iterable(decided), strict=True
    ):
        predictions[index] = answer
    return predictions


def _answers(
    one: Member, parts: Sequence[Sequence[Example]], keywords: Fields, *, progress: bool
) -> list[list[Prediction]]:
    """Loads a member, which is no longer referred to when it has answered each part by itself."""
    family = families.family_of(one.folder)
    if family is None:
        raise UserError(_fault(one))  # removed since `load`
    model = family.load(one.folder)
    answers = []
    own_bar = progress and len(parts) > 1
    with progress_bar(sum(map(len, parts)), one.name, show=own_bar) as bar:
        for part in parts:
            shown = progress and not own_bar
            answers.append(family.predict(model, part, progress=shown, **keywords))
            bar.update(len(part))
    return answers


def _free_memory() -> None:
    """Frees what cycles of references hold, and what torch keeps of a GPU's memory."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def sizes_as_text(loaded: Composite) -> str:
    """The members, with their families; `pipelines parameters` lists the sizes of each."""
    rows = []
    for one in loaded.members:
        family = families.family_of(one.folder)
        name = family.__name__.rpartition(".")[2] if family else ""
        rows.append((one.name, name, str(one.folder)))
    what = loaded.rule if loaded.threshold is None else f"cascade, threshold {loaded.threshold:g}"
    head = ("member", "family", "model")
    return "\n".join([f"{what} of {len(rows)} runs", *text_table(head, rows, prose=head)])


def save(folder: str | Path, loaded: Composite) -> None:
    """Writes the paths and hashes of the members, the rule and the threshold."""
    folder = Path(folder).resolve()
    members = []
    for one in loaded.members:
        path = Path(os.path.relpath(one.folder, folder)).as_posix()
        members.append(asdict(one) | {"folder": path})
    content = {"rule": loaded.rule, "threshold": loaded.threshold, "members": members}
    with replacing(folder / MODEL_FILE) as f:
        json.dump(content, f, indent=1, ensure_ascii=False)
        f.write("\n")


def load(folder: str | Path) -> Composite:
    """Reads what `save` wrote, and checks that each member is what it was; loads no model.

    Raises:
        UserError: for a damaged file; naming all members that are missing or were changed.
    """
    file = Path(folder) / MODEL_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        members = tuple(
            Member(one["name"], (Path(folder) / one["folder"]).resolve(), one["sha256"])
            for one in content["members"]
        )
        rule, threshold = content["rule"], content["threshold"]
        if rule not in RULES or len(members) < 2 or (rule == "cascade") != (threshold is not None):
            raise ValueError(f"rule {rule!r}, threshold {threshold!r}, {len(members)} members")
        loaded = Composite(rule, members, None if threshold is None else float(threshold))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: no readable composite ({type(error).__name__}: {error}); make the run again"
        ) from error
    faults = [fault for one in members if (fault := _fault(one))]
    if faults:
        raise UserError(f"{file}: {'; '.join(faults)}")
    return loaded


def _fault(one: Member) -> str:
    """What is wrong with a member; empty where it is what it was."""
    if families.family_of(one.folder) is None:
        return (
            f"its member {one.name} is not at {one.folder}; keep the runs in one tree of folders, "
            "or make this run again"
        )
    if digest(one.folder) != one.sha256:
        return f"its member {one.name} was trained again since; make this run again"
    return ""
