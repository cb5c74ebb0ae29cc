"""Makes a run of two: a cheap one answers all, an expensive one where the cheap one is unsure."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject

if TYPE_CHECKING:
    from pipelines.commands.composites import Members

HELP = "make a run in which an expensive run decides only where a cheap one is unsure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cheap", required=True, metavar="RUN", help="the run that answers all texts"
    )
    parser.add_argument(
        "--expensive", required=True, metavar="RUN", help="the run that decides the rest"
    )
    parser.add_argument("--run_dir", required=True, metavar="RUN", help="folder of the new run")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="texts on which the cheap run's certainty is below X go on; 0: none, over 1: all "
        "(default: the cheapest that keeps the expensive run's score on dev)",
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.commands.composites import Members, make_run
    from pipelines.families.composite import Composite

    threshold = options.threshold
    if threshold is not None and not (threshold >= 0 and math.isfinite(threshold)):
        raise UserError(f"got --threshold {threshold}; wanted a number of 0 or more")
    members = Members([options.cheap, options.expensive])
    curve, point = choose(members, threshold)
    loaded = Composite("cascade", members.members, point["threshold"])
    make_run(members, loaded, options.run_dir, curve=curve, point=point)
    print(as_text(curve, point))
    print(f"\n{options.run_dir}: cascade of {curve['cheap']} and {curve['expensive']}")
    return 0


def choose(members: Members, threshold: float | None) -> tuple[JsonObject, JsonObject]:
    """The curve on dev, and its point at a threshold, by default the chosen one.

    Raises:
        UserError: when there is no threshold and no cascade is worth it.
    """
    from pipelines.evaluation.cascade import Cascade, cascade_curve

    given = members.answers("dev")
    answers = [pair or members.answer_now(i, "dev") for i, pair in enumerate(given)]
    (cheap, cheap_seconds), (expensive, expensive_seconds) = answers
    gold = members.examples["dev"]
    compared = (members.task, gold, cheap, expensive, cheap_seconds, expensive_seconds)
    names = members.names[0], members.names[1]
    curve = cascade_curve(*compared, names=names)
    if threshold is not None:
        return curve, Cascade(*compared).point(threshold)
    if curve["chosen"] is None:
        raise UserError(f"{curve['reason']} --threshold X makes one nevertheless.")
    return curve, curve["chosen"]


def as_text(curve: Fields, point: Fields) -> str:
    """The curve in a table for a terminal."""
    from pipelines.evaluation.tasks import metric_name
    from pipelines.formatting import text_table
    from pipelines.reporting.cascade import NOTE, cascade_table

    rows = cascade_table(curve, point)
    head = ("threshold", "texts that go on", metric_name(curve["metric"]), "ms a text")
    return "\n".join([*text_table(head, rows), "", str(curve["reason"]), NOTE])
