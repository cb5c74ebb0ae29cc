"""The cheapest model that reaches a goal: which one that is, and how sure that is.

A rung is a row of `choice.json`: one model of the ladder, which begins with the cheapest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from pipelines.evaluation.comparison import pareto_front
from pipelines.evaluation.tasks import metric_name
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import interval, score, seconds, some

SMALL = 50  # examples, below which the answer says what cannot be concluded


def choose(rungs: Sequence[Fields], goal: float | None, until: str = "budget") -> JsonObject:
    """Chooses among the finished rungs by their scores on dev.

    With a goal it is the cheapest rung whose interval lies at or above the goal. Where there is
    none, it is the cheapest whose interval contains the goal, of those whose score reaches it if
    any does; and where no interval contains it, the best. Without a goal it is the cheapest that is
    not significantly worse than the best.

    A rung is significantly worse than the best if the paired test in its `next`, or in its `best`
    where it has one, says so. Without a test of these two, its interval has to end below the score
    of the best: a rough rule, which takes the best's score as certain.

    Args:
        rungs: the cheapest first, as the ladder ranks them.
        goal: a score between 0 and 1.
        until: "goal" where the ladder ends at the first rung that reaches the goal: then the next
            rung may be one that was not trained.

    Returns:
        `chosen`: a name, None where no rung finished; `reached`: whether its interval lies at or
        above the goal, None without a goal; `tied`: the other rungs that cannot be told from the
        goal, or from the best where there is no goal; empty where the goal is reached or missed;
        `next`: the rung after the chosen one.
    """
    finished = by_cost(rungs)
    if not finished:
        return {
            "chosen": None,
            "reached": None if goal is None else False,
            "tied": [],
            "next": None,
        }
    reached: bool | None = None
    if goal is None:
        candidates = _as_good_as_the_best(finished)
    else:
        candidates = [row for row in finished if row["interval"][0] >= goal]
        reached = bool(candidates)
    if goal is not None and not reached:
        candidates = [row for row in finished if contains(row["interval"], goal)]
        candidates.sort(key=lambda row: row["score"] < goal)  # stays in order of cost otherwise
    chosen = candidates[0] if candidates else best_of(finished)
    tied = [] if reached else [row["name"] for row in candidates[1:]]
    following = _next(rungs, chosen, until)
    return {"chosen": chosen["name"], "reached": reached, "tied": tied, "next": following}


def by_cost(rungs: Sequence[Fields]) -> list[Fields]:
    """The finished rungs, those with the fewest seconds first; equals in the ladder's order."""
    finished = [row for row in rungs if row["status"] == "finished" and row["score"] is not None]
    return sorted(finished, key=seconds_of)


def seconds_of(rung: Fields) -> float:
    """Seconds to train and to predict dev; infinite where not known.

    Those of starting a process, which all models need alike, are left out where the work is known.
    """
    cost = rung.get("cost") or {}
    known = cost.get("work_seconds", cost.get("seconds"))
    return float("inf") if known is None else float(known)


def best_of(finished: Sequence[Fields]) -> Fields:
    """The highest score; of equal ones the first."""
    return max(finished, key=lambda row: row["score"])


def contains(interval: Sequence[float], value: float) -> bool:
    """Whether a value lies within an interval, its ends included."""
    low, high = interval
    return bool(low <= value <= high)


def _as_good_as_the_best(finished: Sequence[Fields]) -> list[Fields]:
    best = best_of(finished)
    return [row for row in finished if row is best or not _is_worse(row, best)]


def _is_worse(rung: Fields, best: Fields) -> bool:
    """Whether a rung is significantly worse, by the paired test or else by its interval."""
    tests = [rung.get("best"), rung.get("next")]
    for test in tests:
        if test and test["rung"] == best["name"]:
            return bool(test["significant"] and test["delta"] > 0)
    return bool(rung["interval"][1] < best["score"])


