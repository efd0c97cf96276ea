"""A bar on a terminal while a request runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from assay.errors import Internal
from assay.explanation import Explanation, Instance, Progress


def followed(events: Iterator[Progress | Instance | Explanation]) -> Explanation:
    """The explanation at the end of the events, with a bar of its rows where stderr is a terminal that has rich."""
    if sys.stderr.isatty():
        try:
            return _shown(events)
        except ImportError:
            pass
    return _last(events)


def _last(events: Iterator[Progress | Instance | Explanation]) -> Explanation:
    for event in events:
        if isinstance(event, Explanation):
            return event
    raise Internal("the stream ended without its summary")


def _shown(events: Iterator[Progress | Instance | Explanation]) -> Explanation:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:.0f}/{task.total} rows"),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rows", total=None)

        def watched() -> Iterator[Progress | Instance | Explanation]:
            for event in events:
                if isinstance(event, Progress):
                    bar.update(task, completed=event.rows_done, total=event.rows_planned or None)
                yield event

        return _last(watched())
