"""Seconds a sentence at prediction: what other engines do with the same model, and ours.

    python benchmarks/generation_throughput.py [--run RUN] [--sentences 64] [--peers sorted int8]

All answer the same prompts of the NCBI disease corpus (or the sample corpus) in turn, greedily and
without a grammar: `generate` one at a time in float32; `generate` in batches of sentences sorted by
length, in our dtype; transformers' continuous batching; CTranslate2 and ONNX Runtime, in float32
and in int8; and llama.cpp on our GGUF files. Conversion and loading do not count. Without --run
the model is the untrained `local:smollm2` with answers of 8 tokens. Each line says how many answers
are those of `generate` in float32 where it ran, else ours, and the strict F1 of a trained model.
What is not installed, or does not run here, is named without a number. The last line has the
medians of the rounds, and ends with the ratio to the fastest peer.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from pipelines import cpu
from pipelines.corpora import read_examples
from pipelines.errors import UserError
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example
from pipelines.exporting import gguf_format
from pipelines.exporting.source import Source
from pipelines.families import causal_lm
from pipelines.families.causal_lm.generation import generate
from pipelines.families.causal_lm.loading import GGUF_FILE
from pipelines.networks import precision
from pipelines.prompting import formats
from pipelines.runs.cost import CostMeter

ROOT = Path(__file__).resolve().parent.parent
ROWS = 48  # sentences of a batch of `generate`
ORT_ROWS = 32  # of ONNX Runtime, which takes no more
Ids = list[list[int]]  # the tokens of each sentence


@dataclass
class Job:
    """What all engines do, and the model in the form that each of them reads.

    Attributes:
        loaded: the model as `predict` uses it.
        prompts: of each sentence.
        limit: tokens of an answer.
        folder: for converted models.
        source: the folder that the model was loaded from, None where it is untrained.
    """

    loaded: causal_lm.Loaded
    examples: Sequence[Example]
    prompts: Ids
    limit: int
    folder: Path
    source: Source | None

    @property
    def end(self) -> int:
        return int(self.loaded.tokenizer.eos_token_id)

    @cached_property
    def plain(self) -> Any:
        """The model in float32, as the library has it."""
        if self.source is not None:
            return self.source.load().model
        return causal_lm.load_network("local:smollm2", dtype=torch.float32).eval()

    def network(self, dtype: torch.dtype) -> Any:
        """The model as the library has it."""
        return self.plain if dtype == torch.float32 else deepcopy(self.plain).to(dtype)

    @cached_property
    def checkpoint(self) -> Path:
        """The model as a folder of transformers."""
        folder = self.folder / "checkpoint"
        self.plain.save_pretrained(folder)
        self.loaded.tokenizer.save_pretrained(folder)
        return folder


class NotRunnable(Exception):
    """Why an engine gives no number here."""


Run = Callable[[], Ids]  # answers, without the end token


def ours(job: Job) -> Run:
    model, tokenizer, *_ = job.loaded

    def run() -> Ids:
        limits = [job.limit] * len(job.prompts)
        answers = generate(model, tokenizer, job.prompts, limits=limits)
        return [answer.ids for answer in answers]

    return run


def library(job: Job, *, rows: int, dtype: torch.dtype) -> Run:
    """`generate`, in batches of sentences of about one length."""
    model = job.network(dtype)
    pad = job.loaded.tokenizer.pad_token_id
    order = sorted(range(len(job.prompts)), key=lambda index: len(job.prompts[index]))

    @torch.inference_mode()
    def run() -> Ids:
        answers: Ids = [[] for _ in job.prompts]
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            longest = len(job.prompts[batch[-1]])
            padded = [[pad] * (longest - len(p)) + p for p in map(job.prompts.__getitem__, batch)]
            masks = [
                [0] * (longest - len(p)) + [1] * len(p) for p in map(job.prompts.__getitem__, batch)
            ]
            written = model.generate(
                input_ids=torch.tensor(padded),
                attention_mask=torch.tensor(masks),
                do_sample=False,
                max_new_tokens=job.limit,
                pad_token_id=pad,
            )
            for index, ids in zip(batch, written[:, longest:].tolist(), strict=True):
                answers[index] = before_end(ids, job.end)
        return answers

    return run


def before_end(ids: Sequence[int], end: int) -> list[int]:
    ids = list(ids)
    return ids[: ids.index(end)] if end in ids else ids


def one_at_a_time(job: Job) -> Run:
    return library(job, rows=1, dtype=torch.float32)


def sorted_batches(job: Job) -> Run:
    return library(job, rows=ROWS, dtype=precision.choose().weights)


def continuous(job: Job) -> Run:
    """The library's continuous batching, in our dtype."""
    model = job.network(precision.choose().weights)
    config = GenerationConfig(
        max_new_tokens=job.limit,
        do_sample=False,
        eos_token_id=job.end,
        pad_token_id=job.loaded.tokenizer.pad_token_id,
    )

    def run() -> Ids:
        try:
            found = model.generate_batch(job.prompts, generation_config=config)
        except Exception as error:  # whatever its kernels need that a CPU lacks
            raise NotRunnable(f"{type(error).__name__}: {error}") from error
        if len(found) != len(job.prompts):
            raise NotRunnable(f"answered {len(found)} of {len(job.prompts)}")
        by_number = sorted(found.values(), key=lambda one: int(one.request_id.rpartition("_")[2]))
        return [before_end(one.generated_tokens, job.end) for one in by_number]

    return run