def _next(rungs: Sequence[Fields], chosen: Fields, until: str) -> str | None:
    """The rung that the chosen one was tested against, or the next in the ladder."""
    if chosen.get("next"):
        return str(chosen["next"]["rung"])
    finished = by_cost(rungs)
    after = finished[finished.index(chosen) + 1 :]
    if not after and until == "goal":
        own = list(rungs).index(chosen)
        after = [row for row in rungs[own + 1 :] if row["status"] == "not reached"]
    return str(after[0]["name"]) if after else None


def named(rungs: Sequence[Fields], name: str | None) -> Fields | None:
    """The rung with a name; None where there is none."""
    return next((row for row in rungs if row["name"] == name), None)


def neighbour(choice: Fields) -> Fields | None:
    """The finished rung beside the chosen one: the next more expensive, else the next cheaper."""
    answer, finished = choice["answer"], by_cost(choice["rungs"])
    chosen, after = named(finished, answer["chosen"]), named(finished, answer["next"])
    if chosen is None or after is not None:
        return after
    position = finished.index(chosen)
    return finished[position - 1] if position else None


def front(rungs: Sequence[Fields]) -> list[str]:
    """Names of the finished rungs that none beats in both seconds and score, cheapest first."""
    known = [row for row in by_cost(rungs) if seconds_of(row) < float("inf")]
    return pareto_front([(row["name"], seconds_of(row), row["score"]) for row in known])


def estimate_error(rungs: Sequence[Fields]) -> JsonObject:
    """How far the estimated seconds were off.

    Returns:
        `rungs`: name -> (estimated - actual) / actual, of those with both; `median`: that of the
        absolute errors, None without any.
    """
    errors = {}
    for row in by_cost(rungs):
        estimate, actual = row.get("estimate"), (row.get("cost") or {}).get("seconds")
        if estimate and actual:
            errors[row["name"]] = (estimate["seconds"] - actual) / actual
    sizes = [abs(error) for error in errors.values()]
    return {"median": median(sizes) if sizes else None, "rungs": errors}


def paragraph(choice: Fields) -> str:
    """The answer in words: what was chosen, what it costs, what the next rung would add.

    Args:
        choice: the content of `choice.json`; of its `answer` all but the text is read.
    """
    rungs, answer = choice["rungs"], choice["answer"]
    chosen = named(rungs, answer["chosen"])
    if chosen is None:
        return " ".join(_nothing_chosen(choice))
    sentences = [
        *_chosen(choice, chosen),
        *_cheaper_as_good(rungs, chosen),
        *_left_out(rungs),
        *_on_test(choice, chosen),
        *_next_adds(choice, chosen),
        *_costs(choice, chosen),
        *_unseen(chosen),
        *_more_labels(choice, chosen),
        *_larger_model(choice, chosen),
        *_small_data(choice, chosen),
    ]
    return " ".join(sentences)


def _nothing_chosen(choice: Fields) -> Iterator[str]:
    yield "No model finished, so there is nothing to choose from."
    failed = [row for row in choice["rungs"] if row["status"] in ("failed", "skipped")]
    yield from (_sentence(f"{row['name']} {row['status']}: {row['reason']}") for row in failed)


def _sentence(words: str) -> str:
    return words if words.endswith((".", "!", "?")) else f"{words}."


def _with_title(rung: Fields) -> str:
    """`crf (CRF on hand-made features)`."""
    title = rung.get("title") or rung["name"]
    return str(rung["name"]) if title == rung["name"] else f"{rung['name']} ({title})"


def _scored(rung: Fields) -> str:
    return f"{score(rung['score'])} {interval(rung['interval'])}"


