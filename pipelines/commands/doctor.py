"""Says what this machine has, what the recipes will choose on it, and how fast it is."""

from __future__ import annotations

import argparse
import json

HELP = "what this machine has, what will be chosen on it, and a probe of its speed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument(
        "--no_probe", action="store_true", help="leave out the probe, which takes 10 seconds"
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.runs.doctor import examine, probe

    findings = examine()
    speed = {} if options.no_probe else probe()
    if options.json:
        content = {"findings": [finding._asdict() for finding in findings], "speed": speed}
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return 0
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'note'} {finding.name:<{width}}  {finding.value}")
        if finding.advice and (not finding.ok or finding.value == "none"):
            print(f"     {'':<{width}}  -> {finding.advice}")
    if speed:
        matmuls = ", ".join(
            f"{rate:,} GFLOP/s in {dtype}" for dtype, rate in speed["gflops"].items()
        )
        rate = speed["tokens_per_second"]
        print(f"     {'speed':<{width}}  matmuls: {matmuls}")
        print(f"     {'':<{width}}  training an encoder of MiniLM's size: {rate:,} tokens/s")
    return 0
