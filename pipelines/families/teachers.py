"""Teachers: finished models of any family that answer texts without labels, for another to learn.

`teach` leaves a folder:

    teachers.json     name and SHA-256 of each teacher's model
    teacher-N.jsonl   what each answered to all texts, as predictions
    silver.jsonl      the texts that are kept, with the spans that the teachers voted for
    votes.jsonl       of these texts, every span that a teacher gave, with its mean score;
                      confidence (as `certainty`) and agreement
    summary.json      how many texts were kept, and how far the teachers agree
"""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines import families
from pipelines.corpora import Columns
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.stream import batches, stream_examples
from pipelines.corpora.writing import replacing, write_jsonl, write_predictions
from pipelines.errors import DataError, UserError
from pipelines.evaluation.silver import SilverText, pairwise_f1, silver_text
from pipelines.examples import Example, JsonObject, Prediction, prediction_from_json
from pipelines.families import composite
from pipelines.families.batching import progress_bar
from pipelines.formatting import score, seconds

SILVER, VOTES, SUMMARY, MODELS = "silver.jsonl", "votes.jsonl", "summary.json", "teachers.json"


class Teacher(NamedTuple):
    """A finished model.

    Attributes:
        name: of its run.
        folder: of its model.
    """

    name: str
    folder: Path


def unlabelled_texts(
    files: Sequence[str], known: set[str], *, most: int | None, seed: int
) -> list[Example]:
    """The distinct texts of files, without those that are known, under ids of their own.

    Args:
        known: texts of the task.
        most: draw as many of them (reservoir sampling), in their order; None for all.

    Raises:
        DataError: where none is left.
    """
    drawn: list[tuple[int, str]] = []
    generator = random.Random(seed)
    for number, text in enumerate(_new_texts(files, known)):
        if most is None or len(drawn) < most:
            drawn.append((number, text))
            continue
        place = generator.randrange(number + 1)
        if place < most:
            drawn[place] = number, text
    if not drawn:
        raise DataError(f"{', '.join(files)}: no text that train, dev and test do not have")
    return [Example(f"silver-{number}", text) for number, text in sorted(drawn)]


def _new_texts(files: Sequence[str], known: set[str]) -> Iterator[str]:
    seen = {hash(text) for text in known}  # in place of the texts, which may be many
    for file in files:
        for example in stream_examples(file, columns=Columns()):
            key = hash(example.text)
            if key not in seen and example.text.strip():
                seen.add(key)
                yield example.text


def teach(
    teachers: Sequence[Teacher],
    texts: Sequence[Example],
    folder: Path,
    *,
    min_confidence: float = 0.0,
    min_agreement: float = 0.0,
    show: bool = False,
) -> JsonObject:
    """Lets teachers answer texts and keeps those on which they are sure and agree.

    What a teacher has answered completely is kept when the work is resumed.

    Args:
        min_confidence, min_agreement: least `SilverText.confidence` and `.agreement` of a text.
        show: progress bars.

    Returns:
        The summary: texts, kept texts, mentions, and the agreement of the teachers.

    Raises:
        UserError: for a teacher that gives no spans; where other teachers worked in the folder.
    """
    _check_same(teachers, folder)
    known = read_summary(folder)["teachers"] if (folder / SUMMARY).is_file() else []
    answers, taken = [], []
    for number, teacher in enumerate(teachers):
        start = time.perf_counter()
        file = folder / f"teacher-{number + 1}.jsonl"
        if not file.is_file():
            write_predictions(file, _answers(teacher, texts, show=show))
        answers.append(read_predictions(file))
        seconds_taken = known[number]["seconds"] if known else time.perf_counter() - start
        taken.append(seconds_taken)
    silver = [
        silver_text(example, [one.spans or () for one in own])
        for example, *own in zip(texts, *answers, strict=True)
    ]
    kept = [
        text
        for text in silver
        if text.confidence >= min_confidence and text.agreement >= min_agreement
    ]
    write_jsonl(folder / SILVER, (text.to_json() for text in kept))
    write_jsonl(folder / VOTES, (text.votes_to_json() for text in kept))
    summary = _summary(teachers, silver, kept, answers, taken)
    with replacing(folder / SUMMARY) as f:
        json.dump(summary, f, indent=1, ensure_ascii=False)
    return summary


