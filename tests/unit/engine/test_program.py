"""Buffers between rows and a session, with a session made of Python."""

import numpy as np
import pytest

from assayd.engine.program import Buffers, Program
from assayd.errors import ModelFailed
from assayd.types.model import Signature, TensorSignature


def tensor(name, shape, axis=0, extent=None, dtype=np.float32):
    return TensorSignature(name, np.dtype(dtype), shape, axis, extent)


class Session:
    """Answers with `f` of what it is fed, and remembers it."""

    def __init__(self, f):
        self.f = f
        self.fed = []

    def run(self, feeds):
        self.fed.append({name: x.copy() for name, x in feeds.items()})
        return {"y": self.f(**feeds)}


def program(f, inputs, output, batched=True):
    return Program(Session(f), Signature(tuple(inputs), (output,)), batched)


def fill(buffers, rows, **values):
    views = buffers.views(rows)
    for name, value in values.items():
        assert views[name].shape == np.shape(value)
        views[name][...] = value


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_session_reads_contiguous_tensors_with_the_batch_where_the_model_has_it(axis):
    p = program(lambda x: x * 2, [tensor("x", (2, 3), axis)], tensor("y", (2, 3), axis))
    rows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    buffers = p.buffers({"x": (2, 3)}, 4)
    fill(buffers, 4, x=rows)
    (feed,) = buffers.feeds(4).values()
    assert feed.flags.c_contiguous
    np.testing.assert_array_equal(p.run(buffers, 4)["y"], rows * 2)
    np.testing.assert_array_equal(p.session.fed[0]["x"], np.moveaxis(rows, 0, axis))


@pytest.mark.parametrize("axis", [0, 1])
def test_buffers_are_reused_for_any_number_of_rows_up_to_their_room(axis):
    p = program(lambda x: x.copy(), [tensor("x", (3,), axis)], tensor("y", (3,), axis))
    buffers = p.buffers({"x": (3,)}, 5)
    where = {x.__array_interface__["data"][0] for rows in (5, 1, 3) for x in buffers.feeds(rows).values()}
    assert len(where) == 1
    for rows in (5, 1, 3, 5):
        want = np.random.default_rng(rows).random((rows, 3), np.float32)
        fill(buffers, rows, x=want)
        np.testing.assert_array_equal(p.run(buffers, rows)["y"], want)


def test_a_scalar_beside_the_batch_is_fed_as_a_scalar():
    inputs = [tensor("x", (2,)), tensor("t", (), None)]
    p = program(lambda x, t: x * t, inputs, tensor("y", (2,)), batched=False)
    buffers = p.buffers({"x": (2,), "t": ()}, 8)
    fill(buffers, 1, x=[[1, 2]], t=[3])
    np.testing.assert_array_equal(p.run(buffers, 1)["y"], [[3, 6]])
    assert p.session.fed[0]["t"].shape == ()


@pytest.mark.parametrize(("axis", "out_axis"), [(0, 0), (1, 0), (0, 1)])
def test_a_fixed_batch_is_filled_with_copies_of_one_row(axis, out_axis):
    inputs = [tensor("x", (3,), axis, 4)]
    p = program(
        lambda x: np.moveaxis(np.moveaxis(x, axis, 0) * 2, 0, out_axis),
        inputs,
        tensor("y", (3,), out_axis, 4),
        batched=False,
    )
    buffers = p.buffers({"x": (3,)}, 99)
    for row in ([1, 2, 3], [4, 5, 6]):
        fill(buffers, 1, x=[row])
        np.testing.assert_array_equal(p.run(buffers, 1)["y"], [np.array(row) * 2])
        np.testing.assert_array_equal(np.moveaxis(p.session.fed[-1]["x"], axis, 0), [row] * 4)


def test_strings_pass_as_objects():
    p = program(lambda s: s, [tensor("s", (2,), dtype=object)], tensor("y", (2,), dtype=object))
    rows = np.array([["a", "b"], ["c", ""]], dtype=object)
    buffers = p.buffers({"s": (2,)}, 3)
    fill(buffers, 2, s=rows)
    got = p.run(buffers, 2)["y"]
    assert got.dtype == object
    np.testing.assert_array_equal(got, rows)


def test_an_output_without_a_batch_axis_is_one_row_of_a_model_that_runs_row_by_row():
    p = program(lambda x: x.sum(axis=0), [tensor("x", (3,), 0, 1)], tensor("y", (3,), None), batched=False)
    buffers = p.buffers({"x": (3,)}, 1)
    fill(buffers, 1, x=[[1, 2, 3]])
    np.testing.assert_array_equal(p.run(buffers, 1)["y"], [[1, 2, 3]])


@pytest.mark.parametrize("shape", [(3,), (), (2, 3)])
def test_an_output_that_does_not_follow_the_rows_is_refused(shape):
    p = program(lambda x: np.zeros(shape, np.float32), [tensor("x", (3,))], tensor("y", (3,)))
    buffers = p.buffers({"x": (3,)}, 4)
    with pytest.raises(ModelFailed, match=r"'y' has shape .* for 4 rows"):
        p.run(buffers, 4)


def test_a_program_for_one_row_keeps_room_for_one():
    signature = Signature((tensor("x", (1000,)),), ())
    assert Program(None, signature, batched=False).buffers({"x": (1000,)}, 64).feeds(64)["x"].shape == (1, 1000)
    assert Buffers(signature, {"x": (1000,)}, 64, True).feeds(64)["x"].shape == (64, 1000)
