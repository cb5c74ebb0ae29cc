"""Studies gradient clipping: RNN and GRU on latch and parity, with sequences of several lengths.

    python recipes/study_gradient_clipping.py --run_dir runs/clipping
    python recipes/study_gradient_clipping.py --lengths 20 --optim sgd --learning_rate 1 \\
        --run_dir runs/clipping-sgd

Both runs of a pair start from the same weights and see the same sequences; only the clipping
differs. The run folder gets config.yaml, provenance.json, curves.jsonl (loss and gradient norm of
each step), report.json and report.html.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.runs import options as config
from pipelines.runs.arguments import option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

from pipelines import job
from pipelines.corpora.writing import write_jsonl
from pipelines.errors import one_line_errors
from pipelines.examples import JsonObject
from pipelines.reporting.gradient_clipping import study_as_text, write_study
from pipelines.reporting.run_facts import run_facts
from pipelines.runs.cost import CostMeter
from pipelines.runs.defaults import changed_options, refuse_processes
from pipelines.runs.log import log_to_terminal
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run, config_of
from pipelines.studies.gradient_clipping import ClippingStudy, one_unit, run_study, summarize

logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass(kw_only=True)
class StudyArguments(ClippingStudy):
    """The options of the study."""

    run_dir: str | None = option(
        None, "folder of the run (default: runs/, recipe and time)", group="study"
    )
    tasks: list[str] = option(["latch", "parity"], "latch, parity")
    networks: list[str] = option(["rnn", "gru"], "rnn, gru")
    lengths: list[int] = option([10, 20, 40, 80], "bits of a sequence")
    seeds: int = option(3, "pairs of runs of each kind")
    seed: int = option(0, "seed of the first pair; the others count up from it")
    max_grad_norm: float = option(
        1.0, "norm that one run of a pair is clipped at", group="training"
    )
    steps: int = option(300, "updates of a run")
    batch_size: int = option(64, "sequences of an update, new ones each time")
    hidden_size: int = option(16, "units")
    optim: str = option("adamw_torch", "optimizer, as in transformers.TrainingArguments")
    learning_rate: float = option(0.01, "constant learning rate")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        [options] = config.parse((StudyArguments,))
        run(options)


def run(options: StudyArguments) -> JsonObject:
    """Trains all pairs and writes the run folder; returns the report."""
    refuse_processes("the study of clipping")
    options.check()
    default = f"runs/study_gradient_clipping-{time.strftime('%Y%m%d-%H%M%S')}"
    run = Run(options.run_dir or default)
    job.make_folder(run, resume=False)
    origin = provenance([], options=changed_options(options))
    run.write_config(config_of(options))
    run.write_json("provenance.json", origin)
    meter = CostMeter()
    with meter.stage("training"):
        rows = run_study(options, folder=run.checkpoints)
    write_jsonl(run.folder / "curves.jsonl", rows)
    report = {"summary": summarize(rows), "one_unit": one_unit(), "cost": meter.to_json()}
    run.write_json("report.json", report)
    write_study(report, rows, options, run.page, facts=run_facts(run.config(), origin))
    logger.info("%s\n", study_as_text(report, options))
    run.log_files("test")
    return report


if __name__ == "__main__":
    main()
