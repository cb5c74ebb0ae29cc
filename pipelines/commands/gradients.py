"""Derives the gradients of a recurrent language model by hand and checks them."""

from __future__ import annotations

import argparse

from pipelines.errors import UserError

HELP = "check the hand-derived gradients of a recurrent language model"
MOST_ENTRIES = 20_000  # each takes two losses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, default, help_ in (
        ("vocab_size", 24, "|V|, four marks among them"),
        ("embedding_dim", 6, "d of the word vectors"),
        ("hidden_size", 8, "D of the state"),
        ("tokens", 10, "words that are predicted through time"),
        ("seed", 0, "seed of weights and words"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{help_} (default: %(default)s)"
        )


def run(options: argparse.Namespace) -> int:
    from pipelines.formatting import text_table
    from pipelines.studies import language_model_gradients as study

    _check_sizes(options, least_vocabulary=study.MARKS + 1)
    agrees = True
    for title, tokens in (("one step", 1), (f"{options.tokens} steps", options.tokens)):
        case = study.draw_case(
            vocab_size=options.vocab_size,
            embedding_dim=options.embedding_dim,
            hidden_size=options.hidden_size,
            tokens=tokens,
            seed=options.seed,
        )
        checks = study.check_gradients(case)
        rows = []
        for check in checks:
            shape = " x ".join(map(str, check.shape))
            formula = study.FORMULAS[check.name] if tokens == 1 else ""
            errors = f"{check.autograd:.1e}", f"{check.differences:.1e}"
            rows.append([check.name, shape, *errors, formula or "the sum over the steps"])
        rows[-2][-1] = rows[-2][-1] if tokens == 1 else "γ(1) Hᵀ"
        loss = float(study.loss(study.weights_of(case), case.words))
        print(f"{title}: cross-entropy {loss:.4f} nats; relative errors of the gradients by hand")
        head = ["gradient", "shape", "autograd", "differences", "by hand"]
        print("\n".join(text_table(head, rows, prose=("by hand",))), end="\n\n")
        agrees &= all(check.agrees for check in checks)
    print(f"all errors below {study.TOLERANCE:g}: {'yes' if agrees else 'no'}")
    return 0 if agrees else 1


def _check_sizes(options: argparse.Namespace, *, least_vocabulary: int) -> None:
    least = {"vocab_size": least_vocabulary, "embedding_dim": 1, "hidden_size": 1, "tokens": 1}
    small = [
        f"--{name} {getattr(options, name)} (wanted {bound} or more)"
        for name, bound in least.items()
        if getattr(options, name) < bound
    ]
    if small:
        raise UserError(f"got {', '.join(small)}")
    words, d, width = options.vocab_size, options.embedding_dim, options.hidden_size
    entries = words * d + d * width + width**2 + width * words + width + words
    if entries > MOST_ENTRIES:
        raise UserError(
            f"got {entries:,} parameters; central differences change each of them twice: take "
            f"sizes with {MOST_ENTRIES:,} or fewer"
        )
