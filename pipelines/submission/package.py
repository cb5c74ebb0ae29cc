"""A course's submission package: a zip with predictions, configs and weights of runs, checksummed.

Predictions lie in it twice: as `predictions/SPLIT.jsonl`, and as `predictions/SPLIT.csv`, one row a
type with the inclusive ranges `0-1 4-4` of its mentions, in the token numbers of the `index` column
of a text/NER/index file. Authors stand in manifest and README, their IDs in the names of files
that are graded.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import yaml

from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import replacing
from pipelines.errors import DataError, UserError
from pipelines.examples import Fields, JsonObject, Prediction, prediction_from_json
from pipelines.runs.run import Run
from pipelines.spans import split_tag
from pipelines.submission.authors import Author, file_suffix
from pipelines.submission.package_readme import package_readme
from pipelines.submission.token_ranges import (
    Tokens,
    numbered_tokens,
    ranges_as_csv,
    ranges_from_csv,
    type_ranges,
)

MANIFEST, README, SOURCE = "manifest.json", "README.md", "source/"
# What goes in of a model folder; weights only as safetensors, never pickled.
MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")


class Kind(NamedTuple):
    """What a package holds.

    Attributes:
        what: in words.
        splits: those that every run must have predicted.
        with_authors: whether it must name its authors.
    """

    what: str
    splits: tuple[str, ...]
    with_authors: bool = False


BUNDLES = {
    "milestone": Kind("dev predictions, to show how far the runs are", ("dev",)),
    "leaderboard": Kind("test predictions of the runs that compete", ("test",)),
    "final": Kind("dev and test predictions of every run", ("dev", "test"), with_authors=True),
}


def write_bundle(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    kind: str,
    files: Mapping[str, str | None] | None = None,
    authors: Sequence[Author] = (),
    parameters: Mapping[str, str] | None = None,
    report: bytes | None = None,
    source: Mapping[str, Path] | None = None,
) -> list[str]:
    """Writes the package and validates it; the file appears whole and valid, or not at all.

    Args:
        runs: run folders, which keep their names in the zip.
        out: the zip to write.
        kind: a name of `BUNDLES`.
        files: the file of a split; by default the one that the run's config names.
        authors: whose IDs end the names of predictions and report: `test_ab12_cd34.csv`.
        parameters: name of a run -> its parameter table, for the README.
        report: a PDF.
        source: name -> file of the project, to lie in `source/`.

    Returns:
        Names of the files in the zip. The same runs give the same bytes.

    Raises:
        UserError: naming all that is missing: predictions, config, weights, authors.
        DataError: when predictions are not those of the file.
    """
    if kind not in BUNDLES:
        raise UserError(f"got --bundle {kind}; wanted {', '.join(BUNDLES)}")
    folders = [Path(run) for run in runs]
    check_runs(folders, kind, authors)
    suffix = file_suffix(authors)
    contents: dict[str, bytes | Path] = {}
    for folder in folders:
        for name, content in _contents(folder, BUNDLES[kind].splits, files or {}, suffix):
            contents[f"{folder.resolve().name}/{name}"] = content
    if report is not None:
        contents[f"report{suffix}.pdf"] = report
    contents |= {f"{SOURCE}{name}": path for name, path in (source or {}).items()}
    readme = package_readme(
        kind=kind,
        what=BUNDLES[kind].what,
        runs=[Run(folder) for folder in folders],
        authors=authors,
        parameters=parameters or {},
        names=list(contents),
    )
    contents = {README: readme.encode(), **contents}
    listed = {
        name: {"sha256": _sha256_of(content), "bytes": _size_of(content)}
        for name, content in contents.items()
    }
    manifest = {
        "bundle": kind,
        "what": BUNDLES[kind].what,
        "authors": [author._asdict() for author in authors],
        "runs": [folder.resolve().name for folder in folders],
        "files": listed,
    }
    contents[MANIFEST] = (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()
    with replacing(out, "w+b") as f:
        _write_zip(f, contents)
        f.seek(0)
        validate_bundle(f, name=str(out))
    return list(contents)


def _write_zip(f: IO[bytes], contents: Mapping[str, bytes | Path]) -> None:
    with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            # A fixed date, so that the same runs give the same bytes; weights do not shrink.
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            is_weights = name.endswith(".safetensors")
            info.compress_type = zipfile.ZIP_STORED if is_weights else zipfile.ZIP_DEFLATED
            large = _size_of(content) > 1 << 31
            with archive.open(info, "w", force_zip64=large) as entry, _opened(content) as source:
                shutil.copyfileobj(source, entry, 1 << 20)


def validate_bundle(bundle: str | Path | IO[bytes], *, name: str | None = None) -> JsonObject:
    """Opens a package and checks it: checksums, whole weights, configs that parse, equal ranges.

    Args:
        bundle: the zip.
        name: what messages call it; by default its path.

    Returns:
        The manifest.

    Raises:
        UserError: when it is not a package.
        DataError: naming everything that is wrong with its files.
    """
    name = name or str(bundle)
    try:
        with zipfile.ZipFile(bundle) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            listed = manifest["files"]
            archived = {info.filename for info in archive.infolist()} - {MANIFEST}
            absent, unlisted = sorted(listed.keys() - archived), sorted(archived - listed.keys())
            faults = [f"{path}: in the manifest, not in the zip" for path in absent]
            faults += [f"{path}: not in the manifest" for path in unlisted]
            for path in sorted(archived & listed.keys()):
                faults += [f"{path}: {fault}" for fault in _faults(archive, path, listed[path])]
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{name}: not a submission package, or a damaged one ({error}); write it again by "
            "`pipelines submit --bundle`"
        ) from None
    if faults:
        raise DataError("\n".join(f"{name}: {fault}" for fault in faults))
    return manifest


def check_runs(folders: Sequence[Path], kind: str, authors: Sequence[Author]) -> None:
    """Checks that a package of this kind can be written.

    Raises:
        UserError: naming all that is missing.
    """
    splits = BUNDLES[kind].splits
    faults = []
    if not folders:
        faults.append(f"--bundle {kind} got no runs; wanted at least 1 with --runs")
    if BUNDLES[kind].with_authors and not authors:
        faults.append(f'--bundle {kind} got no authors; wanted --authors "NAME <ID>, NAME <ID>"')
    names = Counter(folder.resolve().name for folder in folders)
    faults += [
        f"{name}: several runs have this name; rename one, as a run keeps its name in the zip"
        for name in sorted(names)
        if names[name] > 1
    ]
    if SOURCE.strip("/") in names:
        faults.append("source: the package has a folder of this name; rename the run")
    for folder in folders:
        faults += _run_faults(folder, kind, splits)
    if faults:
        raise UserError("\n".join(faults))


def _run_faults(folder: Path, kind: str, splits: Sequence[str]) -> list[str]:
    """What a run lacks to go into a package."""
    if not folder.is_dir():
        return [f"{folder}: no such run folder"]
    run = Run(folder)
    faults = []
    for split in splits:
        path = run.predictions(split)
        if not path.is_file():
            faults.append(
                f"{folder}: no predictions/{split}.jsonl, which --bundle {kind} wants; write it "
                f"with `pipelines predict --run {folder} --input {split.upper()}_FILE --output "
                f"{path}`"
            )
    if not (folder / "config.yaml").is_file():
        faults.append(f"{folder}: no config.yaml; give the folder that a recipe wrote")
    if not list(_model_folder(run).glob("*.safetensors")):
        faults.append(
            f"{folder}: no weights (model/*.safetensors); give a run that finished training"
        )
    return faults


def _model_folder(run: Run) -> Path:
    return run.model if run.model.is_dir() else run.merged


def _contents(
    folder: Path, splits: Sequence[str], files: Mapping[str, str | None], suffix: str
) -> Iterator[tuple[str, bytes | Path]]:
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
    for split in splits:
        file = _file_of(run, split, files)
        predictions = read_predictions(run.predictions(split))
        tokens = _predicted_tokens(run, file, predictions)
        ranges = type_ranges(tokens, predictions, types=_types(model))
        yield f"predictions/{split}{suffix}.jsonl", run.predictions(split)
        yield f"predictions/{split}{suffix}.csv", ranges_as_csv(ranges).encode()


def _file_of(run: Run, split: str, files: Mapping[str, str | None]) -> Path:
    """The file of a split: as given, else the run's own.

    Raises:
        UserError: when there is none.
        DataError: when it has changed since the run used it.
    """
    path = files.get(split)
    file = Path(path) if path else run.split_file(split)
    if file is None or not file.is_file():
        raise UserError(
            f"{run.folder}: its {split} file ({file or 'its config names none'}) does not exist, "
            f"and predictions hold characters, not tokens; give it with --{split}_file"
        )
    checksums = run.provenance().get("data", {})
    known = {Path(name).expanduser(): checksum for name, checksum in checksums.items()}
    if file in known and known[file] != _sha256_of(file):
        raise DataError(
            f"{run.folder}: {file} has changed since the run predicted it; give the one it was "
            f"with --{split}_file, or predict again"
        )
    return file


def _predicted_tokens(run: Run, file: Path, predictions: Sequence[Prediction]) -> Tokens:
    """The tokens of a file; of its rows with faults only those that have an answer."""
    tokens = numbered_tokens(file, run.read_examples(file, answer="text", labelled=False))
    if not run.config().get("skip_bad_rows"):
        return tokens
    # A row with faults may be without an answer; a good one may not.
    expected = {prediction.id for prediction in predictions}
    expected |= {example.id for example in run.read_examples(file, labelled=False)}
    kept = [example for example in tokens.examples if example.id in expected]
    return Tokens(kept, tokens.numbers)


def _types(model: Path) -> list[str]:
    """Types that the model knows, so that one that is never predicted has its row too."""
    config = model / "config.json"
    if not config.is_file():
        return []
    labels = json.loads(config.read_text(encoding="utf-8")).get("id2label", {})
    types = [split_tag(tag)[1] for tag in labels.values() if "-" in tag]
    return list(dict.fromkeys(filter(None, types)))


def _faults(archive: zipfile.ZipFile, path: str, listed: Fields) -> Iterator[str]:
    """What is wrong with one file of a package."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        yield "its path leaves the package"
    digest, size = hashlib.sha256(), 0
    with archive.open(path) as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    if (digest.hexdigest(), size) != (listed["sha256"], listed["bytes"]):
        yield "its checksum or size is not that of the manifest"
    if path.startswith(SOURCE):  # files of any content, data for tests among them
        return
    try:
        if path.endswith(".safetensors"):
            with archive.open(path) as f:
                _check_safetensors(f, size)
        elif path.endswith(".csv"):
            _check_ranges(archive, path)
        elif path.endswith(".yaml"):
            yaml.safe_load(archive.read(path))
        elif path.endswith(".json"):
            json.loads(archive.read(path))
    except (ValueError, KeyError, yaml.YAMLError) as error:
        yield f"cannot be read: {' '.join(str(error).split())}"


