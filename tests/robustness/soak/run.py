"""One soak: a server, a crew of callers, what it held meanwhile, and what is left when all have gone."""

import random
import threading
import time
from dataclasses import dataclass, field

import assay
from tests.integration.server import ServerProcess, wait_until
from tests.robustness import corpus
from tests.robustness.outcomes import Outcomes
from tests.robustness.soak import questions
from tests.robustness.soak.callers import CREW, Good, Killer, Thorough, Uploader
from tests.robustness.soak.judge import WARM_UP, Grown, trend
from tests.robustness.soak.sampler import Held, Sampler, Used, held, used

ALLOWED = {
    "front_bytes": (100_000, 4e6), "descriptors": (0.1, 8), "threads": (0.1, 8), "workers": (0.1, 1),
    "worker_bytes": (100_000, 4e6),
}  # fmt: skip
"""Growth per thousand calls: a hundred bytes a call, and a descriptor in ten thousand. And in all, below which it is no
leak: minutes are all warm-up, and half-open connections come and go.
"""
AT_REST = {"descriptors": 6, "threads": 16, "workers": 0}
"""More than before the crew came. Pools of threads are filled as they are needed, and gRPC keeps a few descriptors."""
FLAGS = ("--sweep-ms", "0", "--worker-memory-bytes", str(2**31), "--max-model-depth", str(corpus.DEPTH))
IN_USE = {"blocks": (3_000, 0), "malloc_bytes": (1_500_000, 150)}
"""More at rest at the end than when it was warm, and as much again for each call that was cancelled or late meanwhile.
638 models that come and go leave 65 blocks; a kilobyte of lists and numbers for each is 17,000 blocks more. Bounded
caches hold now more, now less, by up to 1.3 MB. gRPC keeps some 100 bytes of each call that ends while the server reads
or writes (grpc/grpc#43360), a server of nothing else too.
"""
_SETTLE_S = 30


@dataclass
class Soak:
    """before, after: what the server held with nobody there. warm, end: what it had in use."""

    seconds: float
    outcomes: Outcomes
    samples: list
    before: Held
    after: Held
    warm: Used
    end: Used
    store: dict
    exit_status: int
    trends: list = field(default_factory=list)

    @property
    def faults(self):
        """In words; none in a good run."""
        found = list(self.outcomes.faults)
        found += [f"{t.what} grows by {t.slope:,.3g} per thousand calls" for t in self.trends if t.leaks]
        found += [f"{g.what} in use at rest: {g.first} once warm, {g.last} at the end" for g in self.grown if g.leaks]
        found += [f"{what} at rest: {before} before, {after} after" for what, before, after in self._left()]
        if self.store["found"] != self.store["expected"]:
            found.append(f"the store: {self.store}")
        return found + ([f"exit status {self.exit_status}"] if self.exit_status else [])

    @property
    def leaking(self):
        """What grows, by either measure."""
        return {what for what, *_ in self._left()} | {t.what for t in (*self.trends, *self.grown) if t.leaks}

    @property
    def grown(self):
        """What was in use, of runs that are judged."""
        most, left = IN_USE if self.trends else {}, self.end.left - self.warm.left
        return [
            Grown(what, getattr(self.warm, what), getattr(self.end, what), more + each * left)
            for what, (more, each) in most.items()
        ]

    def _left(self):
        for what, more in AT_REST.items():
            before, after = getattr(self.before, what), getattr(self.after, what)
            if after > before + more:
                yield what, before, after


class _Working:
    """A crew at work until it is told to stop, each caller in a thread of its own."""

    def __init__(self, crew, server, outcomes, seed):
        self._ended, self._outcomes = threading.Event(), outcomes
        self.callers = [kind(server, outcomes) for kind in crew]
        self._threads = [
            threading.Thread(target=self._work, args=(caller, random.Random(f"{seed} {n}")), daemon=True)
            for n, caller in enumerate(self.callers)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, caller, chance):
        # Those who kill wait first.
        while not self._ended.wait(caller.PACE_S):
            try:
                caller.turn(chance)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and tells it
                self._outcomes.fault(type(caller).__name__, repr(error))

    def stop(self):
        self._ended.set()
        for thread in self._threads:
            thread.join(300)
        for caller in self.callers:
            caller.close()


