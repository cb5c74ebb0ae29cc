"""A recipe that answers each text rightly with the chance `--quality`, in a moment.

A run of a single variant loads no deep learning library; the ablation itself goes the recipes' way.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

import yaml

from pipelines.corpora import read_examples
from pipelines.corpora.writing import write_predictions
from pipelines.evaluation.reports import evaluate_classes
from pipelines.examples import Prediction


def train(options):
    run = Path(options["run_dir"])
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "starts.txt", "a", encoding="utf-8") as f:
        f.write(f"{os.getpid()} {' '.join(sys.argv[3:])} {os.environ['OMP_NUM_THREADS']}\n")
    (run / "config.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    if options.get("network") == "broken":
        sys.exit("error: the network broke\n")
    while options.get("wait_for") and not Path(options["wait_for"]).exists():
        time.sleep(0.02)
    examples = read_examples(options["dev_file"], answer="label")
    chance = random.Random(f"{options['seed']}")
    right = {e.id: chance.random() < options.get("quality", 0.5) for e in examples}
    answers = [Prediction(e.id, label=e.label if right[e.id] else "wrong") for e in examples]
    write_predictions(run / "predictions" / "dev.jsonl", answers)
    cost = {"seconds": {"training": 2.0}, "parameters": 1000, "peak_memory": 2**20}
    report = {"split": "dev", **evaluate_classes(examples, answers), "cost": cost}
    (run / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__" and sys.argv[1] == "--config":
    content = yaml.safe_load(Path(sys.argv[2]).read_text(encoding="utf-8"))
    if "ablate" not in content:
        train(content)
        sys.exit()

from dataclasses import dataclass  # noqa: E402

from pipelines import job  # noqa: E402
from pipelines.errors import UserError, one_line_errors  # noqa: E402
from pipelines.runs import options as config  # noqa: E402
from pipelines.runs.arguments import ClassArguments, option  # noqa: E402
from pipelines.runs.log import log_to_terminal  # noqa: E402


@dataclass
class RecipeArguments(ClassArguments):
    network: str = option("small", "small, large or broken")
    quality: float = option(0.5, "chance of a right answer")
    layers: int = option(1, "layers")
    widths: list[int] = option([3], "widths")
    wait_for: str | None = option(None, "file to wait for")
    fast: bool = option(False, "fast or not")
    resume_from_checkpoint: str | None = option(None, "go on")
    seed: int = option(1, "seed")


def main():
    with one_line_errors():
        log_to_terminal()
        [options] = config.parse((RecipeArguments,))
        run(options)


def run(options):
    if options.network == "large" and options.layers < 2:
        raise UserError("--network large has 2 layers or more; add --layers 2")
    job.read(options, answer="label", project=Path(), seed=options.seed)
    raise AssertionError("no variant is trained here")


if __name__ == "__main__":
    main()
