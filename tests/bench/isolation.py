"""What a process of its own costs a model: the same calls on two servers in pairs, `--isolation process` and `none`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import assay
from tests.bench.awake import cores_awake
from tests.bench.estimates import Estimate
from tests.bench.figures import Figure, Mark
from tests.bench.models import subject
from tests.bench.pairs import Arm, Effort, Times, difference, ratio, timed
from tests.bench.workloads import GROUPS
from tests.integration.server import ServerProcess

_CALLS = {
    "mlp: 3200 masks": ("mlp", assay.Rows(np.random.default_rng(0).random((3200, 10)) < 0.5, features=GROUPS), 1),
    "mlp: 320 instances of one row": ("mlp", assay.Rows(np.zeros((1, 10), bool), features=GROUPS), 320),
    "squeezenet: occlusion 16/8": ("squeezenet", assay.Occlusion(window=(16, 16), stride=(8, 8)), 1),
}

_NET_S = 120.0
"""A net's call takes seconds, and a few rounds of those say nothing on a machine that others use too."""


def measure(effort: Effort, flags: tuple[str, ...], nets: tuple[str, ...]) -> Iterator[Figure]:
    """Milliseconds a batch and a call of a small model (of fewer batches each costs more), share of a net's rate."""
    with (
        tempfile.TemporaryDirectory() as folder,
        # One store: what the first one's sweep chose is kept there, and both run the same batches.
        ServerProcess(Path(folder) / "store", *flags, "--isolation", "process") as apart,
        ServerProcess(Path(folder) / "store", *flags, "--isolation", "none") as within,
        assay.Client(apart.address) as far,
        assay.Client(within.address) as near,
    ):
        for name, (key, method, count) in _CALLS.items():
            if key not in nets:
                continue
            held = subject(key)
            x = np.resize(held.x, (count, *held.x.shape[1:]))

            def asked(client: assay.Client, ref: assay.Model, x=x, method=method, held=held) -> assay.Explanation:
                return client.explain(ref, x, method, 0, layout=held.layout, timeout=600)

            uploaded = {c: c.upload_model(held.model, name=held.name) for c in (far, near)}
            before = _batches(apart)
            asked(far, uploaded[far])
            batches = _batches(apart) - before
            arms = {
                "process": Arm(lambda asked=asked, ref=uploaded[far]: asked(far, ref)),
                "none": Arm(lambda asked=asked, ref=uploaded[near]: asked(near, ref)),
                "none again": Arm(lambda asked=asked, ref=uploaded[near]: asked(near, ref)),
            }
            times = timed(arms, [("none", "none again")], effort if key == "mlp" else replace(effort, seconds=_NET_S))
            control = ratio(times, "none", "none again").half_width
            if key == "squeezenet":
                kept = ratio(times, "none", "process")
                yield Figure(name, "rate kept in a process of its own", "ratio", kept, control, Mark(0.97))
                continue
            yield from _costs(name, times, batches, control)
            with cores_awake():
                times = timed(arms, [("none", "none again")], effort)
            control = ratio(times, "none", "none again").half_width
            each, _ = _costs(name, times, batches, control)
            yield replace(each, what=f"{each.what}, cores kept awake", mark=None)


def _costs(name: str, times: Times, batches: int, control: float) -> tuple[Figure, Figure]:
    apart_s = difference(times, "process", "none")
    whole = Estimate(*(s * 1e3 for s in (apart_s.value, apart_s.low, apart_s.high)))
    each = Estimate(*(ms / batches for ms in (whole.value, whole.low, whole.high)))
    note = f"{batches} batches, A/A ±{control:.1%}"
    return (
        Figure(name, "cost of a process", "ms a batch", each, mark=Mark(0.3, at_least=False), note=note),
        Figure(name, "cost of a process, all of it", "ms a call", whole),
    )


def _batches(server: ServerProcess) -> int:
    """Batches run so far, those of lone rows too, which no call's usage counts."""
    counted = ("assayd_batches_total", "assayd_alone_checks_total")
    return int(sum(value for name, value in server.metrics().items() if name.startswith(counted)))