def _chosen(choice: Fields, chosen: Fields) -> Iterator[str]:
    """Which model was chosen, by which rule, and its score on dev."""
    metric = metric_name(choice["metric"])
    goal, answer = choice["goal"], choice["answer"]
    name, on_dev = _with_title(chosen), f"{_scored(chosen)} on dev"
    if goal is None:
        yield from _chosen_without_goal(choice, chosen)
        return
    aim = f"the goal of {metric} {score(goal)}"
    if answer["reached"]:
        yield f"The cheapest model that reaches {aim} is {name}: {on_dev}."
    elif contains(chosen["interval"], goal):
        yield f"No model is certain to reach {aim}: no 95 % interval lies above it."
        over = "score reaches it" if chosen["score"] >= goal else "interval contains it"
        yield f"The cheapest model whose {over} is {name}: {on_dev}."
        if answer["tied"]:
            intervals = "interval" if len(answer["tied"]) == 1 else "intervals"
            does = "contains" if len(answer["tied"]) == 1 else "contain"
            yield f"The {intervals} of {some(answer['tied'])} {does} the goal too."
    else:
        below = score(goal - chosen["score"])
        yield f"No model reaches {aim}."
        yield f"The nearest is {name}: {on_dev}, {below} below the goal."


def _chosen_without_goal(choice: Fields, chosen: Fields) -> Iterator[str]:
    metric, finished = metric_name(choice["metric"]), by_cost(choice["rungs"])
    name, on_dev = _with_title(chosen), f"{metric} {_scored(chosen)} on dev"
    best = best_of(finished)
    if len(finished) == 1:
        yield f"Only {name} finished, so it was compared with no other model: {on_dev}."
    elif best is chosen:
        cheaper = "; the cheaper models are worse" if finished[0] is not chosen else ""
        yield f"The best model is {name}: {on_dev}{cheaper}."
    else:
        yield f"The cheapest model not significantly worse than the best is {name}: {on_dev}."
        yield f"The best on dev is {best['name']}: {_scored(best)}."


def _cheaper_as_good(rungs: Sequence[Fields], chosen: Fields) -> Iterator[str]:
    """The cheapest model that a paired test finds no worse than the chosen one."""
    finished = by_cost(rungs)
    for row in finished[: finished.index(chosen)]:
        tests = [row.get("best"), row.get("next")]
        test = next((own for own in tests if own and own["rung"] == chosen["name"]), None)
        if test and not test["significant"]:
            yield (
                f"{_with_title(row)} is cheaper and not significantly worse: {_scored(row)}, "
                f"difference {score(test['delta'])} {interval(test['interval'])} "
                f"(p = {test['p']:.2g}), in {seconds(seconds_of(row))} instead of "
                f"{seconds(seconds_of(chosen))}."
            )
            return


def _left_out(rungs: Sequence[Fields]) -> Iterator[str]:
    rows = [row for row in rungs if row["status"] in ("failed", "skipped")]
    if rows:
        names = some([f"{row['name']} ({row['status']})" for row in rows])
        yield f"Not compared: {names}."


def _on_test(choice: Fields, chosen: Fields) -> Iterator[str]:
    test, goal = chosen.get("test"), choice["goal"]
    if not test:
        yield "There is no test score; the dev score favours the model that it chose."
        return
    ends, against = test["interval"], ""
    if goal is not None:
        against = "; the goal is above that interval" if ends[1] < goal else ""
        against = "; that interval contains the goal" if contains(ends, goal) else against
        against = "; the goal is below that interval" if ends[0] > goal else against
    on_test = f"{score(test['score'])} {interval(ends)}"
    yield f"On test, scored once at the end, it has {on_test}{against}."
    yield "Report the test score: the dev score favours the model that it chose."