def _check_ranges(archive: zipfile.ZipFile, path: str) -> None:
    """Compares the ranges of a split with its predictions.

    Raises:
        ValueError: where there are more ranges than mentions, or a type has no row.
    """
    ranges = ranges_from_csv(archive.read(path).decode())
    lines = archive.read(path.removesuffix(".csv") + ".jsonl").decode().splitlines()
    mentions = set()
    for line in filter(str.strip, lines):
        prediction = prediction_from_json(json.loads(line))
        mentions |= {(prediction.id, s.start, s.end, s.label) for s in prediction.spans or ()}
    labels = {label for *_, label in mentions}
    if not labels <= set(ranges) or sum(map(len, ranges.values())) > len(mentions):
        raise ValueError(f"its ranges are not those of {PurePosixPath(path).stem}.jsonl")


def _check_safetensors(f: IO[bytes], size: int) -> None:
    """Reads the header (its length, then JSON) and compares the length of the data with it.

    Raises:
        ValueError: where they differ.
    """
    length = int.from_bytes(f.read(8), "little")
    if not 0 < length <= size - 8:
        raise ValueError("not a safetensors file")
    header = json.loads(f.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if expected != size:
        raise ValueError(f"weights of {size} bytes; its header says {expected}")


def _opened(content: bytes | Path) -> io.BytesIO | io.BufferedReader:
    return io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb")


def _size_of(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sha256_of(content: bytes | Path) -> str:
    with _opened(content) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
