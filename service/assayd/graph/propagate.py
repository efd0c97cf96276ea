"""The walk: mark the batch axis with a prime, follow it through the graph, mend what loses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from onnx import GraphProto, NodeProto
from onnx.shape_inference import InferenceError

from assayd.graph.edits import Edit
from assayd.graph.facts import MARKER, Fact, Unopenable, of_tensor
from assayd.graph.infer import Inference
from assayd.graph.mends import MENDS
from assayd.graph.mixing import called, check_mixing
from assayd.graph.places import Dims, Place, free_axes
from assayd.graph.reshape import landed
from assayd.graph.site import Site
from assayd.graph.walk import bodies_under, subgraphs

_RESHAPING = frozenset({"Flatten", "Squeeze", "Unsqueeze"})
_MAX_TURNS = 32
"""How often the walk may come back to a choice."""

_STEPS_A_NODE = 20
_SPARE_STEPS = 20_000
"""Steps allowed over all walks of one graph, so that a hostile one can't make guessing endless."""


@dataclass(frozen=True)
class Walked:
    """What the walk found: mends to make, and the facts of the graph's outputs."""

    edits: tuple[Edit, ...]
    outputs: Mapping[str, Fact]


def _reads(node: NodeProto) -> Iterator[str]:
    """Names a node reads, its subgraphs included."""
    yield from node.input
    held = [graph for attribute in node.attribute for graph in subgraphs(attribute)]
    for body in bodies_under(held):
        for inner in body.nodes:
            yield from inner.input
        if body.graph is not None:
            yield from (value.name for value in body.graph.output)


def _live(graph: GraphProto) -> tuple[list[int], set[str]]:
    """Positions of the nodes that the outputs need, and every name they read."""
    wanted = {value.name for value in graph.output}
    live: list[int] = []
    for position in range(len(graph.node) - 1, -1, -1):
        node = graph.node[position]
        if any(name in wanted for name in node.output if name):
            live.append(position)
            wanted.update(name for name in _reads(node) if name)
    return live[::-1], wanted


