"""The comparison that most tests of this room end with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.models.run import feeds, session


@pytest.fixture
def assert_opened() -> Callable[..., None]:
    """Opened with three batches at once equals plain three times, and the signature says what the outputs show."""

    def check(programs, tolerance: float = 1e-6, rows: int = 3, free: int = 6) -> None:
        assert programs.opened is not None, programs.reason
        assert programs.reason == ""
        signature = programs.signature
        together = feeds(signature, rows, free=free)
        plain, opened = session(programs.plain), session(programs.opened)
        got = opened.run(None, together)
        for row in range(rows):
            alone = {}
            for tensor in signature.inputs:
                extent = tensor.batch_extent or 1
                alone[tensor.name] = np.take(
                    together[tensor.name], range(row * extent, (row + 1) * extent), tensor.batch_axis
                )
            for tensor, here, want in zip(signature.outputs, got, plain.run(None, alone), strict=True):
                extent = tensor.batch_extent or 1
                part = np.take(here, range(row * extent, (row + 1) * extent), tensor.batch_axis)
                assert part.shape == want.shape
                instance = np.delete(np.array(want.shape), tensor.batch_axis)
                assert all(a in (None, b) for a, b in zip(tensor.shape, instance, strict=True))
                if want.dtype == object:
                    assert (part == want).all()
                else:
                    np.testing.assert_allclose(part, want, rtol=0, atol=tolerance * np.abs(want).max())

    return check
