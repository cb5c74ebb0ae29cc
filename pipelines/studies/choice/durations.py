"""Budgets and goals as people write them."""

from __future__ import annotations

import re

from pipelines.errors import UserError

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, option: str) -> float:
    """Seconds of `90s`, `45m`, `1h`, `1h30m`.

    Raises:
        UserError: for anything else, a bare number among it.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", text.strip().lower())
    spelt = "".join(number + unit for number, unit in parts)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if spelt != re.sub(r"\s+", "", text.strip().lower()) or total <= 0:
        raise UserError(f"got {option} {text}; wanted a time with its unit, such as 90s, 45m or 1h")
    return total


def parse_goal(goal: float) -> float:
    """A goal between 0 and 1, which may also be given times 100.

    Raises:
        UserError: for a number that is neither.
    """
    share = goal / 100 if goal > 1 else goal
    if not 0 < share < 1 or 1 < goal < 2:
        raise UserError(f"got --goal {goal:g}; wanted a score such as 0.8, or 80")
    return share
