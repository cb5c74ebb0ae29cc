"""Answers the examples of a file, or of a corpus of many files, with the model of a run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.commands.columns import add_columns, columns_of, number
from pipelines.commands.outputs import check_output
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import BATCH, Fields, prediction_to_json

HELP = "answer the examples of a file, or of many, with the model of a run"
VLLM_SERVER = "http://127.0.0.1:8000"  # where `vllm serve` listens
OF_SAMPLING = ("samples", "temperature")
OF_SHARDS = ("engine", "ray", "server", "workers", "output_format", "max_failed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run",
        required=True,
        dest="run_dir",
        metavar="RUN",
        help="run folder, with model/ or merged/",
    )
    parser.add_argument(
        "--input",
        required=True,
        metavar="FILE",
        help="examples, in any layout of data/README.md; `-` is standard input; or a quoted "
        "pattern or URL of many files, 'shards/*.parquet': see docs/corpora.md",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="P.jsonl",
        help="where the predictions go; `-` is standard output; of many files a folder",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on after an interruption: what was answered then is kept",
    )
    parser.add_argument(
        "--batch_tokens",
        type=int,
        help="tokens, padding counted, of a batch (default: the family's)",
    )
    parser.add_argument(
        "--min_score",
        type=number,
        metavar="SCORE",
        help="leave out spans with a lower score; of classes, keep all with this score or a higher "
        "one. `pipelines evaluate --guarantee` finds one",
    )
    parser.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help="of a language model that writes mentions: sample N answers to each text and take the "
        "one that agrees most with them; 0: one greedy answer (default: as the run)",
    )
    parser.add_argument(
        "--temperature",
        type=number,
        metavar="T",
        help="of the samples; lower: they are more alike (default: as the run)",
    )
    add_shard_options(parser)
    add_columns(parser)


def add_shard_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a corpus of many files, `OF_SHARDS`."""
    group = parser.add_argument_group("many files")
    group.add_argument(
        "--engine",
        choices=("local", "ray", "vllm"),
        help="local: one after the other in this process (default); ray: on a Ray cluster, which "
        "needs the extra `ray`; vllm: a language model as a vLLM server has it (`vllm serve`)",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="the cluster of --engine ray: local (default: one on this machine), auto, or "
        "HOST:PORT, ray://HOST:PORT",
    )
    group.add_argument("--server", metavar="URL", help=f"of --engine vllm (default: {VLLM_SERVER})")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="of --engine ray (default: one for each GPU, without GPUs for each core); of --engine "
        "vllm, requests at a time (256)",
    )
    group.add_argument(
        "--output_format",
        metavar="FORMAT",
        help="jsonl, parquet or csv (default: as the input; of plain text jsonl)",
    )
    group.add_argument(
        "--max_failed",
        type=int,
        metavar="N",
        help="rows that may fail before the job stops; each is set aside in OUTPUT/failed/ with "
        "its reason (default: 100)",
    )


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pipelines.corpora.stream import batches, stream_examples
    from pipelines.evaluation.thresholds import answers_above
    from pipelines.runs.run import Run

    if options.output == "-" and options.resume:
        raise UserError(
            "got --resume with --output -; standard output keeps nothing to go on from, name a file"
        )
    if options.min_score is not None and not 0 <= options.min_score <= 1:
        raise UserError(
            f"got --min_score {options.min_score:g}; wanted a score between 0 and 1, as models give"
        )
    if is_of_shards(options):
        return predict_shards(options)
    check_output(options.output, options.input)
    run = Run.open(options.run_dir)
    family, folder = run.model_folder()
    job = {
        "run": str(Path(options.run_dir).resolve()),
        "input": options.input,
        "batch_tokens": options.batch_tokens,
        "min_score": options.min_score,
        **{name: getattr(options, name) for name in OF_SAMPLING},
    }
    partial = None if options.output == "-" else Partial(Path(options.output), job)
    kept = partial.start(resume=options.resume) if partial else []
    loaded = with_samples(family, family.load(folder), options)
    keywords = {"batch_tokens": options.batch_tokens} if options.batch_tokens else {}
    _, found = run.reading()
    examples = stream_examples(options.input, columns=run.columns(columns_of(options)), like=found)
    answered = 0
    bar = tqdm(unit=" texts", desc="predict", disable=not sys.stderr.isatty())
    for batch in batches(examples):
        if (
            found is not None
            and found.pair is not None
            and any(example.pair is None for example in batch)
        ):
            raise UserError(
                f"{options.input}: one text a row, where the run learnt pairs ({found.text!r} and "
                f"{found.pair!r}); give both, or name the column of the second by --pair_column"
            )
        before, answered = answered, answered + len(batch)
        bar.update(len(batch))
        if before < len(kept):
            if [example.id for example in batch] != kept[before:answered]:
                raise UserError(
                    f"{partial.path if partial else ''}: its ids are not those of {options.input}, "
                    "which was changed since; remove it and start again"
                )
            continue
        answers = family.predict(loaded, batch, progress=False, **keywords)
        if options.min_score is not None:
            answers = answers_above(answers, options.min_score)
        lines = [
            json.dumps(prediction_to_json(prediction), ensure_ascii=False) + "\n"
            for prediction in answers
        ]
        if partial:
            partial.write(lines)
        else:
            sys.stdout.writelines(lines)
            sys.stdout.flush()
    bar.close()
    if partial:
        partial.finish()
        since = f", {len(kept)} of them kept from before" if kept else ""
        print(f"{options.output}: {answered} answers of {folder}{since}")
    return 0


