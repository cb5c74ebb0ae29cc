"""Answers written questions of the courses by numbers; docs/questions.md has them all.

pipelines questions                  # the list
pipelines questions padding
pipelines questions loss --run runs/rnn
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product

from pipelines.errors import UserError
from pipelines.formatting import size, text_table

HELP = "answer the written questions of the courses by numbers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help=f"{', '.join(QUESTIONS)} (default: lists them)"
    )
    parser.add_argument(
        "--run", dest="run_dir", metavar="RUN", help="of `loss`: looks at this run's epochs too"
    )


def run(options: argparse.Namespace) -> int:
    if options.run_dir and options.name != "loss":
        raise UserError("--run is of the question `loss` alone")
    if options.name is None:
        print("\n".join(f"{name:10}  {text}" for name, (text, _) in QUESTIONS.items()))
        return 0
    if options.name not in QUESTIONS:
        raise UserError(f"got the question {options.name}; wanted one of {', '.join(QUESTIONS)}")
    question, answer = QUESTIONS[options.name]
    print(f"{question}\n")
    print("\n".join(answer()))
    if options.run_dir:
        print("\n" + "\n".join(_over_a_run(options.run_dir)))
    return 0


def _loss() -> list[str]:
    from pipelines.studies.loss_and_scores import AFTER, BEFORE, GOLD, loss_and_f1

    rows = []
    for name, probabilities in (("before", BEFORE), ("after", AFTER)):
        both = loss_and_f1(probabilities)
        shares = " ".join(f"{share:.2f}" for share in probabilities)
        rows.append([name, shares, f"{both.loss:.3f}", f"{100 * both.f1:.0f}"])
    head = ("step", "p(entity) of four words", "loss", "F1")
    gold = " ".join(map(str, GOLD))
    return [f"gold: {gold}", "", *text_table(head, rows, prose=head[1:2])]


def _over_a_run(folder: str) -> list[str]:
    from pipelines.runs.run import Run
    from pipelines.studies.loss_and_scores import opposite_epochs

    run = Run.open(folder)
    log = run.training_log()
    metric = str(run.config().get("metric_for_best_model", "")).removeprefix("eval_")
    if not metric or metric == "loss" or not any(f"eval_{metric}" in entry for entry in log):
        raise UserError(f"{folder}: its log has no scores of dev; give a run of a network with dev")
    found = opposite_epochs(log, metric)
    rows = []
    for epoch, loss, score in found:
        rows.append([f"{epoch:g}", f"{loss:+.4f}", f"{100 * score:+.2f}"])
    count = sum(f"eval_{metric}" in entry for entry in log)
    said = f"{folder}: of {count} evaluations {len(found)} with loss and {metric} both up or down"
    return [said, *text_table(("epoch", "loss of dev", metric), rows)]


def _f1() -> list[str]:
    from pipelines.studies.loss_and_scores import f1_along_a_step, f1_by_batches

    rows = []
    for share, both, slope, f1_slope in f1_along_a_step():
        numbers = [f"{both.loss:.3f}", f"{slope:.3f}", f"{100 * both.f1:.0f}", f"{f1_slope:g}"]
        rows.append([f"{share:.3f}", *numbers])
    head = ("share of the step", "loss", "its slope", "F1", "its slope")
    whole, halves = f1_by_batches()
    each = " and ".join(f"{100 * half:.1f}" for half in halves)
    mean = 100 * sum(halves) / len(halves)
    batches = f"F1 of six words {100 * whole:.1f}; of their halves {each}, in the mean {mean:.1f}"
    return [*text_table(head, rows), "", batches]


def _softmax() -> list[str]:
    from pipelines.studies.loss_and_scores import softmax_twice

    rows = []
    for confidence in (-2.0, 0.0, 2.0, 10.0):
        one = softmax_twice(confidence)
        numbers = (
            one.cross_entropy,
            one.nll,
            one.softmax_twice,
            one.gradient,
            one.softmax_twice_gradient,
        )
        rows.append([f"{confidence:g}", *(f"{number:.4f}" for number in numbers)])
    head = ("logit", "CE(z)", "NLL(log softmax z)", "CE(softmax z)", "dCE(z)", "dCE(softmax z)")
    least = f"CE(softmax z) of 9 classes is never below {softmax_twice(0.0).least:.4f}"
    return [*text_table(head, rows), "", least]


def _evaluation() -> list[str]:
    from pipelines.studies.loss_and_scores import evaluations

    rows = []
    for row in evaluations():
        rows.append([row.mode, size(row.kept), "yes" if row.equal else "no"])
    return text_table(("mode", "kept for a backward pass", "same logits"), rows)


def _padding() -> list[str]:
    from pipelines.studies.context_and_memory import masking

    rows = []
    for row in masking():
        rows.append([row.kind, f"{row.loss:.4f}", f"{row.gradient:.4f}", f"{row.distance:.1e}"])
    head = ("sentences of 4, 12 and 30 words", "loss", "|gradient|", "gradient off by")
    return text_table(head, rows)


def _window() -> list[str]:
    from pipelines.inspection.parameters import rnn_and_window

    rows = []
    D = 300
    for H, w in product((128, 512, 1200), (1, 2)):
        rnn, window = rnn_and_window(H, D, w)
        numbers = (H, w, rnn, window, rnn - window, H * (H - 2 * w * D))
        rows.append([f"D = {D}", *(f"{number:,}" for number in numbers)])
    head = ("words", "H", "w", "RNN", "window", "difference", "H(H - 2wD)")
    return [*text_table(head, rows), "", "negative where H < 2wD"]


def _distance() -> list[str]:
    from pipelines.studies.context_and_memory import DISTANCES, gradient_by_distance

    names = ("rnn", "gru", "lstm", "attention")
    columns = [gradient_by_distance(name) for name in names]
    rows = []
    for distance in DISTANCES:
        rows.append([f"{distance:,}", *(f"{column[distance]:.1e}" for column in columns)])
    return text_table(("tokens before", *names), rows)


def _latch() -> list[str]:
    from pipelines.studies.context_and_memory import latch_units

    lines = []
    rows = []
    for unit in latch_units():
        lines.append(f"{unit.name}: {unit.weights}")
        until = "any number" if unit.holds_for is None else f"{unit.holds_for:,}"
        numbers = [f"{100 * unit.right:g} %", f"{unit.zeros:.4f}", until, f"{unit.gradient:.1e}"]
        rows.append([unit.name, *numbers])
    head = ("unit", "right on all 12 bits", "h after 4,096 zeros", "right for", "dh/dh, 100 steps")
    return [*lines, "", *text_table(head, rows)]


QUESTIONS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "loss": ("Can the loss fall while F1 falls?", _loss),
    "f1": ("Why is F1 not optimised directly?", _f1),
    "softmax": ("Cross-entropy, NLL, and why no softmax before it?", _softmax),
    "evaluation": ("Why no gradient in evaluation?", _evaluation),
    "padding": ("What does padding change without the mask?", _padding),
    "window": ("When has an RNN fewer parameters than a window model?", _window),
    "distance": ("How does the gradient fall with distance?", _distance),
    "latch": ("Which weights let one unit latch?", _latch),
}
