"""A course's submission package: one zip with the predictions, configs and weights of runs, and their checksums.

Predictions lie in it twice: as `predictions/SPLIT.jsonl`, and as `predictions/SPLIT.csv`, one row a type with the
inclusive ranges `0-1 4-4` of its mentions, in the token numbers of the `index` column of a text/NER/index file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import yaml

from pipelines.corpora import read_examples
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, joined_by_id, prediction_from_json, read_predictions, replacing
from pipelines.runs import Run
from pipelines.spans import join_tokens, spans_to_token_ranges, split_tag

MANIFEST = "manifest.json"
# What goes in of a model folder; weights only as safetensors, never pickled.
MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")
HEADER = ("type", "ranges")


class Kind(NamedTuple):
    """Attributes: ``splits`` that every run must have predicted; ``runs`` at most, None for any number."""

    what: str
    splits: tuple[str, ...]
    runs: int | None = None


BUNDLES = {
    "milestone": Kind("dev predictions, to show how far the runs are", ("dev",)),
    "leaderboard": Kind("test predictions of the one run that competes", ("test",), 1),
    "final": Kind("dev and test predictions of every run", ("dev", "test")),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The examples of a file, and by example id the number of each token in the file."""

    examples: list[Example]
    numbers: Mapping[str, Sequence[int]]


