"""Writes a run's model in another file format, and compares it with the run on its dev set."""

from __future__ import annotations

import argparse

HELP = "write a run's model as a merged folder, ONNX or GGUF, and compare it with the run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run", required=True, dest="run_dir", metavar="RUN", help="folder of a finished run"
    )
    parser.add_argument(
        "--to",
        required=True,
        choices=("merged", "onnx", "gguf"),
        help="merged: a causal LM with its adapter merged, as transformers reads it; onnx: an "
        "encoder, for ONNX Runtime; gguf: a Llama, for llama.cpp",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="a new folder (default: export-FORMAT or export-FORMAT-DTYPE in the run folder); "
        "`pipelines predict --run FOLDER` runs it",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16", "int8"),
        help="of the weights (default: float32 of merged and onnx, float16 of gguf)",
    )
    group.add_argument(
        "--int8",
        "--quantize",
        dest="dtype",
        action="store_const",
        const="int8",
        help="the same as --dtype int8, of onnx and gguf (Q8_0)",
    )
    parser.add_argument(
        "--dev_file",
        metavar="FILE",
        help="labelled examples to compare on (default: the run's own dev set)",
    )


def run(options: argparse.Namespace) -> int:
    from pathlib import Path

    from pipelines.exporting import export
    from pipelines.exporting.comparison import table
    from pipelines.runs.run import EXPORT_FILE, Run

    opened = Run.open(options.run_dir)
    ending = f"{options.to}-{options.dtype}" if options.dtype else options.to
    out = Path(options.out) if options.out else opened.folder / f"export-{ending}"
    content = export(opened, to=options.to, out=out, dtype=options.dtype, dev_file=options.dev_file)
    comparison = content["comparison"]
    print("\n".join(table(comparison)))
    print(
        f"{out}: {content['format']} {content['dtype']}, compared on {comparison['examples']} "
        f"examples ({EXPORT_FILE}); `pipelines predict --run {out}` runs it"
    )
    return 0 if comparison["within_tolerance"] else 1
