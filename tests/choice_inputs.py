"""Choices of models made by hand: rows of `choice.json`, and real runs with a choice around them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from conftest import load_recipe

from pipelines.corpora.predictions import read_predictions
from pipelines.evaluation.choice import by_cost, choose, estimate_error, front, paragraph
from pipelines.evaluation.comparison import compare_predictions
from pipelines.evaluation.tasks import TASKS, interval_path, metric
from pipelines.runs.run import Run

TITLES = {
    "dictionary": "Mentions of train looked up",
    "hmm": "Hidden Markov model",
    "crf": "CRF on hand-made features",
    "naive_bayes": "Naive Bayes on words",
    "linear_svm": "Linear SVM on words and letters",
}


def rung(name, score=None, interval=None, seconds=None, **more):
    """A row of `choice.json`; without a score one that was not reached."""
    status = "not reached" if score is None else "finished"
    cost = None
    if seconds is not None:
        cost = {"seconds": seconds, "training_seconds": 0.75 * seconds, "memory": 5e8, "disk": 2e6}
        cost |= {"seconds_per_million": 3600.0 * seconds, "parameters": 1000}
    row = {"name": name, "title": TITLES.get(name, name), "status": status, "reason": ""}
    row |= {"run": f"rungs/{name}", "score": score, "interval": interval, "unseen": None}
    row |= {"estimate": None, "cost": cost, "members": None, "test": None, "next": None}
    return row | more


def verdict(rung, delta, p, *, significant):
    """The paired test against the next rung."""
    interval = [delta - 0.01, delta + 0.01]
    return {"rung": rung, "delta": delta, "interval": interval, "p": p, "significant": significant}


def choice_of(rungs, *, goal=None, task="span_extraction", **more):
    """The content of `choice.json` around rungs."""
    choice = {"task": task, "metric": TASKS[task].primary_metric, "goal": goal, "seed": 42}
    choice |= {"budget_seconds": None, "until": "budget", "price_per_hour": None}
    choice |= {"examples": {"train": 500, "dev": 100, "test": 100}, "notes": [], "curves": {}}
    choice |= {"files": {"train": "train.json", "dev": "dev.json", "test": "test.json"}}
    choice |= {"machine": {"cpu": "A CPU", "cores": 2, "gpu": None}, "seconds_spent": 100.0}
    choice |= {"rungs": rungs, "front": front(rungs), "cascade": None}
    choice |= {"estimate_error": estimate_error(rungs)} | more
    choice["answer"] = choose(rungs, goal, choice["until"]) | {"text": ""}
    choice["answer"]["text"] = paragraph(choice)
    return choice


def train(folder, recipe_name, network, files=()):
    """A run of a recipe that takes seconds, on its sample data or other files."""
    recipe = load_recipe(recipe_name)
    training = {
        "train_tagger": "TaggerTrainingArguments",
        "train_text_classifier": "TextTrainingArguments",
    }[recipe_name]
    arguments = ["--network", network, "--run_dir", str(folder), "--disable_tqdm", "true", *files]
    recipe.run(
        *recipe.config.parse(
            (recipe.RecipeArguments, getattr(recipe, training)), arguments=arguments
        )
    )
    return Run.open(folder)


def choice_of_runs(folder: Path, task_name: str, names, *, goal=None, **more):
    """A choice among runs in `folder/rungs`, with their real scores, times and tests on dev."""
    task, rows = TASKS[task_name], []
    answers = {}
    for name in names:
        run = Run.open(folder / "rungs" / name)
        examples = run.examples("dev")
        answers[name] = read_predictions(run.predictions("dev"))
        report = task.evaluate(examples, answers[name])
        seconds = run.report()["cost"]["seconds"]
        took = seconds["training"] + seconds["predict_dev"]
        row = rung(name, metric(report, task.primary_metric), seconds=took)
        row["interval"] = list(metric(report, interval_path(task.primary_metric)))
        tested = run.report()
        row["test"] = {
            "score": metric(tested, task.primary_metric),
            "interval": list(metric(tested, interval_path(task.primary_metric))),
        }
        row["unseen"] = 0.25 if task.answer == "spans" else None
        row["estimate"] = {"seconds": 1.2 * took, "memory": 6e8, "disk": 1e6, "source": "probe"}
        rows.append(row)
    finished = by_cost(rows)
    for row, other in pairwise(finished):
        pair = compare_predictions(task, examples, answers[other["name"]], answers[row["name"]])
        row["next"] = {"rung": other["name"], "significant": pair["better"] is not None}
        row["next"] |= {key: pair[key] for key in ("delta", "interval", "p")}
        row["next"]["interval"] = list(row["next"]["interval"])
    return choice_of(rows + list(more.pop("rungs", ())), goal=goal, task=task_name, **more)
