"""What the front and a worker say to each other: four conversations, each on a channel and a thread of its own.

A question has one answer, and the next one waits for it. A model's file comes with
a message as a descriptor of memory (`assayd.engine.worker.memory`), never as a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from assayd.engine.backend import LoadedModel, Readout
from assayd.engine.options import SessionOptions
from assayd.engine.worker.codec import ASIDE, ONCE
from assayd.types.arrays import Array, Floats, Ints
from assayd.types.model import Tuning
from assayd.types.rows import RowBlock
from assayd.types.subject import Segments, Subject


@dataclass(frozen=True, eq=False)
class SubjectParts:
    """What of a subject rows are made from; its names and axes stay in front."""

    number: int
    inputs: Mapping[str, Array]
    baselines: Mapping[str, Array]
    segments: Segments | None
    scale: Mapping[str, Array]

    @staticmethod
    def of(subject: Subject) -> SubjectParts:
        """Take them."""
        segments = None if subject.segments is None else Segments(subject.segments.ids, subject.segments.count)
        return SubjectParts(subject.number, subject.inputs, subject.baselines, segments, subject.scale)

    @property
    def size_bytes(self) -> int:
        """Of its arrays."""
        ids = {} if self.segments is None else self.segments.ids
        return sum(a.nbytes for arrays in (self.inputs, self.baselines, ids, self.scale) for a in arrays.values())

    def subject(self) -> Subject:
        """Put them together."""
        return Subject(self.inputs, self.baselines, self.segments, scale=self.scale, number=self.number)


# ---- control ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """With the model's file. The first question, asked once."""

    options: SessionOptions
    batch_rows: int | None
    tuning: Tuning | None = None


@dataclass(frozen=True, eq=False)
class Prove:
    """As `Backend.prove`."""

    subject: SubjectParts


@dataclass(frozen=True)
class Demote:
    """As `Backend.demote`, with the model's file."""

    reason: str


@dataclass(frozen=True)
class Steady:
    """As `Backend.steady`, with the model's file."""


@dataclass(frozen=True)
class Decided:
    """The answer to all of them. sessions_built: by this worker so far."""

    loaded: LoadedModel
    sessions_built: int


# ---- prepare ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Release:
    """No more rows of these subjects will come, and nobody will ask for these batches. No answer."""

    numbers: tuple[int, ...]
    tickets: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Prepare:
    """As `Backend.prepare`. subjects: those that the worker doesn't have yet. readouts: each of them once.

    chunks: int64 [n, 3], each one's subject, its readout among these, and its rows. blocks: the rows of all chunks in
    order (`assayd.engine.worker.stack`). behind: it is to run
    when so many questions of the other conversation were answered, without being asked for; None for never. ticket: by
    which it is asked for. posted: there is no answer; where it can't be made, whoever asks for it hears why.
    """

    subjects: tuple[SubjectParts, ...]
    batched: bool
    padded: bool
    readouts: tuple[Annotated[Readout, ONCE], ...]
    chunks: Ints
    blocks: Annotated[tuple[RowBlock, ...], ASIDE]
    steady: bool = False
    exact: bool = False
    behind: int | None = None
    ticket: int = -1
    posted: bool = False


@dataclass(frozen=True)
class Ready:
    """The batch waits in the worker."""


# ---- run -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """As `Backend.run`; the batch may have run by then."""

    ticket: int


@dataclass(frozen=True, eq=False)
class Score:
    """As `Backend.score`."""

    batches: tuple[Prepare, ...]


@dataclass(frozen=True, eq=False)
class Results:
    """One a chunk, or one for all (`assayd.engine.worker.stack`)."""

    results: tuple[Floats | Mapping[str, Array], ...]


@dataclass(frozen=True, eq=False)
class Scored:
    """One a batch."""

    batches: tuple[Results, ...]


# ---- watch -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ping:
    """Answered by the same."""

    number: int


@dataclass(frozen=True)
class Terminate:
    """The running batch is to stop. No answer here; its own is Terminated. ticket: only if it is this one."""

    ticket: int | None = None


# ---- any -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failed:
    """The answer is an error of the domain. kind: its class in `assayd.errors`."""

    kind: str
    message: str
    field: str | None
    metadata: Mapping[str, str]
    retry_after_s: float | None


@dataclass(frozen=True)
class Bug:
    """The answer is an error of the code; for the server's log alone."""

    traceback: str


@dataclass(frozen=True)
class Unmade:
    """The answer to `Run` is that the batch couldn't be made."""

    why: Failed | Bug


Control: TypeAlias = Load | Prove | Demote | Steady
Making: TypeAlias = Prepare | Release
Running: TypeAlias = Run | Score
Watch: TypeAlias = Ping | Terminate
ControlAnswer: TypeAlias = Decided | Failed | Bug
PrepareAnswer: TypeAlias = Ready | Failed | Bug
RunAnswer: TypeAlias = Results | Scored | Unmade | Failed | Bug
