"""How far a request or a data set is, on stderr while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from assay.errors import Internal
from assay.explanation import Explanation, Instance, Progress

if TYPE_CHECKING:
    from typing_extensions import Self


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


class Counter:
    """Counts the instances of a data set: a bar where stderr is a terminal that has rich, else a line now and then.

    Without a terminal there is a line at most every tenth of the instances and every two seconds, so that short runs
    say nothing. total: instances; skipped: how many of them were done before, asked again each time.
    """

    _SECONDS = 2.0

    def __init__(self, total: int, skipped: Callable[[], int] = lambda: 0) -> None:
        self._total, self._skipped = total, skipped
        self._done = self._told_at = 0
        self._told_when = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            with suppress(ImportError):
                self._bar = _instance_bar()
                self._task = self._bar.add_task("instances", total=self._total)
                self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self) -> None:
        """One more instance is done."""
        self._done += 1
        done = self._done + self._skipped()
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            return
        now = time.monotonic()
        if done - self._told_at >= self._total / 10 and now - self._told_when >= self._SECONDS:
            self._told_at, self._told_when = done, now
            print(f"assay: {done:,} of {self._total:,} instances", file=sys.stderr)


def _instance_bar() -> Any:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:.0f}/{task.total} instances"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=Console(stderr=True), transient=True)
