"""Writes all that a machine without a network needs: wheels, a run or a recipe, its base model.

A course's package of runs is another thing: `pipelines submit --bundle`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "pack wheels, weights and a run or a recipe for a machine without a network, such as Kaggle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="run_dir", metavar="RUN", help="a run, to predict with")
    parser.add_argument("--recipe", metavar="NAME", help="a recipe, to train with")
    parser.add_argument(
        "--model_name_or_path",
        metavar="MODEL",
        help="for --recipe: the base model to train, a folder, a Hub id or a local: name; none "
        "where the recipe takes none",
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="the folder to write, or to write again"
    )
    parser.add_argument(
        "--python",
        default=f"{sys.version_info.major}.{sys.version_info.minor}",
        metavar="3.X",
        help="Python of the machine that it is for (default: this one, %(default)s)",
    )
    parser.add_argument(
        "--platform",
        default="manylinux_2_35_x86_64",
        help="platform tag of its wheels (default: that of Kaggle and Colab, %(default)s)",
    )
    parser.add_argument(
        "--without",
        nargs="*",
        default=["torch"],
        metavar="PACKAGE",
        help="packages that the machine has: left out with all that they require "
        "(default: torch); without a name, none is left out",
    )
    parser.add_argument(
        "--extras",
        nargs="+",
        default=[],
        metavar="EXTRA",
        help="extras of the project to pack too, such as demo",
    )
    parser.add_argument(
        "--kaggle_id",
        metavar="USER/NAME",
        help="the Kaggle data set that it becomes, for dataset-metadata.json",
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.bundling.bundle import check_folder, parts_of, write_offline_bundle
    from pipelines.bundling.targets import Target

    out = Path(options.out)
    check_folder(out)
    target = Target(options.python, options.platform)
    target.check()
    parts = parts_of(run=options.run_dir, recipe=options.recipe, model=options.model_name_or_path)
    for name, size in parts.sizes().items():
        print(f"{name:<12} {size / 1e6:10,.1f} MB")
    print("wheels       are downloaded now", flush=True)
    manifest = write_offline_bundle(
        parts,
        out,
        target=target,
        without=options.without,
        extras=options.extras,
        kaggle_id=options.kaggle_id,
    )
    sizes = [entry["bytes"] for entry in manifest["files"].values()]
    n_wheels = sum(name.endswith(".whl") for name in manifest["files"])
    needs = f", which has {', '.join(manifest['needs'])}" if manifest["needs"] else ""
    print(
        f"{out}: {len(sizes)} files, {n_wheels} of them wheels, {sum(sizes) / 1e6:,.1f} MB; for "
        f"Python {options.python} on {options.platform}{needs}"
    )
    print(f"there: python {out.name}/install.py")
    return 0
