"""Prepares one instance: its subject, its first plan, what it will cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from assayd.engine.backend import LoadedModel
from assayd.errors import within
from assayd.explain.offload import Offload, Takes
from assayd.explain.places import Places
from assayd.explain.readout import Readouts
from assayd.explain.record import Records, Stack
from assayd.explain.request import ExplainRequest
from assayd.explain.subject import Cut, Subjects
from assayd.explain.tally import Tally
from assayd.features.segments import segments_of
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Job
from assayd.types.method import Explanation, drawn_cells
from assayd.types.request import Superpixels
from assayd.types.rows import Plan
from assayd.types.subject import Subject

LIGHT = 4096
"""Numbers that are worked through in place."""
_SHORT_CELLS = 1 << 15
"""Of drawn samples, which take a millisecond then."""
_FOR_ONE, _FEW_ELEMENTS = 5, 64
"""So many times as much is done in place for a decision without a key: its draws are at hand mostly, and on a thread it
takes longer, and more of the interpreter. Of more elements it isn't linear any more in what is drawn."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """What all instances of a request share: whom they are for, and whom they need."""

    request: ExplainRequest
    explained: tuple[str, ...]
    job: Job
    scheduler: Scheduler
    offload: Offload
    tally: Tally
    stack: Stack
    places: Places
    cut: Cut = segments_of
    _readouts: dict[int, Readouts] = field(default_factory=dict)

    @property
    def plans_fast(self) -> bool:
        """Whether features take microseconds; superpixels take a tenth of a second, and nobody waits for those."""
        return not isinstance(self.request.method.features, Superpixels)

    @cached_property
    def elements(self) -> int:
        """Of an instance that are explained."""
        return sum(self.request.inputs[name][0, ...].size for name in self.explained)

    @cached_property
    def light(self) -> bool:
        """Whether an instance is so small that whatever is linear in it takes less time than a hop between threads."""
        return self.plans_fast and sum(x[0, ...].size for x in self.request.inputs.values()) <= LIGHT

    async def plan(self, position: int) -> Subject:
        """Cut features and make baselines."""
        takes = Takes.MICROSECONDS if self.light else Takes.LONGER
        return await self.offload.plan(self.subjects.of, position, takes=takes)

    @cached_property
    def subjects(self) -> Subjects:
        """Of its instances."""
        return Subjects(self.request, self.explained, self.cut)

    @cached_property
    def records(self) -> Records:
        """Of its instances."""
        return Records(self.job.request_id, self.request, self.stack)

    def readouts(self, model: LoadedModel) -> Readouts:
        """Of its instances, by a model as it is loaded now: another one after it was demoted, say."""
        known = self._readouts.get(id(model))
        if known is None:
            known = self._readouts[id(model)] = Readouts(self.request, model)
        return known

    def check_targets(self, subject: Subject, model: LoadedModel, position: int) -> None:
        """Raises where a target can be seen to be wrong before anything runs."""
        readouts = self.readouts(model)
        if not readouts.wait_for_x(position):
            readouts.of(position, subject, None)

    async def rows_of(self, subject: Subject) -> int:
        """Rows that the first plan asks for, with those of x and its baselines; runs nothing."""
        _, plan = await self.begin(subject)
        return plan.size + plan.later + 1 + subject.baseline_count + int(self.request.reproducible)

    @cached_property
    def draws(self) -> Takes:
        """How long samples, if any, take to be drawn, and so to be solved."""
        cells = drawn_cells(self.request.method, self.elements)
        if not self.light or cells > _SHORT_CELLS * self._times:
            return Takes.LONGER
        return Takes.MILLISECONDS if cells else Takes.MICROSECONDS

    def solves(self, numbers: int) -> Takes:
        """How long it takes to make something of so many scores, or values."""
        times = self._times if self.draws is Takes.MILLISECONDS else 1
        return self.draws if numbers <= LIGHT * times else Takes.LONGER

    @property
    def _times(self) -> int:
        return _FOR_ONE if self.decision and not self.request.keys and self.elements <= _FEW_ELEMENTS else 1

    @property
    def decision(self) -> bool:
        """Whether it is for one instance that somebody waits for."""
        return self.request.instances == 1 and not self.job.data_set

    async def begin(self, subject: Subject) -> tuple[Explanation, Plan]:
        """The method under way, and its first plan. Raises what the method finds wrong with its parameters."""
        explanation = self.request.method.explain(subject)
        with within(self.request.method_name, beside=("inputs[", "inputs_to_explain")):
            return explanation, await self.offload.plan(next, explanation, takes=self.draws, decision=self.decision)