def _next_adds(choice: Fields, chosen: Fields) -> Iterator[str]:
    """What the next more expensive model would add, and whether that is significant."""
    rungs = choice["rungs"]
    following = named(rungs, choice["answer"]["next"])
    if following is None:
        if len(by_cost(rungs)) > 1:
            yield "No more expensive model finished."
        return
    name, test = _with_title(following), chosen.get("next")
    if following["status"] != "finished":
        estimate = following.get("estimate")
        takes = f"; it is estimated at {seconds(estimate['seconds'])}" if estimate else ""
        yield f"The search ended there: the next model, {name}, was not trained{takes}."
        return
    took = f"in {seconds(seconds_of(following))} instead of {seconds(seconds_of(chosen))}"
    if not test:
        yield f"The next more expensive one, {name}, has {_scored(following)}, {took}."
        yield "No test compared the two."
        return
    ends, p = interval(test["interval"]), f"p = {test['p']:.2g}"
    verb = "adds" if test["delta"] >= 0 else "loses"
    size = score(abs(test["delta"]))
    change = f"{verb} {size} (difference {ends})"
    verdict = "significant" if test["significant"] else "not significant"
    yield f"The next more expensive one, {name}, {change}, which is {verdict} ({p}), {took}."


def _costs(choice: Fields, chosen: Fields) -> Iterator[str]:
    """What it costs to train and to predict a million texts, in seconds and in money."""
    cost, price = chosen.get("cost") or {}, choice.get("price_per_hour")
    training, million = cost.get("training_seconds"), cost.get("seconds_per_million")
    clauses = []
    if training is not None:
        clauses.append(f"training takes {seconds(training)}{_money(training, price)}")
    if million is not None:
        predicting = f"predicting a million texts takes {seconds(million)}"
        clauses.append(f"{predicting}{_money(million, price)}")
    if clauses:
        sentence = "; ".join(clauses)
        at = "" if price is None else f", at {price:,.2f} an hour"
        yield f"{sentence[0].upper()}{sentence[1:]}{at}."


def _money(duration: float, price: float | None) -> str:
    """` and costs 0.50`; empty without a price."""
    return "" if price is None else f" and costs {money(duration / 3600 * price)}"


def money(amount: float) -> str:
    """An amount with two decimals, in the currency of the price per hour."""
    return "under 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"


def _unseen(chosen: Fields) -> Iterator[str]:
    if chosen.get("unseen") is not None:
        recall = score(chosen["unseen"])
        yield f"It finds {recall} % of the dev mentions whose text is not in train."


def _more_labels(choice: Fields, chosen: Fields) -> Iterator[str]:
    curve = (choice.get("curves") or {}).get(chosen["name"])
    if curve and curve.get("sentence"):
        yield _sentence(curve["sentence"])
    elif choice["goal"] is not None and not choice["answer"]["reached"]:
        yield "What more labels would add is not known, as no learning curve was drawn."


def _larger_model(choice: Fields, chosen: Fields) -> Iterator[str]:
    """Where the goal is not reached: the models further up that were not trained."""
    if choice["goal"] is None or choice["answer"]["reached"]:
        return
    rungs = list(choice["rungs"])
    above = rungs[rungs.index(chosen) + 1 :]
    untrained = [row for row in above if row["status"] in ("skipped", "not reached")]
    if not untrained:
        yield "No larger model of the ladder is left to try."
        return
    first = untrained[0]
    estimate = first.get("estimate")
    takes = f", estimated at {seconds(estimate['seconds'])}" if estimate else ""
    why = f" ({first['reason'].rstrip('.')})" if first.get("reason") else ""
    yield f"A larger model may help: {first['name']} was not trained{why}{takes}."


def _small_data(choice: Fields, chosen: Fields) -> Iterator[str]:
    examples = choice["examples"]
    if examples["dev"] < SMALL:
        low, high = chosen["interval"]
        yield (
            f"Dev has only {examples['dev']} examples. You can conclude that a model is better "
            "than another where the difference is significant. You cannot conclude that two models "
            f"are equally good where it is not, nor how good one is: the chosen one's interval is "
            f"{score(high - low)} wide."
        )
    if examples["train"] < SMALL:
        yield (
            f"Train has only {examples['train']} examples: a few more can change the order of the "
            "models."
        )
