"""What the tests on a GPU share: a light network, an image, rows of every kind."""

from __future__ import annotations

import numpy as np

from assayd.engine.backend import Chunk
from assayd.graph.programs import programs_of
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, Pick, PlainRows, RowBlock
from assayd.types.subject import Segments, Subject
from tests.models.light import images, light_model


def network() -> tuple[bytes, str, str]:
    """squeezenet, and the names of its input and output."""
    data = light_model("squeezenet")
    signature = programs_of(data).signature
    return data, signature.inputs[0].name, signature.outputs[0].name


def an_image(name: str, seed: int = 0) -> Subject:
    """With two baselines and a grid of 49 segments."""
    x = images(1, seed)[0]
    cell = np.arange(224) // 32
    ids = (cell[:, None] * 7 + cell).astype(np.int32)[None]
    baselines = np.stack([np.zeros_like(x), np.full_like(x, 0.5)])
    return Subject({name: x}, {name: baselines}, Segments({name: ids}, 49), scale={name: np.ones(())})


def every_kind(name: str, seed: int = 0) -> list[RowBlock]:
    """Fourteen rows."""
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 2, 4).astype(np.int32)
    starts = rng.integers(0, 200, (4, 2))
    return [
        PlainRows(np.array([-1, 0, 1], np.int32)),
        MaskRows(rng.integers(0, 2, (4, 49)).astype(bool), number),
        BoxRows(name, (1, 2), starts, np.full((4, 2), 24), number),
        NudgeRows(np.array([0, 30], np.int32), np.array([0.25, -0.1])),
        MaskRows(rng.random((1, 49)), number[:1]),
    ]


def a_chunk(name: str, output: str, subject: Subject, seed: int = 0) -> Chunk:
    """Those rows, two classes scored."""
    return Chunk(subject, every_kind(name, seed), (Pick(output, np.array([3, 700])),), 14)
