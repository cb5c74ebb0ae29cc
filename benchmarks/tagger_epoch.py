"""Measures an epoch of the taggers against the course's way, and against this machine's matmul.

    python benchmarks/tagger_epoch.py                        # RNN, 300 -> 512, by hand
    python benchmarks/tagger_epoch.py --network ffnn --epochs 3

Ours is the recipe's trainer: sentences of one length together, the input's part of all steps as one
product, padding left out. The peer does as the course's notebook: sentences in random order, padded
to the longest of their batch, and at each step three linear layers in a Python loop. Same network,
same starting weights, about as many updates, AdamW, clipping; epochs of the two take turns. The
corpus is PIPELINES_DATA's wikineural_en where it is there, else the sample. The ratio to the peer
stands last.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import TrainerCallback, TrainingArguments, set_seed

from pipelines.corpora import read_examples
from pipelines.examples import Example
from pipelines.families.token_tagger import TaggerSettings, tags_for, word_tagging
from pipelines.networks.feedforward import FeedforwardConfig, FeedforwardTagger
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger
from pipelines.networks.tagger import Tagger

ROOT = Path(__file__).resolve().parent.parent
D, H = 300, 512
RATE = 1e-3


class CourseTagger(nn.Module):
    """z_t = tanh(W x_t + U z_{t-1}), y_t = V z_t; without U and its state, the feedforward net."""

    def __init__(self, vocab_size: int, classes: int, *, recurrent: bool):
        super().__init__()
        self.recurrent = recurrent
        self.embedding = nn.Embedding(vocab_size, D, padding_idx=0)
        self.W, self.V = nn.Linear(D, H), nn.Linear(H, classes)
        self.U = nn.Linear(H, H, bias=False) if recurrent else None

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)  # (B, T, D)
        state, logits = x.new_zeros(len(x), H), []
        for t in range(x.shape[1]):
            step = self.W(x[:, t])  # (B, H)
            state = torch.relu(step) if self.U is None else torch.tanh(step + self.U(state))
            logits.append(self.V(state))
        return torch.stack(logits, dim=1)  # (B, T, C)


class EpochTimes(TrainerCallback):
    """Seconds and mean loss of each epoch; `between` is run after each, off the clock."""

    def __init__(self, between: Callable[[], None]):
        self.between = between
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_epoch_begin(self, *_: object, **__: object) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, *_: object, **__: object) -> None:
        self.seconds.append(time.perf_counter() - self.start)
        self.between()

    def on_log(self, *_: object, **given: Any) -> None:
        if "loss" in given["logs"]:
            self.losses.append(float(given["logs"]["loss"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=("rnn", "ffnn"), default="rnn")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch_tokens", type=int, default=2816, help="words of a batch of ours")
    parser.add_argument("--train_file", help="labelled examples")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as in the recipe, and for both
    train = corpus(options.train_file)
    words = word_tagging.fit_words(train, min_freq=2)
    tags = tags_for(train)
    shared: dict[str, Any] = {
        "vocab_size": len(words.tokenizer),
        "embedding_dim": D,
        "id2label": dict(enumerate(tags)),
    }
    set_seed(0)
    ours: Tagger = (
        RecurrentTagger(RecurrentConfig(**shared, hidden_size=H))
        if options.network == "rnn"
        else FeedforwardTagger(FeedforwardConfig(**shared, hidden_sizes=[H]))
    )
    rows = word_tagging.training_rows(train, ours, words.tokenizer)
    tokens = sum(len(row["input_ids"]) for row in rows)
    peer = CourseTagger(shared["vocab_size"], len(tags), recurrent=options.network == "rnn")
    copy_weights(ours, peer)
    batch = max(1, round(options.batch_tokens * len(rows) / tokens))
    print(
        f"{options.network}: {len(rows):,} sentences, {tokens:,} words, vocabulary "
        f"{shared['vocab_size']:,}, "
        f"{len(tags)} tags; {torch.get_num_threads()} threads; {options.batch_tokens} words a "
        f"batch against {batch} "
        "sentences",
        flush=True,
    )

    peer_epoch, theirs = course(peer, rows, batch, options.epochs), EpochTimes(lambda: None)
    peaks = []

    def between() -> None:
        peaks.append(matrix_product())
        start = time.perf_counter()
        theirs.losses.append(peer_epoch())
        theirs.seconds.append(time.perf_counter() - start)
        peaks.append(matrix_product())
        print(
            f"epoch {len(theirs.seconds)}: ours {mine.seconds[-1]:.2f} s; the course's way "
            f"{theirs.seconds[-1]:.2f} "
            f"s, loss {theirs.losses[-1]:.4f}",
            flush=True,
        )

    mine = EpochTimes(between)
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingArguments(
            folder,
            num_train_epochs=options.epochs,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            logging_strategy="epoch",
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        word_tagging.WordTaggerTrainer(
            model=ours,
            args=training,
            train_dataset=rows,
            processing_class=words.tokenizer,
            settings=TaggerSettings(),
            batch_tokens=options.batch_tokens,
            callbacks=[mine],
        ).train()
    report(options.network, tokens, len(tags), mine, theirs, max(peaks))


def corpus(file: str | None) -> list[Example]:
    data = (
        Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data"))
        / "wikineural_en"
        / "train.json"
    )
    path = file or (
        data if data.is_file() else ROOT / "data" / "samples" / "disease_ner" / "train.json"
    )
    return read_examples(path, skip_bad_rows=True)


def copy_weights(ours: nn.Module, peer: CourseTagger) -> None:
    """Both begin with the same numbers."""
    weights = ours.state_dict()
    layer = "layers.0.0.W" if peer.recurrent else "layers.0"
    renamed = {
        "embedding.weight": weights["embeddings.words.weight"],
        "V.weight": weights["classifier.weight"],
        "V.bias": weights["classifier.bias"],
        "W.weight": weights[f"{layer}.weight"],
        "W.bias": weights[f"{layer}.bias"],
    }
    if peer.recurrent:
        renamed["U.weight"] = weights["layers.0.0.U.weight"]
    peer.load_state_dict({name: value.clone() for name, value in renamed.items()})


def course(
    model: CourseTagger, rows: list[dict[str, Tensor]], batch: int, epochs: int
) -> Callable[[], float]:
    """A function that trains one epoch and returns its mean loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    order = random.Random(0)

    def epoch() -> float:
        shuffled, losses = order.sample(rows, len(rows)), []
        for start in range(0, len(rows), batch):
            part = shuffled[start : start + batch]
            ids = pad_sequence([row["input_ids"] for row in part], batch_first=True)
            labels = pad_sequence(
                [row["labels"] for row in part], batch_first=True, padding_value=-100
            )
            loss = nn.functional.cross_entropy(
                model(ids).flatten(0, 1), labels.flatten(), ignore_index=-100
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return statistics.mean(losses)

    return epoch


def matrix_product() -> float:
    """FLOP/s of a product of two square matrices of 2,048 rows in float32, the best of eight."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(seconds)


def report(
    network: str, tokens: int, classes: int, mine: EpochTimes, theirs: EpochTimes, peak: float
) -> None:
    recurrent = H if network == "rnn" else 0
    work = (
        6 * H * (D + recurrent + classes) * tokens
    )  # forward, and twice that backward; padding counts for nothing
    print(
        f"\nloss by epoch     ours {[round(loss, 4) for loss in mine.losses]}\n"
        f"       the course's way {[round(loss, 4) for loss in theirs.losses]}"
    )
    print(f"matrix product {peak / 1e9:.0f} GFLOP/s; an epoch is {work / 1e9:.0f} GFLOP on words")
    # The first epoch pays for memory that the later ones have.
    seconds, peer = (
        statistics.median(times.seconds[1:] or times.seconds) for times in (mine, theirs)
    )
    for name, time_taken in (("ours", seconds), ("the course's way", peer)):
        print(
            f"{name:<17} {time_taken:6.2f} s an epoch, {tokens / time_taken:8,.0f} words/s, "
            f"{work / time_taken / peak:4.0%} of the matrix product"
        )
    print(
        f"an epoch of {network} in {seconds:.2f} s, {work / seconds / peak:.0%} of the matrix "
        f"product; against the "
        f"course's way {peer / seconds:.1f}x"
    )


if __name__ == "__main__":
    main()
