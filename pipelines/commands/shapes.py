"""Runs one transformer layer without data and shows the shape of everything in it.

pipelines shapes --batch 10 --tokens 90 --hidden 20 --heads 5 --svg layer.svg
pipelines shapes --architecture llama --hidden 2048 --heads 32 --kv_heads 4 --intermediate 5632
pipelines shapes --model local:minilm
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipelines.commands.outputs import check_output
from pipelines.errors import UserError
from pipelines.examples import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

HELP = "show the shape of each tensor in a transformer layer, and its parameters by formula"
# Options that a model answers itself; None: not given.
SIZES = ("architecture", "hidden", "heads", "kv_heads", "intermediate", "dropout")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--batch", type=int, default=10, help="B, texts (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=int, default=90, help="T, tokens of a text (default: %(default)s)"
    )
    parser.add_argument("--hidden", type=int, help="H, width of the states (default: 20)")
    parser.add_argument("--heads", type=int, help="A, heads of attention (default: 5)")
    parser.add_argument(
        "--kv_heads", type=int, help="K, heads of keys and values, of llama (default: A)"
    )
    parser.add_argument(
        "--intermediate", type=int, help="F, width of the feed-forward network (default: 4 H)"
    )
    parser.add_argument(
        "--architecture", metavar="NAME", help="distilbert (default), bert or llama"
    )
    parser.add_argument("--dropout", type=float, help="probability (default: 0.1)")
    parser.add_argument(
        "--model",
        metavar="NAME|RUN",
        help="a run, a model folder, a Hub id or local:minilm: its own sizes, not those above",
    )
    parser.add_argument("--svg", metavar="FILE", help="draw the layer there")


def run(options: argparse.Namespace) -> int:
    from pipelines.reporting.tensor_shapes import shapes_as_text, write_diagram
    from pipelines.studies.tensor_shapes import layer_shapes

    if options.svg:
        check_output(options.svg)
    shapes = layer_shapes(config_of(options), batch=options.batch, tokens=options.tokens)
    print(shapes_as_text(shapes))
    if options.svg:
        write_diagram(shapes, options.svg)
        print(f"\n{options.svg}")
    return 0 if shapes.agrees else 1


def config_of(options: argparse.Namespace) -> PreTrainedConfig:
    """The config of the named model, or one of the sizes."""
    from pipelines.studies.layer_sizes import config_from_sizes, config_of_model

    given = {name: getattr(options, name) for name in SIZES if getattr(options, name) is not None}
    if options.model is None:
        sizes: JsonObject = {"architecture": "distilbert", "hidden": 20, "heads": 5} | given
        return config_from_sizes(**sizes)
    if given:
        named = " ".join(f"--{name}" for name in given)
        raise UserError(f"--model has its own sizes; got {named} too: leave out one of them")
    return config_of_model(options.model)
