"""Training statistics of tables."""

from __future__ import annotations

from assay.v1 import explain_pb2 as pb
from assayd.api.codec.parts import decode_member
from assayd.api.codec.tensors import Fetch, decode_tensor
from assayd.types.statistics import (
    CategoricalColumn,
    GaussianColumn,
    GaussianTable,
    QuartileColumn,
    QuartileTable,
    Table,
)


def decode_sampling(message: pb.Sampling, path: str, fetch: Fetch) -> Table | None:
    """How LIME draws rows: by a table's statistics, or None for masks. The method checks what they say."""
    kind = message.WhichOneof("kind")
    if kind == "quartile":
        quartile = tuple(
            QuartileColumn(
                c.input,
                int(c.element),
                tuple(c.boundaries),
                tuple(c.frequencies),
                tuple(c.means),
                tuple(c.stds),
                tuple(c.mins),
                tuple(c.maxs),
                c.missing_rate,
            )
            for c in message.quartile.columns
        )
        return QuartileTable(quartile, _categorical(message.quartile, f"{path}.quartile", fetch))
    if kind == "gaussian":
        gaussian = tuple(
            GaussianColumn(c.input, int(c.element), c.mean, c.std, c.missing_rate) for c in message.gaussian.columns
        )
        return GaussianTable(gaussian, _categorical(message.gaussian, f"{path}.gaussian", fetch))
    return None


def _categorical(table: pb.QuartileTable | pb.GaussianTable, path: str, fetch: Fetch) -> tuple[CategoricalColumn, ...]:
    return tuple(
        CategoricalColumn(
            tuple(decode_member(m) for m in c.members),
            decode_tensor(c.levels, f"{path}.categorical[{n}].levels", fetch),
            tuple(c.frequencies),
            c.name,
        )
        for n, c in enumerate(table.categorical)
    )