class Walk:
    """A graph made ready to be walked, perhaps more than once, from different guesses where the batch stands."""

    def __init__(self, graph: GraphProto, opsets: Mapping[str, int]) -> None:
        self.graph = graph
        self.inference = Inference(opsets)
        self.positions, self.wanted = _live(graph)
        self.steps_left = _STEPS_A_NODE * len(self.positions) + _SPARE_STEPS
        self.weights = {tensor.name: of_tensor(tensor) for tensor in graph.initializer}
        for sparse in graph.sparse_initializer:
            shape = tuple(sparse.dims)
            self.weights[sparse.values.name] = Fact(sparse.values.data_type, shape, shape)

    def run(self, inputs: Mapping[str, Dims], places: Mapping[str, Place], batch: int, free: int) -> Walked:
        """Follow the batch from `places`. batch: the file's extent. free: what other free axes are taken to be.

        Unopenable says why the batch axis can't be opened from there.
        """
        symbols = free_axes(inputs, places)
        facts: dict[str, Fact | None] = dict(self.weights)
        for value in self.graph.input:
            shape = [dim if isinstance(dim, int) else free for dim in inputs[value.name]]
            axis = places[value.name].axis
            shape[axis] = batch
            opened = (*shape[:axis], MARKER, *shape[axis + 1 :])
            facts[value.name] = Fact(value.type.tensor_type.elem_type, tuple(shape), opened)
        edits: list[Edit] = []
        trail: list[tuple[int, int, int, int]] = []  # step, possibility taken, of how many, edits before
        first: Unopenable | None = None
        step, take, turns, before = 0, 0, 0, 0
        asked: list[int] = []
        while True:
            try:
                if step == len(self.positions):
                    return Walked(tuple(edits), self._outputs(facts, batch))
                before, asked = len(edits), []
                edits.extend(self._step(self.positions[step], facts, symbols, take, asked))
                trail.extend((step, take, count, before) for count in asked if count > 1)
                step, take = step + 1, 0
            except Unopenable as reason:
                first = first or reason
                turns += 1
                if step < len(self.positions) and asked and asked[0] > take + 1:
                    del edits[before:]
                    take += 1
                    continue
                while trail and trail[-1][1] + 1 >= trail[-1][2]:
                    trail.pop()
                if not trail or turns > _MAX_TURNS:
                    raise first from None
                step, take, _, before = trail.pop()
                take += 1
                del edits[before:]

    def _step(
        self, position: int, facts: dict[str, Fact | None], symbols: bool, take: int, asked: list[int]
    ) -> Sequence[Edit]:
        """Follow one node; its facts go into `facts`."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise OverflowError
        node = self.graph.node[position]
        standard = node.domain in ("", "ai.onnx")
        inputs = [facts.get(name) if name else None for name in node.input]
        if any(True for attribute in node.attribute for _ in subgraphs(attribute)):
            held = [facts.get(name) for name in _reads(node)]
            if any(fact is not None and fact.varies for fact in held):
                raise Unopenable(f"{called(node)} holds a subgraph that the batch reaches")
            facts.update(dict.fromkeys(node.output))
            return ()

        def choose(count: int) -> int:
            asked.append(count)
            return take

        site = Site(position, node, inputs, self.inference.opsets.get("", 1), symbols, choose)
        if standard:
            check_mixing(node, inputs, site.opset)
            if node.op_type in MENDS:
                MENDS[node.op_type](site)
        made = site.made
        if made is None:
            made = self._inferred(node, site.inputs)
            if len(made) < len(node.output):
                made = [*made, *[None] * (len(node.output) - len(made))]
            made = self._settled(node, site.inputs, made)
        facts.update({name: fact for name, fact in zip(node.output, made, strict=True) if name})
        return site.edits

    def _inferred(self, node: NodeProto, inputs: Sequence[Fact | None]) -> list[Fact | None]:
        try:
            return self.inference.outputs(node, inputs)
        except InferenceError:
            if any(fact is not None and fact.varies for fact in inputs):
                raise Unopenable(f"{called(node)} can't take a batch: its shapes then don't fit together") from None
            return [None] * len(node.output)

    def _settled(
        self, node: NodeProto, inputs: Sequence[Fact | None], made: Sequence[Fact | None]
    ) -> list[Fact | None]:
        """The outputs' facts, once each is sure to hold the batch in one place and in the inputs' order."""
        batched = [fact for fact in inputs if fact is not None and fact.batched]
        settled: list[Fact | None] = []
        for name, found in zip(node.output, made, strict=True):
            fact = found
            if name not in self.wanted:
                settled.append(None)
                continue
            if fact is None and batched and node.op_type == "Squeeze":
                raise Unopenable(f"{called(node)} removes every axis of extent 1, and so a batch of 1")
            if fact is None and batched:
                raise Unopenable(f"{called(node)} makes a shape that can't be told beforehand")
            if fact is not None and len(fact.axes) > 1:
                raise Unopenable(f"{called(node)} has the batch on two axes at once")
            if fact is not None and batched and node.op_type not in ("Shape", "Size"):
                if not fact.batched:
                    raise Unopenable(f"{called(node)} drops the batch axis")
                fact = replace(fact, lead=self._lead(node, batched, fact))
            settled.append(fact)
        return settled

    def _lead(self, node: NodeProto, batched: Sequence[Fact], fact: Fact) -> int:
        if node.op_type in _RESHAPING:
            spot = landed(batched[0], fact.shape, fact.opened)
            if spot is None:
                raise Unopenable(f"{called(node)} puts the batch in the wrong place")
            return spot.lead
        extents = (fact.shape[fact.axis], fact.opened[fact.axis])
        leads = {f.lead for f in batched if (f.shape[f.axis], f.opened[f.axis]) == extents}
        if len(leads) != 1:
            raise Unopenable(f"{called(node)} changes the order or the extent of the batch axis")
        return leads.pop()

    def _outputs(self, facts: Mapping[str, Fact | None], batch: int) -> dict[str, Fact]:
        """The outputs' facts; Unopenable where one doesn't hold exactly the batch on one axis."""
        found: dict[str, Fact] = {}
        for value in self.graph.output:
            fact = facts.get(value.name)
            if fact is None or not fact.batched:
                raise Unopenable(f"output {value.name[:80]!r} has no batch axis")
            if fact.shape[fact.axis] != batch or fact.opened[fact.axis] != MARKER:
                raise Unopenable(f"output {value.name[:80]!r} has the batch folded into another axis")
            found[value.name] = fact
        return found
