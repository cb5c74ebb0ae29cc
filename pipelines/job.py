"""The two ends of every training job: `start` and `finish`.

data = job.read(options, answer="spans")
with job.start("tagger", data, options, training, model=name) as work:
    if work.trains():
        ...                          # the recipe's own part: train and save into work.run.model
    work.finish(predict)
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback, TrainingArguments

from pipelines.corpora.class_splits import write_cut
from pipelines.corpora.stream import batches
from pipelines.corpora.writing import write_predictions
from pipelines.evaluation.sanity import sanity_warnings
from pipelines.evaluation.tasks import TASK_OF_ANSWER
from pipelines.examples import Example, Fields, JsonObject, Prediction
from pipelines.families.training.time_estimate import TimeEstimate
from pipelines.reporting.ablation import report_ablation
from pipelines.reporting.card import write_card
from pipelines.reporting.html import write_report
from pipelines.reporting.page import Section
from pipelines.reporting.run_facts import run_facts
from pipelines.reporting.text import report_as_text, summary
from pipelines.runs import push, sessions, trackers
from pipelines.runs.arguments import DataArguments
from pipelines.runs.checkpoints import CheckpointManifest, checkpoint_to_resume
from pipelines.runs.cost import CostMeter, cost_of_run, training_figures
from pipelines.runs.data import Data, read_data
from pipelines.runs.defaults import changed_options
from pipelines.runs.lock import interruptible, run_lock
from pipelines.runs.options import given_files
from pipelines.runs.provenance import files_named_by, provenance, reading_of
from pipelines.runs.resuming import (
    asks_for_more,
    make_folder,
    record_resumption,
    refuse_differences,
)
from pipelines.runs.run import Run, config_of, replacing_folder
from pipelines.studies import ablation
from pipelines.submission import of_run

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger(__name__)

Predict = Callable[[Sequence[Example]], list[Prediction]]
MoreSections = Callable[[Sequence[Example], Sequence[Prediction]], Sequence[Section]]


def is_main() -> bool:
    """Whether this is the process that writes and reports."""
    return bool(PartialState().is_main_process)


def read(
    options: DataArguments,
    *,
    answer: str,
    project: Path,
    seed: int = 0,
    prompt_format: str | None = None,
) -> Data:
    """Reads the files of a job, logs how they were read, and rehearses the submission.

    Args:
        project: the folder of the checkout, which holds the sample corpora.
        seed: for cutting dev off train where texts with classes come without it.
        prompt_format: the format of the prompts; the audit counts what it cannot express.

    Raises:
        DataError: naming every fault, unless bad rows are to be skipped; for training without
            answers.
        UserError: for files that cannot be read, or a sample submission that does not fit.
        SystemExit: after the runs of `--ablate`, which are trained instead, with their exit code.
    """
    ablation.check_use(options)
    files = given_files(options, project)
    data = read_data(options, files, answer=answer, seed=seed, prompt_format=prompt_format)
    if answer != "text":
        of_run.rehearse(data.splits, options, answer=answer)
    if options.ablate:
        raise SystemExit(ablation.run(options, data, report=report_ablation))
    return data


@dataclass
class Job:
    """A job between its start and its end.

    Attributes:
        more_epochs: whether a finished run is to be trained on.
        trained_on: split -> the examples that the scored model was trained on; train, where a split
            is not in it.
        evaluation: further options of the task's `evaluate`.
        earlier_seconds: of training, before this run was resumed; None for a new one.
    """

    run: Run
    data: Data
    options: DataArguments
    meter: CostMeter
    more_epochs: bool = False
    trained_on: dict[str, list[Example]] = field(default_factory=dict)
    evaluation: Fields = field(default_factory=dict)
    earlier_seconds: float | None = None

    @property
    def examples(self) -> dict[str, list[Example]]:
        return self.data.splits

    def finish(
        self,
        predict: Predict,
        *,
        everywhere: bool = False,
        known: Mapping[str, list[Prediction]] | None = None,
        facts: Fields | None = None,
        baselines: Mapping[str, Predict] | None = None,
        more: MoreSections | None = None,
    ) -> JsonObject:
        """Predicts dev and test and writes predictions, report, page and submission.

        Args:
            predict: answers examples; called by the main process alone unless `everywhere`.
            known: split -> predictions that are there already.
            facts: further entries of the report.
            baselines: name -> answers of a cheap model, scored beside.
            more: what else the page shows, from the scored examples and their predictions.

        Returns:
            The report of the last labelled split, with its cost; empty in other processes.
        """
        answered = self.answers(predict, everywhere=everywhere, known=known)
        if not is_main():
            return {}
        report: JsonObject = {}
        reports: dict[str, JsonObject] = {}
        for split, predictions in answered.items():
            write_predictions(self.run.predictions(split), predictions)
            if self.is_labelled(split):
                report = reports[split] = {"split": split, **self.scores(split, predictions)}
        if "split" in report:
            self._add_baselines(report, baselines or {})
        report |= {"cost": self.cost(), **(facts or {})}
        self.run.write_json("report.json", report)
        asked = "test" if "test" in self.examples else "dev"
        if asked in answered and (self.options.sample_submission or "test" in self.examples):
            of_run.write(self.run, self.examples[asked], answered[asked], self.options)
        if "split" in report:
            split = report["split"]
            write_report(
                report,
                self.examples[split],
                answered[split],
                self.run.page,
                title=self.run.folder.name,
                trainer_log=self.run.training_log(),
                facts=run_facts(self.run.config(), self.run.provenance()),
                more=more(self.examples[split], answered[split]) if more else (),
            )
            logger.info("%s\n\n%s\n", report_as_text(report), summary(report))
        write_card(self.run, reports, self.examples)
        self.run.log_files(asked)
        return report

    def answers(
        self,
        predict: Predict,
        *,
        everywhere: bool = False,
        known: Mapping[str, list[Prediction]] | None = None,
    ) -> dict[str, list[Prediction]]:
        """The predictions of dev and test; the arguments are those of `finish`."""
        answered = dict(known or {})
        for split in ("dev", "test"):
            if split not in self.examples or split in answered or not (everywhere or is_main()):
                continue
            with self.meter.stage(f"predict_{split}"):
                answered[split] = [
                    answer for batch in batches(self.examples[split]) for answer in predict(batch)
                ]
        return answered

    def _add_baselines(self, report: JsonObject, baselines: Mapping[str, Predict]) -> None:
        """Scores what baselines answer to the examples of a report of classes."""
        for name, predict in baselines.items():
            split = report["split"]
            with self.meter.stage(f"baseline_{name}"):
                reached = self.scores(split, predict(self.examples[split]))
            row = {"accuracy": reached["accuracy"], "macro_f1": reached["macro"]["f1"]}
            report["baselines"][name] = row
            report["warnings"] = sanity_warnings(report)

    def callbacks(self, answered: float = 0.0) -> list[TrainerCallback]:
        """For a trainer: they keep its checkpoints sound, estimate and record what it takes.

        Args:
            answered: texts answered for each one trained on, where answers take long.
        """
        recorder = sessions.SessionRecorder(self.run.folder)
        return [CheckpointManifest(), recorder, TimeEstimate(answered)]

    def checkpoint(self, training: TrainingArguments) -> str | None:
        """The checkpoint that a trainer goes on from, if any.

        Args:
            training: the trainer's arguments; of several trainers in a run each has an
                `output_dir`.
        """
        choice = "true" if self.more_epochs else training.resume_from_checkpoint
        return checkpoint_to_resume(
            choice, str(training.output_dir), with_best=training.load_best_model_at_end
        )

    def record_training(self, trainer: Trainer) -> None:
        """Writes a trainer's log and records what its training took."""
        if not is_main():
            return
        self.run.write_json("trainer_log.json", trainer.state.log_history)
        self.record(**training_figures(trainer))

    def record(self, **figures: object) -> None:
        """Keeps figures of the cost of training, such as `tokens`, over any number of resumes."""
        if is_main():
            sessions.record(self.run.folder, **figures)

    def cost(self) -> JsonObject:
        """Seconds of each stage, memory, energy, and the figures recorded over all sessions."""
        figures = sessions.total(self.run.folder)
        return cost_of_run(self.meter, self.examples, figures, self.earlier_seconds)

    def trains(self) -> bool:
        """Whether there is no model yet, or a finished run is to train for more epochs."""
        if not self.run.model.is_dir() or self.more_epochs:
            return True
        logger.info("%s is there already: going on with prediction", self.run.model)
        return False

    @contextlib.contextmanager
    def model_folder(self) -> Iterator[Path]:
        """The folder to save the model in, which becomes the run's; then all processes go on.

        Every process saves: the first one's folder is kept, the others' are thrown away.
        """
        if is_main():
            with replacing_folder(self.run.model) as folder:
                yield folder
        else:
            with tempfile.TemporaryDirectory() as thrown_away:
                yield Path(thrown_away)
        PartialState().wait_for_everyone()

    def is_labelled(self, split: str) -> bool:
        """Whether the predictions of a split can be scored: of texts alone, always."""
        name = {"spans": "spans", "text": "text"}.get(self.data.answer, "label")
        examples = self.examples[split]
        return bool(examples) and all(getattr(example, name) is not None for example in examples)

    def scores(self, split: str, predictions: Sequence[Prediction]) -> JsonObject:
        """The report of a split, without its cost."""
        task = TASK_OF_ANSWER[self.data.answer]
        return task.evaluate(
            self.examples[split],
            predictions,
            train=self.trained_on.get(split, self.examples["train"]),
            **self.evaluation,
        )


