"""A backend and a store for tests of the models in memory."""

import threading

from assayd.engine.backend import LoadedModel
from assayd.errors import InvalidModel, ModelNotFound, StoreFull, WorkerLost, WorkerNotStarted
from assayd.types.model import Batching, Signature, Tuning


class FakeBackend:
    """Loads what it is told to in no time; b"bad" is no model, b"open" leaves its question open."""

    device = "cpu"

    def __init__(self):
        self.loads, self.unloads, self.demoted, self.proven = [], [], [], []
        self.tunings = []
        self.revived, self.kills, self.deaths, self.refusal = [], [], [], None
        self.dead = []
        self.full = self.memory = 0
        self.gate = threading.Event()
        self.gate.set()

    def load(self, digest, data, tuning=None):
        self.tunings.append(tuning)
        self.gate.wait(10)
        self.loads.append(digest)
        if self.kills:
            raise WorkerLost("killed", metadata={"cause": self.kills[-1][1]})
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        if self.full:
            self.full -= 1
            raise WorkerNotStarted("no room", retry_after_s=5)
        if data == b"bad":
            raise InvalidModel("no")
        batching = Batching(data != b"open", "", 8)
        found = Tuning(16, 1) if batching.batched else None
        asked = data == b"open"
        return LoadedModel(
            digest, Signature((), ()), batching, "CPU", len(data), 0.5, asked, self.memory, tuning=tuning or found
        )

    def prove(self, digest, subject):
        self.gate.wait(10)
        if self.kills:
            raise WorkerLost("killed", metadata={"cause": self.kills[-1][1]})
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        self.proven.append(digest)
        return LoadedModel(digest, Signature((), ()), Batching(True, "", 8), "CPU", 4, 0.5)

    def demote(self, digest, data, reason):
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        self.demoted.append((digest, data, reason))
        return LoadedModel(digest, Signature((), ()), Batching(False, reason, 1), "CPU", len(data), 0.5)

    def steady(self, digest, data):
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        return LoadedModel(digest, Signature((), ()), Batching(True, "steady", 8), "CPU", len(data), 0.5)

    def workers(self):
        return self.dead

    def unload(self, digest):
        self.unloads.append(digest)

    def revive(self, digest, data):
        self.revived.append((digest, data))
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        if self.refusal is not None:
            raise self.refusal
        return LoadedModel(digest, Signature((), ()), Batching(True, "revived", 8), "CPU", len(data), 0.5)

    def kill(self, digest, why):
        self.kills.append((digest, why))
        self.gate.set()


class FakeStore:
    """A digest's bytes are what follows its colon."""

    def __init__(self):
        self.reads, self.tunings, self.full = [], {}, False

    def tuning(self, *key):
        return self.tunings.get(key)

    def keep_tuning(self, *key_and_tuning):
        if self.full:
            raise StoreFull("no")
        *key, self.tunings[tuple(key)] = key_and_tuning

    def model_bytes(self, tenant, digest):
        self.reads.append((tenant, digest))
        if tenant != "t":
            raise ModelNotFound("no")
        return digest.partition(":")[2].encode()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


async def used(models, digest, tenant="t"):
    async with models.use(tenant, digest) as model:
        return model
