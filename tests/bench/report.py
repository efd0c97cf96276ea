"""Figures for people, as a table on the terminal and in Markdown, and for machines, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figures import Figure

_HEAD = ("figure", "median", "95 % interval", "A/A ±", "mark", "verdict", "note")


def line(figure: Figure) -> str:
    """One figure on one line of a terminal."""
    cells = _cells(figure)
    value = f"{cells[1]} {figure.unit}".ljust(22)
    return f"  {figure.what:<52}{value}{cells[2]:<20}{cells[3]:>7}  {cells[4]:<8}{cells[5]:<11}{cells[6]}".rstrip()


def markdown(machine: Mapping[str, object], figures: Sequence[Figure]) -> str:
    """A page: the machine, the marks that weren't met, and a table for each workload."""
    versions = machine.get("versions")
    text = ["# Benchmark", "", *(f"* {key}: {value}" for key, value in machine.items() if key != "versions" and value)]
    if isinstance(versions, Mapping):
        text += ["* " + ", ".join(f"{name} {found}" for name, found in versions.items())]
    counts = {v: sum(f.verdict == v for f in figures) for v in ("met", "missed", "no verdict", "failed")}
    text += ["", ", ".join(f"{n} {v}" for v, n in counts.items()) + ".", ""]
    text.append(
        "A ratio has no verdict where the interval of the same thing measured twice (A/A) is wider than 1.5 % to either"
        " side, or where its own spans the mark."
    )
    workload = ""
    for figure in figures:
        if figure.workload != workload:
            workload = figure.workload
            text += ["", f"## {workload}", "", _row(_HEAD), _row(["---"] * len(_HEAD))]
        cells = _cells(figure)
        text.append(_row([figure.what, f"{cells[1]} {figure.unit}", *cells[2:]]))
    return "\n".join(text) + "\n"


def write(folder: Path, machine: Mapping[str, object], figures: Sequence[Figure], more: Mapping[str, object]) -> None:
    """report.md and report.json. more: for machines alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(markdown(machine, figures))
    whole = {"machine": dict(machine), "figures": [figure.as_json() for figure in figures], **more}
    (folder / "report.json").write_text(json.dumps(whole, indent=1, default=float) + "\n")


def _cells(figure: Figure) -> list[str]:
    found, mark = figure.estimate, str(figure.mark or "")
    if found is None:
        return [figure.what, "-", "", "", mark, figure.verdict, figure.failed]
    exact = found.low == found.high
    interval = "" if exact else f"{_short(found.low)} … {_short(found.high)}"
    control = "" if figure.control is None else f"{figure.control:.1%}"
    return [figure.what, _short(found.value), interval, control, mark, figure.verdict, figure.note]


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
