"""How near the raw model comes to what the machine could do (Williams, Waterman and Patterson 2009).

The roof is measured, by the same runtime on the same device and in the same rounds: a large matrix product for its
arithmetic, a copy of a large array for its memory. The model's share is its rate over
min(arithmetic, intensity · bandwidth). The service's is that times its efficiency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from assayd.graph.programs import programs_of
from tests.bench.estimates import Estimate
from tests.bench.figures import Figure
from tests.bench.machine import cores
from tests.bench.models import Subject
from tests.bench.pairs import Arm, Effort, ratio, timed
from tests.bench.raw import Raw, RawModel
from tests.bench.work import Uncounted, Work, work_of

_GEMM = {"cpu": 2048, "cuda": 8192}
_COPIED_BYTES = {"cpu": 2**28, "cuda": 2**32}
"""Far more than any cache holds."""


def measure(held: Subject, raw: Raw, effort: Effort) -> Iterator[Figure]:
    """Work of a row, the roof, and the raw model's share of it; nothing for models whose work is no arithmetic."""
    opened, batch, device = programs_of(held.model).opened, raw.batch, raw.model.device
    if opened is None:
        return
    try:
        work = work_of(opened, {raw.model.input: (batch, *held.x.shape[1:])})
    except Uncounted:
        return
    yield from roof(f"{held.name}: roofline", work, batch, raw.arm(held.x, batch, 0.0), device, effort)


def roof(name: str, work: Work, batch: int, model: Arm, device: str, effort: Effort) -> Iterator[Figure]:
    """Figures of a model whose arm runs one batch. work: of the batch."""
    size, copied = _GEMM[device], _COPIED_BYTES[device]
    gemm, copy = product(size, device), copier(copied, device)
    # Each arm's work is what one batch asks of it, so that times are those of a batch.
    arms = {
        "raw": model,
        "raw again": model,
        "arithmetic": Arm(gemm, 2 * size**3 / work.flops),
        "memory": Arm(copy, 2 * copied / work.moved_bytes),
    }
    times = timed(arms, [("raw", "raw again")], effort)
    control = ratio(times, "raw", "raw again").half_width
    seconds = {kind: _median(times[kind]) for kind in ("arithmetic", "memory")}
    bound = max(seconds, key=lambda kind: seconds[kind])
    per_row = f"in batches of {batch}"
    yield _exact(name, "work of a row", "MFLOP", work.flops / batch / 1e6, per_row)
    yield _exact(name, "moved by a row", "MB", work.moved_bytes / batch / 1e6, per_row)
    yield _exact(name, "intensity", "FLOP/B", work.intensity)
    peak, bandwidth = work.flops / seconds["arithmetic"], work.moved_bytes / seconds["memory"]
    yield _exact(name, "roof, arithmetic", "GFLOP/s", peak / 1e9, f"a product of {size} by {size} by {size}")
    yield _exact(name, "roof, memory", "GB/s", bandwidth / 1e9, f"a copy of {copied / 2**20:g} MiB")
    share = ratio(times, bound, "raw")
    yield Figure(name, "raw model, share of the roofline", "ratio", share, control, note=f"bound by {bound}")


def product(size: int, device: str) -> Callable[[], object]:
    """A function that runs one float32 matrix product of this size."""
    weight = np.random.default_rng(0).standard_normal((size, size), np.float32) / np.float32(np.sqrt(size))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = RawModel(_program(node, size, numpy_helper.from_array(weight, "w")), device, cores(), None)
    run: Callable[[], object] = model.again_and_again(weight, 1)
    return run


def copier(copied_bytes: int, device: str) -> Callable[[], object]:
    """A function that reads so many bytes and writes as many: the cheapest operator that no runtime leaves out."""
    values = np.ones((copied_bytes // 4096, 1024), np.float32)
    model = RawModel(_program(helper.make_node("Neg", ["x"], ["y"]), 1024), device, cores(), None)
    run: Callable[[], object] = model.again_and_again(values, 1)
    return run


def _program(node: onnx.NodeProto, columns: int, *weights: onnx.TensorProto) -> bytes:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns]) for name in "xy"]
    graph = helper.make_graph([node], "roof", ends[:1], ends[1:], list(weights))
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    return bytes(made.SerializeToString())


def _median(times: Sequence[float | None]) -> float:
    return float(np.median([t for t in times if t is not None]))


def _exact(name: str, what: str, unit: str, value: float, note: str = "") -> Figure:
    return Figure(name, what, unit, Estimate(value, value, value), note=note)