def with_samples(family: ModuleType, loaded: Any, options: argparse.Namespace) -> Any:
    """The model of a run, with `--samples` and `--temperature` where they are given.

    Raises:
        UserError: where the family samples no answers, or the model cannot.
    """
    asked = {name: getattr(options, name) for name in OF_SAMPLING}
    given = [f"--{name}" for name, value in asked.items() if value is not None]
    if not given:
        return loaded
    if not hasattr(family, "with_samples"):
        raise UserError(
            f"got {' and '.join(given)}; the model of {options.run_dir} samples no answers, only a "
            "language model that writes mentions does; leave them out"
        )
    return family.with_samples(loaded, **asked)


def is_of_shards(options: argparse.Namespace) -> bool:
    """Whether the input is a corpus of many files: by an option, a pattern, a URL or Parquet."""
    path = str(options.input)
    is_pattern = any(sign in path for sign in "*?[") and not Path(path).exists()
    is_asked_for = any(getattr(options, name) is not None for name in OF_SHARDS)
    return is_asked_for or is_pattern or "://" in path or path.lower().endswith(".parquet")


def predict_shards(options: argparse.Namespace) -> int:
    """Answers many files; see `pipelines.bulk`."""
    from pipelines.bulk import engine as bulk
    from pipelines.runs.ray_cluster import LOCAL

    refuse_options(options)
    address = options.ray or LOCAL
    if options.engine == "vllm":
        address = options.server or VLLM_SERVER
    engine = bulk.Engine(options.engine or "local", address, options.workers)
    max_failed = bulk.MAX_FAILED if options.max_failed is None else options.max_failed
    try:
        tally = bulk.predict_shards(
            options.run_dir,
            options.input,
            options.output,
            columns=columns_of(options),
            engine=engine,
            output_format=options.output_format,
            batch_tokens=options.batch_tokens,
            min_score=options.min_score,
            max_failed=max_failed,
            resume=options.resume,
        )
    except KeyboardInterrupt:
        print("interrupted: finished shards are kept; --resume does the others", file=sys.stderr)
        return 130
    print(f"{options.output}: {tally.described()}")
    return 0


def refuse_options(options: argparse.Namespace) -> None:
    """Raises a `UserError` for options that have no effect on a corpus of many files."""
    if "-" in (options.input, options.output):
        raise UserError("many files are read from files and written to a folder; got `-`")
    given = [f"--{name}" for name in OF_SAMPLING if getattr(options, name) is not None]
    if given:
        raise UserError(
            f"got {' and '.join(given)}; many files are answered as the run was trained to; train "
            "it with them, or leave them out"
        )
    of_engines = {"ray": ("ray",), "server": ("vllm",), "workers": ("ray", "vllm")}
    for name, engines in of_engines.items():
        if getattr(options, name) is not None and options.engine not in engines:
            raise UserError(
                f"--{name} is an option of --engine {' and '.join(engines)}; give that too"
            )
    for name, least in (("workers", 1), ("max_failed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(f"got --{name} {value}; wanted {least} or more")
    if options.skip_bad_rows:
        raise UserError(
            "got --skip_bad_rows; of many files bad rows are set aside, up to --max_failed"
        )
    if options.layout is not None:
        raise UserError("got --layout; of many files the ending says the format")


class Partial:
    """Answers of an unfinished prediction: whole batches in a file beside the output.

    Args:
        output: where the answers go in the end.
        job: what has to be the same when the work goes on.
    """

    def __init__(self, output: Path, job: Fields):
        self.output = output.resolve()  # through links: the file that they lead to is replaced
        self.path = self.output.with_name(f".{self.output.name}.partial")
        self.about = self.output.with_name(f".{self.output.name}.partial.json")
        self.job = dict(job)

    def start(self, *, resume: bool) -> list[str]:
        """Begins, or goes on.

        Returns:
            The ids that are answered already, of whole batches.

        Raises:
            UserError: when there is interrupted work that is not to be resumed, or of another job.
        """
        if self.path.exists() and not resume:
            raise UserError(
                f"{self.path}: answers of an interrupted prediction; --resume goes on with them, "
                "or remove the file to start again"
            )
        kept: list[str] = []
        if self.path.exists() and self.about.exists():
            job = json.loads(self.about.read_text(encoding="utf-8"))
            changed = [
                f"{name} was {job.get(name)}, is {value}"
                for name, value in self.job.items()
                if job.get(name) != value
            ]
            if changed:
                raise UserError(
                    f"{self.path}: answers of another prediction ({'; '.join(changed)}); remove it "
                    "to start again"
                )
            kept = self._whole_batches()
        return kept

    def _whole_batches(self) -> list[str]:
        """The ids of whole batches; a batch that was cut off in the middle is removed."""
        ids: list[str] = []
        ends = [0]
        with open(self.path, "rb") as f:
            for line in f:
                if not line.endswith(b"\n"):
                    break
                ids.append(str(json.loads(line)["id"]))
                ends.append(ends[-1] + len(line))
        whole = len(ids) - len(ids) % BATCH
        os.truncate(self.path, ends[whole])
        return ids[:whole]

    def write(self, lines: Sequence[str]) -> None:
        """Adds a batch, and sees to it that it is on the disk."""
        if not self.about.exists():
            with replacing(self.about) as f:
                json.dump(self.job, f, ensure_ascii=False)
        with open(self.path, "a", encoding="utf-8", newline="") as f:
            f.writelines(lines)
            f.flush()
            os.fsync(f.fileno())

    def finish(self) -> None:
        """Gives the answers their name."""
        os.replace(self.path, self.output)
        self.about.unlink(missing_ok=True)