def write_bundle(runs: Sequence[str | Path], out: str | Path, *, kind: str,
                 files: Mapping[str, str | None] | None = None) -> list[str]:
    """Writes the package and validates it; the file appears whole and valid, or not at all.

    Args:
        runs: run folders; their names tell them apart in the zip.
        kind: a name of ``BUNDLES``.
        files: the file of a split; by default the one that the run's config names.

    Returns:
        Names of the files in the zip. The same runs give the same bytes.

    Raises:
        UserError: naming all that the runs lack: predictions, config, weights.
        DataError: when predictions are not those of the file.
    """
    if kind not in BUNDLES:
        raise UserError(f"got --bundle {kind}; wanted {', '.join(BUNDLES)}")
    folders = [Path(run) for run in runs]
    _check_runs(folders, kind)
    contents: dict[str, bytes | Path] = {}
    for folder in folders:
        contents |= {f"{folder.resolve().name}/{name}": content
                     for name, content in _contents(folder, BUNDLES[kind].splits, files or {})}
    manifest = {"bundle": kind, "what": BUNDLES[kind].what, "runs": [folder.resolve().name for folder in folders],
                "files": {name: {"sha256": _sha256_of(content), "bytes": _size_of(content)}
                          for name, content in contents.items()}}
    contents[MANIFEST] = (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()
    with replacing(out, "w+b") as f:
        with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                # A fixed date, so that the same runs give the same bytes; weights do not shrink.
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o644 << 16
                info.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
                large = _size_of(content) > 1 << 31
                with archive.open(info, "w", force_zip64=large) as entry, _opened(content) as source:
                    shutil.copyfileobj(source, entry, 1 << 20)
        f.seek(0)
        validate_bundle(f, name=str(out))
    return list(contents)


def validate_bundle(bundle: str | Path | IO[bytes], *, name: str | None = None) -> dict[str, Any]:
    """Opens a package and checks it: checksums, weights that are whole, configs that parse, ranges that agree.

    Returns:
        The manifest.

    Raises:
        UserError: when it is no package.
        DataError: naming everything that is wrong with its files.
    """
    name = name or str(bundle)
    try:
        with zipfile.ZipFile(bundle) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            listed, there = manifest["files"], {info.filename for info in archive.infolist()} - {MANIFEST}
            faults = [f"{path}: in the manifest, not in the zip" for path in sorted(listed.keys() - there)]
            faults += [f"{path}: not in the manifest" for path in sorted(there - listed.keys())]
            faults += [f"{path}: {fault}" for path in sorted(there & listed.keys())
                       for fault in _faults(archive, path, listed[path])]
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{name}: not a submission package, or a damaged one ({error}); write it again by `pipelines "
                        "submit --bundle`") from None
    if faults:
        raise DataError("\n".join(f"{name}: {fault}" for fault in faults))
    return manifest


def _check_runs(folders: Sequence[Path], kind: str) -> None:
    limit, splits = BUNDLES[kind].runs, BUNDLES[kind].splits
    faults = []
    if not folders or (limit and len(folders) > limit):
        faults.append(f"--bundle {kind} got {len(folders)} runs; wanted {limit or 'at least 1'} with --runs")
    names = [folder.resolve().name for folder in folders]
    faults += [f"{name}: several runs have this name, which tells them apart in the zip; rename one"
               for name in sorted({name for name in names if names.count(name) > 1})]
    for folder in folders:
        run = Run(folder)
        if not folder.is_dir():
            faults.append(f"{folder}: no such run folder")
            continue
        faults += [f"{folder}: no predictions/{split}.jsonl, which --bundle {kind} wants; write it with `pipelines "
                   f"predict --run {folder} --input {split.upper()}_FILE --output {run.predictions(split)}`"
                   for split in splits if not run.predictions(split).is_file()]
        if not (folder / "config.yaml").is_file():
            faults.append(f"{folder}: no config.yaml; give the folder that a recipe wrote")
        if not list(_model_folder(run).glob("*.safetensors")):
            faults.append(f"{folder}: no weights (model/*.safetensors); give a run that finished training")
    if faults:
        raise UserError("\n".join(faults))


def _model_folder(run: Run) -> Path:
    return run.model if run.model.is_dir() else run.merged


def _contents(folder: Path, splits: Sequence[str],
              files: Mapping[str, str | None]) -> Iterator[tuple[str, bytes | Path]]:
    """Names within the run's part of the zip, and what they hold."""
    run = Run(folder)
    yield "config.yaml", folder / "config.yaml"
    for name in ("provenance.json", "report.json"):
        if (folder / name).is_file():
            yield name, folder / name
    model = _model_folder(run)
    for path in sorted(model.rglob("*")):
        if path.suffix in MODEL_FILES and path.is_file():
            yield f"model/{path.relative_to(model).as_posix()}", path
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {}
    for split in splits:
        file = files.get(split) or config.get(f"{split}_file")
        if not file or not Path(file).is_file():
            raise UserError(f"{folder}: its {split} file ({file or 'its config names none'}) is not there, and "
                            f"predictions hold characters, not tokens; give it with --{split}_file")
        _check_same_file(folder, split, file)
        predictions = read_predictions(run.predictions(split))
        skip_bad_rows = bool(config.get("skip_bad_rows"))
        tokens = numbered_tokens(file, skip_bad_rows=skip_bad_rows)
        if skip_bad_rows:
            # A row with faults may be without an answer; a good one may not.
            wanted = {prediction.id for prediction in predictions} | \
                     {example.id for example in read_examples(file, skip_bad_rows=True)}
            tokens = Tokens([example for example in tokens.examples if example.id in wanted], tokens.numbers)
        ranges = type_ranges(tokens, predictions, types=_types(model))
        yield f"predictions/{split}.jsonl", run.predictions(split)
        yield f"predictions/{split}.csv", ranges_as_csv(ranges).encode()


def _check_same_file(folder: Path, split: str, file: str) -> None:
    """Refuses a file of the name that the run was made with whose content has changed since."""
    provenance = folder / "provenance.json"
    known = json.loads(provenance.read_text(encoding="utf-8")).get("data", {}) if provenance.is_file() else {}
    if file in known and known[file] != _sha256_of(Path(file)):
        raise DataError(f"{folder}: {file} has changed since the run predicted it; give the one it was with "
                        f"--{split}_file, or predict again")


def _types(model: Path) -> list[str]:
    """Types that the model knows, so that one that is never predicted has its row too."""
    config = model / "config.json"
    labels = json.loads(config.read_text(encoding="utf-8")).get("id2label", {}) if config.is_file() else {}
    return list(dict.fromkeys(filter(None, (split_tag(tag)[1] for tag in labels.values() if "-" in tag))))


def numbered_tokens(file: str | Path, *, skip_bad_rows: bool = False) -> Tokens:
    """The tokens of a file with their numbers: its ``index`` column, or counted through the file where it has none.

    Raises:
        DataError: naming rows whose index does not fit their tokens.
    """
    columns: Any = None
    if str(file).endswith(".json"):
        columns = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    if not (isinstance(columns, dict) and isinstance(columns.get("text"), list) and "index" in columns):
        examples = read_examples(file, skip_bad_rows=skip_bad_rows)
        without = [example.id for example in examples if example.tokens is None]
        if without:
            raise DataError(f"{file}: {len(without)} examples, such as {without[0]}, are not in tokens; a course "
                            "package wants a file with tokens")
        numbers, start = {}, 0
        for example in examples:
            numbers[example.id] = range(start, start := start + len(example.tokens or ()))
        return Tokens(examples, numbers)
    ids = [str(id) for id in columns.get("id", range(len(columns["text"])))]
    wrong = [f"{file}, row {row}: {len(tokens)} tokens, {len(index)} numbers in index"
             for row, (tokens, index) in enumerate(zip(columns["text"], columns["index"], strict=True))
             if len(tokens) != len(index)]
    if wrong:
        raise DataError("\n".join(wrong))
    examples = []
    for id, words in zip(ids, columns["text"], strict=True):
        text, tokens = join_tokens(words)
        examples.append(Example(id, text, tokens=tokens))
    return Tokens(examples, dict(zip(ids, columns["index"], strict=True)))


def type_ranges(tokens: Tokens, predictions: Sequence[Prediction], *,
                types: Sequence[str] = ()) -> dict[str, list[tuple[int, int]]]:
    """For each type the inclusive ranges of its predicted mentions, in token numbers.

    Raises:
        DataError: naming ids that the file or the predictions lack.
    """
    ranges: dict[str, list[tuple[int, int]]] = {label: [] for label in types}
    for example, prediction in joined_by_id(tokens.examples, predictions):
        for first, past, label in spans_to_token_ranges(sorted(prediction.spans or ()), example.tokens or ()):
            numbers = tokens.numbers[example.id]
            ranges.setdefault(label, []).append((numbers[first], numbers[past - 1]))
    return {label: sorted(set(found)) for label, found in sorted(ranges.items())}


def ranges_as_csv(ranges: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    """``PER,0-1 4-4``: one row a type, under a header."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(
        [HEADER, *((label, " ".join(f"{first}-{last}" for first, last in found)) for label, found in ranges.items())])
    return written.getvalue()


def ranges_from_csv(content: str) -> dict[str, list[tuple[int, int]]]:
    rows = list(csv.reader(io.StringIO(content)))
    if not rows or tuple(rows[0]) != HEADER:
        raise ValueError(f"got the header {rows[:1]}; wanted {','.join(HEADER)}")
    found = {}
    for label, cell in rows[1:]:
        pairs = [tuple(map(int, piece.split("-"))) for piece in cell.split()]
        if any(len(pair) != 2 or pair[0] > pair[1] for pair in pairs):
            raise ValueError(f"{label}: a range is not FIRST-LAST")
        found[label] = [(pair[0], pair[1]) for pair in pairs]
    return found


def _faults(archive: zipfile.ZipFile, path: str, listed: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one file of a package."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        yield "its path leaves the package"
    digest, size = hashlib.sha256(), 0
    with archive.open(path) as f:
        head = f.read(8)
        digest.update(head)
        size += len(head)
        while piece := f.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    if (digest.hexdigest(), size) != (listed["sha256"], listed["bytes"]):
        yield "its checksum or size is not that of the manifest"
    try:
        if path.endswith(".safetensors"):
            with archive.open(path) as f:
                _check_safetensors(f, size)
        elif path.endswith(".csv"):
            ranges = ranges_from_csv(archive.read(path).decode())
            answers = archive.read(path.removesuffix(".csv") + ".jsonl").decode().splitlines()
            mentions = {(prediction.id, span.start, span.end, span.label)
                        for prediction in map(prediction_from_json, map(json.loads, filter(str.strip, answers)))
                        for span in prediction.spans or ()}
            labels = {label for *_, label in mentions}
            if not labels <= set(ranges) or sum(map(len, ranges.values())) > len(mentions):
                yield f"its ranges are not those of {PurePosixPath(path).stem}.jsonl"
        elif path.endswith(".yaml"):
            yaml.safe_load(archive.read(path))
        elif path.endswith(".json"):
            json.loads(archive.read(path))
    except (ValueError, KeyError, yaml.YAMLError) as error:
        yield f"cannot be read: {' '.join(str(error).split())}"


def _check_safetensors(f: IO[bytes], size: int) -> None:
    """Reads the header (its length, then JSON) and checks that the data behind it has the length it says."""
    length = int.from_bytes(f.read(8), "little")
    if not 0 < length <= size - 8:
        raise ValueError("not a safetensors file")
    header = json.loads(f.read(length))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if 8 + length + end != size:
        raise ValueError(f"weights of {size} bytes; its header tells of {8 + length + end}")


def _opened(content: bytes | Path) -> io.BytesIO | io.BufferedReader:
    return io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb")


def _size_of(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256_of(content: bytes | Path) -> str:
    with _opened(content) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
