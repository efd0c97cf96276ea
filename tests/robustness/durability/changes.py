"""What a store is asked to change, from which state, and what a reader sees of it."""

import contextlib

import numpy as np

from assayd.errors import DataLoss, ModelNotFound, TensorNotFound
from assayd.store.digests import digest_of
from assayd.store.names import ModelRef
from assayd.store.store import Store
from assayd.store.tensors import tensor_digest
from assayd.types.model import Tuning

A, B = bytes(range(250)), bytes(range(250))[::-1]
SPEC = b"a spec" * 30
TENSOR = np.arange(40, dtype=np.float32)


def publish(store, data, name="m", version="", spec=SPEC):
    with store.draft() as draft:
        draft.write(data)
        return store.publish("t", name, version, draft, spec)


def delete(store):
    with contextlib.suppress(ModelNotFound):  # it was deleted before
        store.delete("t", ModelRef("m"))


def nothing(root):
    """An empty folder, as on the first start."""


def used(root):
    """A store with a version, and one that was deleted."""
    store = Store(root)
    publish(store, A, version="1")
    publish(store, A, name="gone", version="v")
    store.delete("t", ModelRef("gone"))


def damaged(root):
    used(root)
    (root / "t" / "models" / digest_of(A).removeprefix("sha256:")).write_bytes(b"damaged")


def littered(root):
    """As processes leave it that ended between two steps."""
    used(root)
    (root / ".drafts" / "left").write_bytes(b"half")
    (root / "t" / "models" / digest_of(B).removeprefix("sha256:")).write_bytes(B)


CHANGES = {
    "first upload": (nothing, lambda store: publish(store, A)),
    "next version": (used, lambda store: publish(store, B)),
    "the same again": (used, lambda store: publish(store, A)),
    "deleted before": (used, lambda store: publish(store, A, name="gone", version="v")),
    "damaged before": (damaged, lambda store: publish(store, A)),
    "delete": (used, delete),
    "tensor": (used, lambda store: store.put_tensor("t", TENSOR)),
    "tuning": (used, lambda store: store.keep_tuning("t", digest_of(A), "cpu", Tuning(8, 1))),
    "cleaning": (littered, lambda store: store.clean()),
}
"""By name: how the store is made, and what is done to it."""
LAX = ("tuning",)
"""What a power cut may undo after all."""


def seen(root):
    """All that a reader finds in a store. Whole is what can be loaded: bytes that match their digests."""
    store, found = Store(root), {}
    for name in store.names("t"):
        for v in store.versions("t", name):
            model, spec = store.model_bytes("t", v.digest), store.spec_bytes("t", v.spec_digest)
            found[v.name, v.version] = (model, spec, v.size_bytes)
    with contextlib.suppress(TensorNotFound):
        found["tensor"] = store.get_tensor("t", tensor_digest(TENSOR)).tobytes()
    tuning = store.tuning("t", digest_of(A), "cpu")
    return found | ({"tuning": tuning} if tuning else {})


def seen_or_damage(root):
    """Likewise, where bytes may have been damaged before."""
    try:
        return seen(root)
    except DataLoss:
        return "damage"