def ctranslate(job: Job, quantization: str) -> Run:
    """CTranslate2: batches by tokens, sorted by length by itself."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    folder = job.folder / f"ctranslate2-{quantization}"
    try:
        converter = TransformersConverter(str(job.checkpoint))
        converter.convert(str(folder), quantization=quantization, force=True)
    except Exception as error:
        raise NotRunnable(f"{type(error).__name__}: {error}") from error
    threads = torch.get_num_threads()
    generator = ctranslate2.Generator(str(folder), device="cpu", intra_threads=threads)
    tokenizer = job.loaded.tokenizer
    prompts = [tokenizer.convert_ids_to_tokens(ids) for ids in job.prompts]

    def run() -> Ids:
        found = generator.generate_batch(
            prompts,
            max_batch_size=2048,
            batch_type="tokens",
            max_length=job.limit,
            sampling_topk=1,
            end_token=tokenizer.eos_token,
            include_prompt_in_result=False,
        )
        return [before_end(one.sequences_ids[0], job.end) for one in found]

    return run


def onnxruntime(job: Job, quantization: str) -> Run:
    """ONNX Runtime's `generate`, in batches of prompts of one length.

    Its kernel for grouped queries reads padding on the left as text: with it 13 of 16 answers are
    equal, without it 16.
    """
    import onnxruntime_genai

    folder = job.folder / f"onnxruntime-{quantization}"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-e", "cpu"]
    command += ["-i", str(job.checkpoint), "-o", str(folder), "-c", str(job.folder / "cache")]
    done = subprocess.run([*command, "-p", quantization], capture_output=True, text=True)
    if done.returncode:
        raise NotRunnable(done.stderr.strip().rpartition("\n")[2])
    model = onnxruntime_genai.Model(str(folder))
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(job.prompts):
        by_length.setdefault(len(prompt), []).append(index)
    batches: list[list[int]] = []
    for rows in by_length.values():
        batches += [rows[at : at + ORT_ROWS] for at in range(0, len(rows), ORT_ROWS)]

    def run() -> Ids:
        answers: Ids = [[] for _ in job.prompts]
        for batch in batches:
            length = len(job.prompts[batch[0]])
            options = onnxruntime_genai.GeneratorParams(model)
            options.set_search_options(
                batch_size=len(batch), max_length=length + job.limit, do_sample=False
            )
            generator = onnxruntime_genai.Generator(model, options)
            generator.append_tokens(np.array([job.prompts[index] for index in batch], np.int32))
            while not generator.is_done():
                generator.generate_next_token()
            for row, index in enumerate(batch):
                answers[index] = before_end(generator.get_sequence(row)[length:], job.end)
        return answers

    return run


def llama_cpp(job: Job, dtype: str) -> Run:
    """llama.cpp on the file that `pipelines export --to gguf` writes, a sentence at a time."""
    from llama_cpp import Llama

    if job.source is None:
        raise NotRunnable("wants --run")
    folder = job.folder / f"gguf-{dtype}"
    folder.mkdir(exist_ok=True)
    exported = job.loaded._replace(model=job.plain)
    gguf_format.write(job.source, exported, job.examples, folder, dtype)
    threads = torch.get_num_threads()
    model = Llama(str(folder / GGUF_FILE), n_ctx=1024, n_threads=threads, verbose=False)

    def run() -> Ids:
        answers: Ids = []
        for prompt in job.prompts:
            answers.append([])
            model.reset()
            for token in model.generate(prompt, top_k=1, temp=0.0):
                if token == job.end or len(answers[-1]) == job.limit:
                    break
                answers[-1].append(token)
        return answers

    return run


# Name -> the package that it needs, and what makes it ready.
ENGINES: dict[str, tuple[str, Callable[[Job], Run]]] = {
    "single": ("transformers", one_at_a_time),
    "ours": ("torch", ours),
    "sorted": ("transformers", sorted_batches),
    "continuous": ("transformers", continuous),
    "ctranslate2_float32": ("ctranslate2", lambda job: ctranslate(job, "float32")),
    "ctranslate2_int8": ("ctranslate2", lambda job: ctranslate(job, "int8")),
    "onnxruntime_float32": ("onnxruntime_genai", lambda job: onnxruntime(job, "fp32")),
    "onnxruntime_int8": ("onnxruntime_genai", lambda job: onnxruntime(job, "int8")),
    "llama_cpp_float16": ("llama_cpp", lambda job: llama_cpp(job, "float16")),
    "llama_cpp_int8": ("llama_cpp", lambda job: llama_cpp(job, "int8")),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", help="run folder with a trained model")
    parser.add_argument("--sentences", type=int, default=96)
    peers = [name for name in ENGINES if name != "ours"]
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            job = make_job(options.run, options.sentences, Path(folder))
        except UserError as error:
            parser.error(str(error))
        names = [name for name in ENGINES if name == "ours" or name in options.peers]
        measure(job, names, options.rounds)


def make_job(run: str | None, sentences: int, folder: Path) -> Job:
    data = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data"))
    corpus = data / "ncbi_disease" / "dev.json"
    if not corpus.exists():
        corpus = ROOT / "data" / "samples" / "disease_ner" / "dev.json"
    examples = read_examples(corpus)
    examples = examples[:: max(1, len(examples) // sentences)][:sentences]
    source = Source(causal_lm, "causal_lm", Path(run) / "model") if run else None
    loaded = source.load_as_run() if source else untrained("local:smollm2")
    prompts = [
        causal_lm.prompt_ids(loaded.tokenizer, example.text, loaded.prompt) for example in examples
    ]
    return Job(loaded, examples, prompts, 128 if run else 8, folder, source)


def untrained(name: str) -> causal_lm.Loaded:
    """A model as it is."""
    tokenizer = causal_lm.load_tokenizer(name)
    prompt = causal_lm.prompt_for(
        tokenizer, format="list", labels=("Disease",), style="plain", constrained=False
    )
    model: Any = causal_lm.load_network(name).eval()
    model.to(precision.choose().device)
    cpu.for_prediction(model)
    return causal_lm.Loaded(model, tokenizer, prompt)


def measure(job: Job, names: Sequence[str], rounds: int) -> None:
    """Runs the engines in turn, and prints a line for each and the ratio of the medians."""
    found: dict[str, list[float]] = {}
    reference: Ids | None = None
    for number in range(rounds):
        for name in names if number == 0 else list(found):
            package, prepare = ENGINES[name]
            if importlib.util.find_spec(package) is None:
                print(f"{name:<20} not installed ({package})", flush=True)
                continue
            try:
                run = prepare(job)
                start = time.perf_counter()
                answers = run()
            except NotRunnable as error:
                reason = " ".join(str(error).split())[:160]
                print(f"{name:<20} does not run here: {reason}", flush=True)
                continue
            taken = (time.perf_counter() - start) / len(job.prompts)
            found.setdefault(name, []).append(taken)
            reference = reference or answers
            equal = sum(mine == other for mine, other in zip(answers, reference, strict=True))
            scored = f", strict F1 {100 * f1(job, answers):.1f}" if job.source else ""
            print(
                f"{name:<20} {taken:.3f} s a sentence, {equal} of {len(answers)} answers equal"
                f"{scored}",
                flush=True,
            )
    seconds = {name: median(times) for name, times in found.items()}
    mine = seconds.pop("ours")
    print(f"our peak memory is below {CostMeter().to_json()['peak_memory'] / 2**30:.2f} GiB")
    if not seconds:
        print(f"generation: ours {mine:.3f} s a sentence")
        return
    best = min(seconds, key=seconds.__getitem__)
    print(
        f"generation: {best} {seconds[best]:.3f} s a sentence, ours {mine:.3f} s, "
        f"{seconds[best] / mine:.1f}x"
    )


def f1(job: Job, answers: Ids) -> float:
    """Strict F1 of answers, parsed as `predict` parses them."""
    tokenizer, prompt = job.loaded.tokenizer, job.loaded.prompt
    layout = formats.prompt_format(prompt.format)
    predicted = []
    for example, ids in zip(job.examples, answers, strict=True):
        raw = str(tokenizer.decode(ids, skip_special_tokens=True))
        parsed = layout.parse(raw, example.text, prompt.labels, cut_off=False)
        predicted.append([mention.span for mention in parsed.mentions if mention.span])
    gold = [example.spans or () for example in job.examples]
    return float(score_spans(gold, predicted)["strict"]["f1"])


if __name__ == "__main__":
    main()
