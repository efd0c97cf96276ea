"""The seam behind which models run: in this process, or in a process of their own.

Nothing above it knows the runtime. What crosses it is compact: a subject once, then rows; scores come back.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from assayd.types.arrays import Array, Floats
from assayd.types.model import Batching, Signature, Tuning
from assayd.types.rows import Pick, RowBlock
from assayd.types.subject import Subject


@dataclass(frozen=True, eq=False)
class Whole:
    """Whole outputs instead of scores; empty means all of them."""

    outputs: tuple[str, ...] = ()


POSTED_BYTES = 32 * 1024
"""Of a batch that is posted: a message of no more goes to a process whole or not at all."""

ASKED_BYTES = 1024 * 1024
"""Of batches that are asked for at once: their large arrays lie in memory that the process shares."""

Readout: TypeAlias = tuple[Pick, ...] | Whole
ChunkResult: TypeAlias = Floats | Mapping[str, Array]
"""float64 [rows, T] for picks; by output name [rows, *output] for whole outputs."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows of one subject inside a batch."""

    subject: Subject
    blocks: Sequence[RowBlock]
    readout: Readout
    rows: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows that go through one model together; their subjects' inputs have the same shapes.

    batched: whether the model could take several rows when they were planned. A model that was demoted since runs them
    as planned; each job then finds by its x that they must be run again. padded: it is filled up to the model's most
    rows. steady: by the program that gives the same bits in any company. exact: in fp32, whatever the
    device's precision. at_once: a batch of the same model runs, and this one is sure to be the next: it may begin when
    that is through, before `run` is called.
    """

    digest: str
    batched: bool
    chunks: tuple[Chunk, ...]
    padded: bool = False
    steady: bool = False
    exact: bool = False
    at_once: bool = False

    @property
    def rows(self) -> int:
        """Rows of all chunks."""
        return sum(c.rows for c in self.chunks)

    def spans(self) -> Iterator[tuple[Chunk, slice]]:
        """Each chunk with its place among the batch's rows."""
        start = 0
        for chunk in self.chunks:
            yield chunk, slice(start, start + chunk.rows)
            start += chunk.rows


@dataclass(frozen=True)
class LoadedModel:
    """What loading told of a model. provider: what really runs it. size_bytes: of the model file. open_question: the
    proof was inconclusive, and a caller's instance may settle it. memory_bytes: that a process of its own held after
    the load. threads: of one run, 0 where the runtime chose. tuning: what a sweep found, for the next load; None where
    there was none. steady: this is how it runs for the same bits. precision: "fp32", "tf32" or "fp16", of its batches
    but the exact ones. precision_error: of that, the largest difference to fp32 that was seen at load, as a share of
    max|f|. on_host: operators that compute on the CPU beside a GPU. device: that loaded it, by name.
    """

    digest: str
    signature: Signature
    batching: Batching
    provider: str
    size_bytes: int
    load_seconds: float
    open_question: bool = False
    memory_bytes: int = 0
    threads: int = 0
    tuning: Tuning | None = None
    steady: bool = False
    precision: str = "fp32"
    precision_error: float = 0.0
    on_host: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU runs it."""
        return self.provider == "CUDAExecutionProvider"


@dataclass(frozen=True)
class Worker:
    """A process that runs a model. cause: of its loss."""

    digest: str
    pid: int
    alive: bool
    rss_bytes: int
    cause: str = ""


class NotRun(Exception):
    """Nothing of what was to run has run, since its tensors couldn't be made. error: why. Callers never see it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class Prepared(Protocol):
    """A batch whose tensors are made; opaque outside its backend."""

    @property
    def batch(self) -> Batch:
        """What it was made from."""


class Asked(Protocol):
    """Batches whose scores were asked for. They must be taken, once."""

    @property
    def posted(self) -> bool:
        """Whether the question is on its way. Else it is too large to be sent without waiting, and `results` does."""

    def fileno(self) -> int:
        """What can be read as soon as there is an answer."""

    def at_hand(self) -> list[list[ChunkResult]] | None:
        """The results, without waiting. None where they aren't there, or are large, or something is amiss: then they
        aren't taken. Raises as `results`.
        """

    @property
    def coming(self) -> bool:
        """Whether `at_hand` found no more than the beginning of a small answer: the rest can soon be read."""

    def results(self) -> list[list[ChunkResult]]:
        """Wait for them: one a chunk of each batch. Raises as `run` and `score`."""


