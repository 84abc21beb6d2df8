"""Rows of build/bench.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

BENCH_FILE = Path("build/bench.json")


class Row(TypedDict):
    """One figure: what was measured, beside the floor measured in the same run."""

    name: str
    unit: str
    value: float
    floor: float
    ratio: float
    goal: float | None
    higher_is_better: bool
    n: int


def row(
    name: str, unit: str, value: float, floor: float, *, goal: float | None, n: int, higher_is_better: bool = False
) -> Row:
    """Return a row; the ratio is value / floor."""
    return Row(
        name=name,
        unit=unit,
        value=value,
        floor=floor,
        ratio=value / floor,
        goal=goal,
        higher_is_better=higher_is_better,
        n=n,
    )


def write(rows: list[Row]) -> None:
    """Put ``rows`` into build/bench.json; rows of the same name are replaced, others stay."""
    old: list[Row] = json.loads(BENCH_FILE.read_text()) if BENCH_FILE.exists() else []
    names = {new["name"] for new in rows}
    BENCH_FILE.parent.mkdir(exist_ok=True)
    BENCH_FILE.write_text(json.dumps([kept for kept in old if kept["name"] not in names] + rows, indent=1) + "\n")


def show(rows: list[Row]) -> None:
    """Print ``rows``, one a line, with the verdict on the goal."""
    for r in rows:
        met = "" if r["goal"] is None else _verdict(r)
        print(
            f"{r['name']:<58} {r['value']:>12.4g} {r['unit']:<9} floor {r['floor']:>10.4g}  "
            f"ratio {r['ratio']:>6.2f} {met}  n={r['n']}"
        )


def _verdict(r: Row) -> str:
    goal = r["goal"]
    if goal is None:
        return ""
    good = r["ratio"] >= goal if r["higher_is_better"] else r["ratio"] <= goal
    sign = ">=" if r["higher_is_better"] else "<="
    return f"(goal {sign} {goal:g}: {'met' if good else 'MISSED'})"