@contextlib.contextmanager
def start(
    name: str,
    data: Data,
    options: DataArguments,
    *others: DataclassInstance,
    model: str,
    folder: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Job]:
    """Opens the run of a job: its folder, lock, config and provenance.

    Args:
        name: begins the name of the folder where `--run_dir` names none.
        others: the further dataclasses of options; of a trainer's, `output_dir` becomes the run's
            `checkpoints/`.
        model: what is trained, for the provenance.
        folder: instead of `--run_dir`.
        resume: go on with a run that is there, if its options and data are the same.

    Raises:
        UserError: where the folder holds a run that is not to be resumed, or one of other options
            or data; where another process works in it.
    """
    [path] = broadcast_object_list(
        [folder or options.run_dir or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"]
    )
    run = Run(path)
    work = Job(run, data, options, CostMeter())
    with contextlib.ExitStack() as stack:
        if is_main():
            make_folder(run, resume=resume)
            stack.enter_context(run_lock(run.folder))
        for group in others:
            if hasattr(group, "output_dir"):
                group.output_dir = group.output_dir or str(run.checkpoints)
        begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        config = config_of(options, *others)
        destination = push.destination_of(others)
        trackers.name_runs(others, run.folder.name)
        if is_main():
            facts = provenance(
                [*data.files.values(), *files_named_by(options)],
                recipe=name,
                model=model,
                reading=reading_of(data.corpora),
                options=changed_options(options, *others),
            )
            facts = _record_start(work, config, facts, resume=resume)
        [work.more_epochs] = broadcast_object_list([work.more_epochs])
        checkpoints = next(
            (group.output_dir for group in others if hasattr(group, "output_dir")), None
        )
        stack.enter_context(interruptible(run.folder, checkpoints=checkpoints))
        stack.enter_context(trackers.tensorboard_in(run.folder / "tensorboard"))
        yield work
        if is_main() and resume:
            record_resumption(run, config, facts, begin)
        if is_main() and destination:
            logger.info("uploaded     %s", push.push(run, destination))


def _record_start(work: Job, config: JsonObject, facts: JsonObject, *, resume: bool) -> JsonObject:
    """Writes config and provenance of a new run, or checks those of one that goes on.

    Returns:
        The provenance that the run now has.
    """
    run = work.run
    if resume and run.config():
        refuse_differences(run, config, facts)
        work.more_epochs = run.model.is_dir() and asks_for_more(run.config(), config)
        work.earlier_seconds = sessions.total(run.folder).get("seconds")
        facts = run.provenance()
    else:
        run.write_config(config)
        run.write_json("provenance.json", facts)
    if work.data.classes:
        write_cut(work.data.classes, work.data.files, run.splits)
    return facts