class Backend(Protocol):
    """One device. Calls block; `prepare` of the next batch may overlap `run` or `score` of those before, and where
    models are apart those of different models overlap; nothing else does.
    """

    @property
    def apart(self) -> bool:
        """Whether each model has a process of its own."""

    @property
    def device(self) -> str:
        """Name for metrics and records, such as "cpu" or "cuda:0"."""

    @property
    def max_batch_rows(self) -> int:
        """Most rows of any model's batch."""

    def load(self, digest: str, data: bytes, tuning: Tuning | None = None) -> LoadedModel:
        """Load a model and prove whether its rows may share a batch. tuning: what an earlier load on a device like this
        found; without it a proven model is swept. Raises InvalidModel, ModelFailed.
        """

    def prove(self, digest: str, subject: Subject) -> LoadedModel:
        """Try the proof again with a caller's instance and baseline as probes."""

    def demote(self, digest: str, data: bytes, reason: str) -> LoadedModel:
        """Run a model row by row from now on. data: its file again, which a backend needn't keep."""

    def steady(self, digest: str, data: bytes) -> LoadedModel:
        """The model as it must be run for the same bits in any company: in padded batches, or else row by row, of a
        size and with threads that nothing measured.

        Decided by the model and this device alone, never by what callers sent before. data: its file again. Raises
        NotReproducible where its answers to the same rows differ.
        """

    def revive(self, digest: str, data: bytes) -> LoadedModel:
        """Run a model whose process was lost in a new one, as it was decided to be run; nothing where it lives. data:
        its file again.
        """

    def unload(self, digest: str) -> None:
        """Forget a model and free its memory."""

    def prepare(self, batch: Batch) -> Prepared:
        """Make the batch's tensors."""

    def post(self, batch: Batch) -> Prepared | None:
        """As `prepare`, but at once: they are made elsewhere, and `run` waits for them, and raises NotRun where they
        can't be made. None where whoever calls would have to wait, and for rows of more than POSTED_BYTES; nothing was
        done then.
        """

    def run(self, prepared: Prepared) -> list[ChunkResult]:
        """One result a chunk. Raises ModelFailed, OutOfMemory, Terminated, WorkerLost, NotRun."""

    def drop(self, prepared: Prepared) -> None:
        """Instead of `run`, for a batch that nobody will ask for any more: what it took is free again. Doesn't wait."""

    def score(self, batches: Sequence[Batch]) -> list[list[ChunkResult]]:
        """Prepare and run batches of one model, one after the other; where they are small it is less work than each by
        itself. Where one fails, none counts. Raises NotRun, and as `run`.
        """

    def ask(self, what: Prepared | Sequence[Batch]) -> Asked | None:
        """Begin what `run` or `score` does, without waiting. None where whoever calls would have to wait, and for rows
        of more than ASKED_BYTES; nothing was done then.
        """

    def terminate(self, digest: str) -> None:
        """From any thread: ask the model's running batch to stop, between two operators. Doesn't wait for it."""

    def kill(self, digest: str, why: str) -> None:
        """From any thread: end the model's process, if it has one of its own, whatever it does; a load too."""

    def workers(self) -> Sequence[Worker]:
        """The processes that run models; none where that is this one."""

    def ping(self, digest: str) -> bool:
        """Ask the model's process for a sign of life, without waiting for it; a load's too. False where earlier ones
        have been missing for longer than what the process does explains.
        """

    def release(self, subject: int) -> None:
        """No more rows of this subject will come."""

    def close(self) -> None:
        """Free everything."""


def in_turn(backend: Backend, batches: Sequence[Batch]) -> list[list[ChunkResult]]:
    """`Backend.score` by `prepare` and `run`."""
    results = []
    for batch in batches:
        try:
            ready = backend.prepare(batch)
        except Exception as error:
            raise NotRun(error) from error
        results.append(backend.run(ready))
    return results


def shape_key(subject: Subject) -> Hashable:
    """Subjects of one model share batches if this is the same."""
    return tuple((name, x.shape) for name, x in subject.inputs.items())
