"""A recipe for the tests of `choose_model`: right with the chance `--quality`, after `--seconds`.

It loads no deep learning library. With `--learns` its quality grows with the training examples.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import yaml

from pipelines.corpora import read_examples
from pipelines.corpora.writing import write_predictions
from pipelines.evaluation.tasks import CLASSIFICATION, SPAN_EXTRACTION
from pipelines.examples import Prediction


def parsed():
    parser = argparse.ArgumentParser()
    for name in (
        "train_file",
        "dev_file",
        "run_dir",
        "resume_from_checkpoint",
        "wait_for",
        "model_name_or_path",
    ):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quality", type=float, default=0.5)
    parser.add_argument("--learns", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="a training example")
    parser.add_argument("--max_steps", type=int, default=-1, help="instead of training examples")
    parser.add_argument("--memory", type=float, default=2**20)
    parser.add_argument("--fail", default="")
    parser.add_argument("--teachers", nargs="*", default=[])
    parser.add_argument("--unlabelled")
    return parser.parse_args()


def main():
    options = parsed()
    run = Path(options.run_dir)
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "starts.txt", "a", encoding="utf-8") as f:
        f.write(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
    (run / "config.yaml").write_text(yaml.safe_dump(vars(options)), encoding="utf-8")
    if options.fail:
        sys.exit(f"error: {options.fail}")
    while options.wait_for and not Path(options.wait_for).exists():
        time.sleep(0.02)
    if options.unlabelled:
        texts = Path(options.unlabelled).read_text(encoding="utf-8").splitlines()
        (run / "texts.txt").write_text(str(len(texts)), encoding="utf-8")
    n_train = len(Path(options.train_file).read_text(encoding="utf-8").splitlines())
    steps = options.max_steps if options.max_steps > 0 else n_train
    time.sleep(options.seconds * steps)
    examples = read_examples(options.dev_file)
    quality = options.quality - options.learns * n_train**-0.5
    answers = [answer(example, quality, options.seed) for example in examples]
    write_predictions(run / "predictions" / "dev.jsonl", answers)
    task = CLASSIFICATION if examples[0].label is not None else SPAN_EXTRACTION
    seconds = {"training": options.seconds * steps, "predict_dev": 0.01}
    cost = {"seconds": seconds, "parameters": 1000, "peak_memory": options.memory}
    report = {"split": "dev", **task.evaluate(examples, answers), "task": task.name, "cost": cost}
    (run / "report.json").write_text(json.dumps(report), encoding="utf-8")


def answer(example, quality, seed):
    # The same texts are hard for all, as for real models.
    is_right = random.Random(f"{seed} {example.id}").random() < quality
    if example.label is not None:
        return Prediction(example.id, label=example.label if is_right else "wrong")
    return Prediction(example.id, spans=example.spans if is_right else ())


if __name__ == "__main__":
    main()
