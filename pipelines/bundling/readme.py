"""The README of a bundle."""

from __future__ import annotations

from pipelines.examples import Fields


def bundle_readme(name: str, manifest: Fields) -> str:
    """What the bundle is for, and the commands that use it."""
    needs = ", ".join(f"`{requirement}`" for requirement in manifest["needs"])
    lines = [
        f"# {name}",
        "",
        "All that a machine without a network needs: wheels, weights, and the scripts that use "
        "them.",
        "",
        f"For Python {manifest['python']} on `{manifest['platform']}`"
        + (f", which has {needs}." if needs else "."),
        "",
        "```",
        "python install.py      # compares all files with manifest.json, then installs the wheels",
    ]
    if manifest["recipe"] is None:
        lines += ["python predict.py test.json predictions.jsonl", "```"]
        return "\n".join([*lines, ""])
    model = " --model_name_or_path base_model" if manifest["base_model"] else ""
    recipe = f"python recipes/{manifest['recipe']}.py{model}"
    lines += [
        f"{recipe} \\",
        "    --train_file train.json --dev_file dev.json --test_file test.json --run_dir run",
        "```",
        "",
        "Where this folder cannot be written to, as on Kaggle, run the recipe by its path from a "
        "folder that can, and give the path of `base_model/`.",
    ]
    return "\n".join([*lines, ""])