def _check_same(teachers: Sequence[Teacher], folder: Path) -> None:
    own = [
        {"name": teacher.name, "sha256": composite.digest(teacher.folder)} for teacher in teachers
    ]
    file = folder / MODELS
    if file.is_file() and json.loads(file.read_text(encoding="utf-8")) != own:
        raise UserError(
            f"{folder}: its answers are of other teachers, or one of them was trained again since; "
            "give another --run_dir"
        )
    with replacing(file) as f:
        json.dump(own, f, indent=1)


def _answers(teacher: Teacher, texts: Sequence[Example], *, show: bool) -> list[Prediction]:
    """What a teacher answers, which is loaded for it and freed again."""
    family = families.family_of(teacher.folder)
    if family is None:
        raise UserError(f"{teacher.folder}: no finished model; give a run that finished training")
    model = family.load(teacher.folder)
    answered: list[Prediction] = []
    with progress_bar(len(texts), teacher.name, show=show) as bar:
        for batch in batches(texts):
            answered += family.predict(model, batch, progress=False)
            if answered[-1].spans is None:
                raise UserError(f"{teacher.name}: gives no mentions; wanted runs that find them")
            bar.update(len(batch))
    del model
    gc.collect()
    return answered


def _summary(
    teachers: Sequence[Teacher],
    silver: Sequence[SilverText],
    kept: Sequence[SilverText],
    answers: Sequence[Sequence[Prediction]],
    taken: Sequence[float],
) -> JsonObject:
    names = [teacher.name for teacher in teachers]
    joint = [Prediction(text.example.id, spans=text.spans) for text in silver]
    rows = [
        {
            "name": name,
            "mentions": sum(len(one.spans or ()) for one in model),
            "f1_with_vote": pairwise_f1([model, joint], [name, "vote"])[0]["f1"],
            "seconds": round(seconds_taken, 2),
        }
        for name, model, seconds_taken in zip(names, answers, taken, strict=True)
    ]
    return {
        "texts": len(silver),
        "kept": len(kept),
        "mentions": sum(len(text.spans) for text in kept),
        "texts_with_mentions": sum(bool(text.spans) for text in kept),
        "teachers": rows,
        "pairs": pairwise_f1(answers, names),
    }


def described(summary: JsonObject) -> list[str]:
    """Lines for the log: what is kept, and how far the teachers agree."""
    share = 100 * summary["kept"] / max(1, summary["texts"])
    lines = [
        f"silver: {summary['kept']:,} of {summary['texts']:,} texts kept ({share:.1f} %), "
        f"{summary['texts_with_mentions']:,} with mentions, {summary['mentions']:,} mentions"
    ]
    for row in summary["teachers"]:
        lines.append(
            f"  {row['name']}: {row['mentions']:,} mentions, F1 {score(row['f1_with_vote'])} "
            f"against the vote, {seconds(row['seconds'])}"
        )
    for pair in summary["pairs"]:
        lines.append(f"  {pair['first']} and {pair['second']}: F1 {score(pair['f1'])}")
    return lines


def read_summary(folder: Path) -> JsonObject:
    """The summary that `teach` wrote."""
    summary: JsonObject = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def read_silver(folder: Path) -> list[SilverText]:
    """The texts that `teach` kept, with every span that a teacher gave."""
    texts = []
    for row, votes in zip(_rows(folder / SILVER), _rows(folder / VOTES), strict=True):
        proposals = prediction_from_json(votes).spans or ()
        example = Example(row["id"], row["text"])
        texts.append(SilverText(example, proposals, votes["certainty"], votes["agreement"]))
    return texts


def _rows(file: Path) -> Iterator[JsonObject]:
    with open(file, encoding="utf-8") as f:
        yield from map(json.loads, f)
