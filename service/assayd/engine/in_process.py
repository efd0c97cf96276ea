"""The backend that runs models in this process, for those who trust them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, tee

from assayd.engine.backend import Batch, ChunkResult, LoadedModel, Prepared, Worker, in_turn, shape_key
from assayd.engine.bench import swept
from assayd.engine.observe import observed
from assayd.engine.on_device import OnDevice, Sent, on_device, runs_on_device
from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import MOST_ROWS, SessionOptions, default_rows, device_name
from assayd.engine.probes import Probe, blind_probes, probes_from
from assayd.engine.program import Buffers, Program
from assayd.engine.proof import Proof, Verdict, prove
from assayd.engine.readout import read_out
from assayd.engine.realise import realise_chunk
from assayd.engine.staged import StagedRealiser
from assayd.engine.steady import unsteady
from assayd.engine.witness import refused, witnesses
from assayd.errors import ModelUnfit, NotReproducible
from assayd.graph.programs import Programs, programs_of
from assayd.types.model import Batching, Signature, Tuning
from assayd.types.subject import Subject

log = logging.getLogger(__name__)

_SPARE_SHAPES = 8


@dataclass(eq=False)
class _Resident:
    """A model in memory; its file's bytes aren't kept.

    one_by_one: the signature as one row shows it.
    one: runs it row by row, as the file has it; None while only the opened program is needed. several: runs it in
    batches of at most `most_rows`, `run_rows` of them at once where that is set; None until proven, kept after a
    demotion for the rows that were planned before.
    fixed: runs it in batches of `fixed_rows` with the owner's threads, which no measurement changes; None until
    somebody wants the same bits. random: operators by which it draws. blind: its batches were proven by blind probes,
    whatever callers sent later. steady: how it is run for the same bits, once that is decided. device: runs its
    batches on a GPU, but the steady ones. witnesses: what the proof runs, until it is settled.
    """

    loaded: LoadedModel
    one_by_one: Signature
    most_rows: int
    fixed_rows: int
    one: Program | None
    opened: Session | None
    random: tuple[str, ...]
    several: Program | None = None
    run_rows: int | None = None
    fixed: Program | None = None
    blind: bool = False
    steady: LoadedModel | None = None
    device: OnDevice | None = None
    witnesses: tuple[Program, Session] | None = None
    spare: dict[Hashable, list[Buffers]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """rows: of the buffers that are run. run_rows: most of one run. spare: where the buffers go when they have been
    read.
    """

    batch: Batch
    rows: int
    run_rows: int | None
    program: Program
    buffers: Buffers
    spare: list[Buffers]


class InProcessBackend:
    """Implements `assayd.engine.backend.Backend` with onnxruntime sessions of this process.

    batch_rows: most rows in a batch, or None to choose by a sweep, or by the size of a row where there is none.
    """

    def __init__(self, options: SessionOptions, batch_rows: int | None) -> None:
        self._options = options
        self._batch_rows = batch_rows
        self._residents: dict[str, _Resident] = {}
        self._realiser: StagedRealiser | None = None
        self._lock = threading.Lock()
        self._preparing = threading.Lock()
        self.sessions_built = 0

    @property
    def apart(self) -> bool:
        """No, they share this one."""
        return False

    @property
    def device(self) -> str:
        """By the provider asked for; each loaded model says what it really got."""
        return device_name(self._options)

    @property
    def max_batch_rows(self) -> int:
        """Most rows of any model's batch."""
        return self._batch_rows or MOST_ROWS

    def load(self, digest: str, data: bytes, tuning: Tuning | None = None) -> LoadedModel:
        """Load, prove and tune. Raises InvalidModel, ModelFailed, ModelUnfit."""
        begun = time.monotonic()
        programs = programs_of(data, self._options.admission)
        for s in chain(programs.signature.inputs, programs.signature.outputs):
            if s.dtype is None:
                raise ModelUnfit(
                    f"{s.name!r} is bfloat16, a sequence, a map or of another type that numpy lacks, and this server "
                    "can't run that: cast it to float32, or leave such outputs away"
                )
        plain = self._session(programs.plain, programs)
        opened = None
        if programs.opened is not None:
            opened = plain if programs.opened is programs.plain else self._session(programs.opened, programs)
        as_filed = Program(plain, programs.signature, batched=False)
        signature = observed(as_filed, blind_probes(programs.signature))
        batching = Batching(False, programs.reason, 1)
        threads = self._options.threads
        about = (plain.provider, len(data), 0.0)
        loaded = LoadedModel(digest, signature, batching, *about, threads=threads, device=self.device)
        if plain.device.kind == "cuda":
            loaded = replace(loaded, on_host=plain.placement().computed_on_host)
            if loaded.on_host:
                log.warning("operators without a CUDA kernel run on the CPU", extra={"operators": loaded.on_host})
        one = Program(plain, signature, batched=False)
        rows = self._batch_rows or default_rows(signature)
        resident = _Resident(loaded, signature, rows, rows, one, opened, programs.random)
        self._settle(resident, blind_probes(signature))
        resident.blind = resident.loaded.batching.batched
        if resident.several is not None:
            self._tune(resident, resident.several, programs, tuning, time.monotonic() - begun)
        self._to_device(resident)
        resident.loaded = replace(resident.loaded, load_seconds=time.monotonic() - begun)
        with self._lock:
            self._residents[digest] = resident
        return resident.loaded

    def _session(self, program: bytes, programs: Programs, threads: int | None = None) -> Session:
        """threads: others than the owner's."""
        self.sessions_built += 1
        free_shapes = any(None in (s.shape or (None,)) for s in programs.signature.inputs)
        # Proofs and exact batches are in fp32; `on_device` builds what isn't.
        options = replace(self._options, precision="fp32")
        if threads is not None:
            options = replace(options, threads=threads)
        return Session(program, options, free_shapes=free_shapes)

    def _tune(
        self, resident: _Resident, several: Program, programs: Programs, tuning: Tuning | None, load_s: float
    ) -> None:
        """Let batches have the size and threads that are known to suit the model, or that a sweep finds."""

        def with_threads(count: int) -> Program:
            if programs.opened is None:
                raise AssertionError("a model that runs in batches can be opened")
            return replace(several, session=self._session(programs.opened, programs, count))

        if tuning is None:
            limit_s = max(self._options.sweep_s, load_s / 4) if self._options.sweep_s else 0.0
            probes = blind_probes(resident.one_by_one)
            found = swept(several, self._options.threads, self._batch_rows, with_threads, probes, limit_s)
            if found is None:
                return
            tuning, program = found
        else:
            program = several if tuning.threads == self._options.threads else with_threads(tuning.threads)
        resident.several, resident.most_rows = program, min(tuning.rows * tuning.runs, self.max_batch_rows)
        resident.run_rows = tuning.rows if tuning.runs > 1 else None
        batching = Batching(True, "", resident.most_rows)
        resident.loaded = replace(resident.loaded, batching=batching, threads=tuning.threads, tuning=tuning)

    def _to_device(self, resident: _Resident) -> None:
        """Let a proven model's batches run as suits a GPU, if its session is on one."""
        several, asked = resident.several, self._options.realiser
        if several is None or not runs_on_device(several.signature):
            return
        on_gpu = several.session.device.kind == "cuda"
        if not on_gpu and asked != "graph":
            return
        if self._realiser is None and asked != "numpy":
            stages = replace(self._options, precision="fp32")
            self._realiser = StagedRealiser(
                several.session.device, lambda graph: Session(graph, stages, free_shapes=True)
            )
        probes = blind_probes(resident.one_by_one)
        device = on_device(several, resident.most_rows, self._options, self._realiser, probes)
        self.sessions_built += len(device.sessions) - 1
        resident.device = device
        resident.loaded = replace(resident.loaded, precision=device.precision, precision_error=device.precision_error)

    def _settle(self, resident: _Resident, probes: Iterable[Probe]) -> None:
        """Run the proof and keep what it decides; the session that is no longer needed goes."""
        if resident.opened is None or resident.one is None:
            return
        if resident.witnesses is None:
            resident.witnesses = plain, opened = witnesses(resident.one, resident.opened)
            self.sessions_built += len({plain.session, opened} - {resident.one.session, resident.opened})
        plain, opened = resident.witnesses
        probes, again = tee(probes)
        proof: Proof = prove(plain, opened, probes)
        if proof.verdict is Verdict.PROVEN and (why := refused(proof.signature, resident.opened, opened, again)):
            proof = replace(proof, verdict=Verdict.INTERACT, reason=why)
        open_question = proof.verdict is Verdict.INCONCLUSIVE
        if proof.verdict is Verdict.PROVEN:
            signature, batching = proof.signature, Batching(True, "", resident.most_rows)
            resident.several = Program(resident.opened, signature, batched=True)
            if resident.steady is None:  # else reproducible requests run row by row, whatever is proven now
                resident.one = None
        else:
            drawing = ", ".join(resident.random)
            reason = f"the model draws random numbers ({drawing})" if drawing else proof.reason
            signature, batching = resident.one_by_one, Batching(False, reason, 1)
        if not open_question:
            resident.opened = resident.witnesses = None
        resident.loaded = replace(resident.loaded, signature=signature, batching=batching, open_question=open_question)

    def prove(self, digest: str, subject: Subject) -> LoadedModel:
        """Try an inconclusive proof again with a caller's instance; settled models stay as they are."""
        resident = self._residents[digest]
        if resident.loaded.open_question:
            self._settle(resident, probes_from(subject))
            self._to_device(resident)
        return resident.loaded

    def demote(self, digest: str, data: bytes, reason: str) -> LoadedModel:
        """Run the model row by row from now on, as the file has it."""
        resident = self._residents[digest]
        self._keep_one(resident, data)
        resident.loaded, resident.steady = self._row_by_row(resident, reason), None
        return resident.loaded

    def steady(self, digest: str, data: bytes) -> LoadedModel:
        """The model as it must be run for the same bits in any company. Raises NotReproducible."""
        resident = self._residents[digest]
        if resident.random:
            drawing = ", ".join(resident.random)
            raise NotReproducible(f"the model draws random numbers ({drawing})", field="reproducible")
        if resident.steady is not None:
            return resident.steady
        probes = list(blind_probes(resident.one_by_one))
        reason = "whether rows may share a batch was found from an instance, not from the model alone"
        if resident.loaded.batching.batched and resident.blind and resident.several is not None:
            fixed = self._keep_fixed(resident, resident.several, data)
            reason = unsteady(fixed, resident.fixed_rows, probes)
            if not reason:
                batching = Batching(True, "", resident.fixed_rows)
                threads = self._options.threads
                exact = replace(resident.loaded, precision="fp32", precision_error=0.0)
                resident.steady = replace(exact, batching=batching, threads=threads, steady=True)
                return resident.steady
        elif not resident.loaded.batching.batched and not resident.loaded.open_question:
            reason = resident.loaded.batching.reason
        one = self._keep_one(resident, data)
        wobbles = unsteady(one, 1, probes)
        if wobbles:
            raise NotReproducible(f"the model's bits aren't reproducible: {wobbles}", field="reproducible")
        resident.steady = replace(self._row_by_row(resident, reason), steady=True)
        return resident.steady

    def _keep_fixed(self, resident: _Resident, several: Program, data: bytes) -> Program:
        """The batched program as the owner chose its threads, in a session of its own where a sweep chose others."""
        if resident.fixed is None:
            resident.fixed = several
            if resident.loaded.threads != self._options.threads:
                programs = programs_of(data, self._options.admission)
                if programs.opened is None:
                    raise AssertionError("a model that runs in batches can be opened")
                resident.fixed = replace(several, session=self._session(programs.opened, programs))
        return resident.fixed

    def _keep_one(self, resident: _Resident, data: bytes) -> Program:
        """The program that runs row by row, made again where it was dropped. data: the model's file."""
        if resident.one is None:
            programs = programs_of(data, self._options.admission)
            resident.one = Program(self._session(programs.plain, programs), resident.one_by_one, batched=False)
        return resident.one

    def _row_by_row(self, resident: _Resident, reason: str) -> LoadedModel:
        return replace(
            resident.loaded,
            signature=resident.one_by_one,
            batching=Batching(False, reason, 1),
            open_question=False,
            threads=self._options.threads,
            precision="fp32",
            precision_error=0.0,
        )

    def unload(self, digest: str) -> None:
        """Forget the model; batches already prepared still run."""
        with self._lock:
            self._residents.pop(digest, None)

    def prepare(self, batch: Batch) -> _Prepared | Sent:
        """Realise the batch's rows into a spare set of buffers."""
        with self._preparing:
            return self._prepare(batch)

    def _prepare(self, batch: Batch) -> _Prepared | Sent:
        resident = self._residents[batch.digest]
        if resident.device is not None and batch.batched and not batch.padded and not batch.steady:
            return resident.device.prepare(batch)
        program, capacity = resident.one, 1
        if batch.batched:
            several = (resident.several, resident.most_rows)
            program, capacity = (resident.fixed, resident.fixed_rows) if batch.steady else several
        if program is None:
            raise AssertionError("rows were planned for a program that the model doesn't have")
        first = batch.chunks[0].subject
        if len(resident.spare) > _SPARE_SHAPES:
            resident.spare.clear()
        spare = resident.spare.setdefault((batch.batched, batch.steady, shape_key(first)), [])
        try:
            buffers = spare.pop()
        except IndexError:
            shapes = {name: x.shape for name, x in first.inputs.items()}
            buffers = program.buffers(shapes, capacity)
        run = capacity if batch.padded and batch.batched else batch.rows
        views = buffers.views(run)
        for chunk, rows in batch.spans():
            realise_chunk(chunk, {name: view[rows] for name, view in views.items()}, buffers.traces, rows.start)
        if run > batch.rows:
            for view in views.values():
                view[batch.rows :] = view[:1]
            if buffers.traces is not None:
                buffers.traces.forget(batch.rows, run)
        run_rows = resident.run_rows if batch.batched and not batch.steady else None
        return _Prepared(batch, run, run_rows, program, buffers, spare)

    def post(self, batch: Batch) -> None:
        """No: whoever posts has no time to make tensors."""

    def ask(self, what: Prepared | Sequence[Batch]) -> None:
        """No: it runs where it is called."""

    def run(self, prepared: Prepared) -> list[ChunkResult]:
        """Run and read the scores out; the buffers are then free again."""
        if isinstance(prepared, Sent):
            return prepared.owner.run(prepared)
        if not isinstance(prepared, _Prepared):
            raise TypeError("a batch is run by the backend that prepared it")
        batch = prepared.batch
        outputs = prepared.program.run(prepared.buffers, prepared.rows, prepared.run_rows)
        results: list[ChunkResult] = [
            read_out(chunk.readout, {name: v[rows] for name, v in outputs.items()}) for chunk, rows in batch.spans()
        ]
        prepared.spare.append(prepared.buffers)
        return results

    def drop(self, prepared: Prepared) -> None:
        """Nothing: whoever lets go of it frees its buffers."""

    def score(self, batches: Sequence[Batch]) -> list[list[ChunkResult]]:
        """As `Backend.score`."""
        return in_turn(self, batches)

    def terminate(self, digest: str) -> None:
        """From another thread: the batch of this model that is running ends as Terminated, if there is one."""
        resident = self._residents.get(digest)
        for program in (resident.one, resident.several, resident.fixed) if resident is not None else ():
            if program is not None:
                program.session.terminate()
        for session in resident.device.sessions if resident is not None and resident.device is not None else ():
            session.terminate()

    def kill(self, digest: str, why: str) -> None:
        """Nothing: callers are served by the same process."""

    def revive(self, digest: str, data: bytes) -> LoadedModel:  # noqa: ARG002
        """Nothing was lost."""
        return self._residents[digest].loaded

    def workers(self) -> Sequence[Worker]:
        """None."""
        return ()

    def ping(self, digest: str) -> bool:  # noqa: ARG002
        """It is the process that asks."""
        return True

    def release(self, subject: int) -> None:
        """Free what a device holds of the subject."""
        if self._realiser is not None:
            self._realiser.release(subject)

    def close(self) -> None:
        """Forget all models."""
        with self._lock:
            self._residents.clear()
