"""SIGTERM while callers work, again and again: every call that was accepted is answered, and nothing stays behind.

`python -m tests.robustness.drain --times 100` for long.
"""

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

import assay
from assay.errors import from_rpc_error
from tests.integration.server import ServerProcess
from tests.models import zoo
from tests.processes import children
from tests.robustness.outcomes import Outcomes, said
from tests.robustness.report import finish, table

_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
_X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
_ELEMENTS = assay.Occlusion(features=assay.Elements())
_LARGE = assay.Rows(keep=np.random.default_rng(0).random((4000, 8)) < 0.5, features=assay.Elements())
_GRACES_S = (0.0, 0.2, 1.0, 30.0)
_PATIENCE_S = 60


@dataclass
class Drain:
    """outcomes: of all calls, by what was called. health: what its stream said, in order. seconds: from the signal to
    the exit.
    """

    outcomes: Outcomes
    health: list = field(default_factory=list)
    seconds: float = 0.0

    def fault(self, text):
        self.outcomes.fault("drain", text)


def _explain(client):
    return client.explain("mlp", _X, _ELEMENTS, target=1, reproducible=True, timeout=_PATIENCE_S).feature_values


def _many_rows(client):
    return client.explain("mlp", _X[:1], _LARGE, target=1, reproducible=True, timeout=_PATIENCE_S).rows[0].scores


def _predict(client):
    return client.predict("mlp", _X[:1], timeout=_PATIENCE_S)["y"]


def _stream(client):
    *_, whole = client.explain_stream("mlp", _X, _ELEMENTS, target=1, reproducible=True, timeout=_PATIENCE_S)
    return whole.feature_values


def _data_set(client):
    parts = [_X, -_X, _X[:1]]
    events = client.explain_many("mlp", parts, _ELEMENTS, target=1, reproducible=True, on_instance_error="fail")
    found = sorted((e for e in events if isinstance(e, assay.Instance)), key=lambda instance: instance.position)
    return np.stack([instance.feature_values for instance in found])


def _upload(client):
    model = client.upload_model(zoo.linear(seed=next(_seeds)), name="fresh", timeout=_PATIENCE_S)
    return np.zeros(len(model.outputs))


_seeds = iter(range(10**9))
_ASKED = {
    "explain": _explain, "rows": _many_rows, "predict": _predict, "stream": _stream, "data set": _data_set,
    "upload": _upload,
}  # fmt: skip


def drain(folder, seed=0, module="assayd"):
    """One server, a caller for each kind of call, and SIGTERM in the middle of it. module: of the server."""
    chance, found = random.Random(seed), Drain(Outcomes())
    grace_s = chance.choice(_GRACES_S)
    flags = ("--sweep-ms", "0", "--drain-grace-s", str(grace_s))
    with ServerProcess(folder / "store", *flags, module=module) as server, assay.Client(server.address) as client:
        client.upload_model(zoo.mlp(), name="mlp")
        wanted = {name: ask(client) for name, ask in _ASKED.items()}
        callers = [
            threading.Thread(target=_work, args=(server.address, name, wanted[name], found), daemon=True)
            for name in _ASKED
        ]
        watching = threading.Thread(target=_watch, args=(server.address, found), daemon=True)
        for thread in (watching, *callers):
            thread.start()
        time.sleep(chance.uniform(0.1, 1.0))
        processes, began = children(server.process.pid), time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        status = server.process.wait(_PATIENCE_S)
        found.seconds = time.monotonic() - began
        for thread in (*callers, watching):
            thread.join(_PATIENCE_S)
        if any(thread.is_alive() for thread in callers):
            found.fault("a call never ended")
        _look(found, status, processes)
    return found


def _look(found, status, processes):
    """What is left, and what was heard of its health."""
    if status != 0:
        found.fault(f"exit status {status}")
    end = time.monotonic() + 5  # their parent is gone; the kernel takes a moment
    while (alive := [pid for pid in processes if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.05)
    if alive:
        found.fault(f"{len(alive)} processes stayed behind")
    if found.health != [_SERVING, _NOT_SERVING]:
        found.fault(f"health said {found.health}")


def _watch(address, found):
    """All that the stream says until the server ends."""
    with _own_channel(address) as channel, contextlib.suppress(grpc.RpcError):
        for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            found.health.append(answer.status)


def _own_channel(address):
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def _work(address, name, want, found):
    """Ask until the server goes down."""
    with assay.Client(address) as client, _own_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest())  # connected before it counts
        while True:
            try:
                got = _ASKED[name](client)
            except assay.AssayError as error:
                _ended(name, error, health, found)
                return
            found.outcomes.heard(name, "OK")
            if got.shape != want.shape or not np.allclose(got, want, atol=1e-6):
                found.outcomes.fault(name, "other numbers")


def _ended(name, error, health, found):
    """The last word that a caller hears: DRAINING, or that nobody is there any more."""
    if not error.reason and "Connection refused" in str(error):
        found.outcomes.heard(name, "nobody there")  # the call was never accepted
        return
    found.outcomes.heard(name, said(error))
    if said(error) != "UNAVAILABLE DRAINING" or error.retry_after is None:
        found.outcomes.fault(name, f"{error!r} {said(error)}")
    try:
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    except grpc.RpcError as gone:
        # The last thing that goes, with whoever asks it at that moment.
        if from_rpc_error(gone).code not in ("UNAVAILABLE", "CANCELLED"):
            found.outcomes.fault(name, f"health: {gone!r}")
    else:
        if status != _NOT_SERVING:
            found.outcomes.fault(name, "refused while health still said SERVING")


def main():
    parser = argparse.ArgumentParser("python -m tests.robustness.drain", description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="folder of the report for machines")
    args = parser.parse_args()
    counts, faults, seconds = Counter(), [], []
    for n in range(args.times):
        try:
            with tempfile.TemporaryDirectory(prefix="assay-drain-") as folder:
                one = drain(Path(folder), args.seed + n)
        except Exception as error:  # noqa: BLE001 - the others are drained all the same
            faults.append(f"{args.seed + n}: {error!r}")
            continue
        counts += one.outcomes.counts
        faults += [f"{args.seed + n}: {fault}" for fault in one.outcomes.faults]
        seconds.append(one.seconds)
        print(f"{n + 1} of {args.times} drains, {len(faults)} faults", flush=True)
    rows = [(name, what, number) for (name, what), number in sorted(counts.items())]
    summary = (
        f"{args.times} drains, {counts.total():,} calls, {len(faults)} faults. From SIGTERM to the exit: "
        f"{np.median(seconds or [0]):.1f} s in the median, {max(seconds, default=0):.1f} s at most."
    )
    facts = {"times": args.times, "calls": rows, "seconds": seconds, "faults": faults}
    parts = [summary, table(["call", "heard", "times"], rows), *faults]
    return finish(f"Drains, {args.times} times", parts, facts, args.out, passed=not faults)


if __name__ == "__main__":
    sys.exit(main())