def soak(folder, *, seconds=None, calls=None, module="tests.robustness.weighed", crew=CREW, seed=0, every_s=1.0):
    """A run of so many seconds, or of so many calls, the warm-up not counted. After a third all leave for a moment, and
    others come. Trends and what is in use are judged of the former alone: short runs are all warm-up.
    """
    outcomes = Outcomes()
    models = questions.MODELS if Good in crew else {"mlp": questions.MODELS["mlp"]}
    with ServerProcess(folder / "store", *FLAGS, module=module) as server, assay.Client(server.address) as client:
        pid = server.process.pid
        for name, data in models.items():
            client.upload_model(data, name=name)
        uploads = _warm_up(server, outcomes, crew, seed)
        before = _at_rest(server, outcomes, len(models))
        with Sampler(pid, lambda: outcomes.calls, every_s=every_s) as sampler:
            began, found = time.monotonic(), []
            for leg, share in enumerate((WARM_UP, 1 - WARM_UP)):
                enough = outcomes.calls + share * (calls or 0)
                working = _Working(crew, server, outcomes, f"{seed} {leg}")
                time.sleep(share * (seconds or 0))
                wait_until(lambda enough=enough: outcomes.calls >= enough, 300)
                working.stop()
                uploads += _uploads(working)
                after = _at_rest(server, outcomes, len(models))
                found.append(used(server.metrics(), uploads, outcomes.left))
            took = time.monotonic() - began
        same = server.process.poll() is None and server.process.pid == pid
        store = _store(folder / "store", len(models) + uploads)
        status = server.stop()
    if not same:
        outcomes.fault("front", "another process answers, or none")
    trends = []
    if seconds:
        at = [sample.calls for sample in sampler.samples]
        trends = [trend(w, at, [getattr(s, w) for s in sampler.samples], *most) for w, most in ALLOWED.items()]
    return Soak(took, outcomes, sampler.samples, before, after, *found, store, status, trends)


def _warm_up(server, outcomes, crew, seed):
    """Everything once, by those who do no harm; how many models were uploaded."""
    working = _Working([kind for kind in crew if kind is not Killer], server, outcomes, f"warm-up {seed}")
    if Good in crew:
        once = Thorough(server, outcomes)
        once.turn(random.Random(0))
        once.close()
    working.stop()
    return _uploads(working)


def _uploads(working):
    return sum(caller.kept for caller in working.callers if isinstance(caller, Uploader))


def _at_rest(server, outcomes, models):
    """What it holds when nobody asks for anything and only its own models are there."""
    end = time.monotonic() + _SETTLE_S
    while (busy := _busy(server, models)) and time.monotonic() < end:
        time.sleep(0.1)
    if busy:
        outcomes.fault("at rest", f"never: {busy}")
    time.sleep(1.0)  # connections that were closed are forgotten a moment later
    return held(server.process.pid, outcomes.calls)


def _busy(server, models):
    """What still goes on, by the server's own metrics."""
    page = server.metrics()
    busy = {k: v for k, v in page.items() if v and k.startswith(("assayd_requests_in_flight", "assayd_queued_rows"))}
    workers = page["assayd_workers_alive"]
    return busy if workers == models else busy | {"workers": workers}


def _store(folder, models):
    """Files of its store, by kind: a file for each model that was ever acknowledged, and no drafts."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    kinds = {"models": sum(p.parent.name == "models" and not p.name.startswith(".") for p in found)}
    kinds["drafts"] = sum(p.parent.name == ".drafts" for p in found)
    return {"found": kinds, "expected": {"models": models, "drafts": 0}, "files": len(found)}
