"""Scores of predictions against gold, for every task. Imports neither torch nor transformers."""

from typing import Any

Report = dict[str, Any]  # scores as report.json has them, whole or in part: plain JSON types
