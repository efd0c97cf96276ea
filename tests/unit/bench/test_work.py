"""Work of small graphs, counted by hand."""

import pytest
from onnx import TensorProto

from tests.bench.work import Uncounted, Work, work_of
from tests.models import zoo
from tests.models.zoo import Builder

F = 4
"""Bytes of a float."""


def made(b, last, shape, rank=None):
    out = (TensorProto.FLOAT, rank)
    return b.model({"x": (TensorProto.FLOAT, ("N", *shape))}, {last: out})


def test_a_convolution_with_its_bias_and_what_is_done_to_its_result():
    b = Builder()
    y = b.op("Conv", "x", b.weight(8, 3, 3, 3), b.weight(8), pads=[1, 1, 1, 1], strides=[2, 2])
    y = b.op("Relu", y)
    found = work_of(made(b, y, (3, 10, 10)), {"x": (4, 3, 10, 10)})
    out = 4 * 8 * 5 * 5
    assert found.flops == out * (2 * 27 + 1) + out
    # The Relu reads and writes nothing of its own.
    assert found.moved_bytes == F * (4 * 300 + 8 * 27 + 8 + out + 0)
    assert found.intensity == found.flops / found.moved_bytes


def test_groups_of_a_convolution_see_their_own_channels():
    b = Builder()
    y = b.op("Conv", "x", b.weight(6, 1, 3, 3), group=6)
    assert work_of(made(b, y, (6, 5, 5)), {"x": (1, 6, 5, 5)}).flops == 6 * 3 * 3 * 2 * 9


def test_a_result_that_is_read_twice_is_written_and_read():
    b = Builder()
    c = b.op("Conv", "x", b.weight(2, 2, 1, 1))
    y = b.op("Add", b.op("Relu", c), c)
    found = work_of(made(b, y, (2, 4, 4)), {"x": (1, 2, 4, 4)})
    assert found.flops == 32 * 4 + 32 + 32
    # Conv: x, weights, c; Relu: c and its own; Add: both and y.
    assert found.moved_bytes == F * ((32 + 4 + 32) + (32 + 32) + (32 + 32 + 32))


def test_a_normalisation_after_a_convolution_is_part_of_its_weights_and_else_costs():
    b = Builder()
    stats = [b.weight(2) for _ in range(4)]
    y = b.op("BatchNormalization", b.op("Conv", "x", b.weight(2, 2, 1, 1)), *stats)
    assert work_of(made(b, y, (2, 4, 4)), {"x": (1, 2, 4, 4)}) == Work(32 * 4, F * (32 + 4 + 32))
    b = Builder()
    y = b.op("BatchNormalization", "x", *[b.weight(2) for _ in range(4)])
    assert work_of(made(b, y, (2, 4, 4)), {"x": (1, 2, 4, 4)}) == Work(64, F * (32 + 8 + 32))


def test_products_of_matrices():
    b = Builder()
    y = b.op("Gemm", b.linear("x", 5, 7), b.weight(3, 7), b.weight(3), transB=1)
    found = work_of(made(b, y, (5,)), {"x": (2, 5)})
    assert found.flops == 2 * 7 * (2 * 5) + 2 * 7 + 2 * 3 * (2 * 7 + 1)
    assert found.moved_bytes == F * ((10 + 35 + 14) + (14 + 21 + 3 + 6))


def test_weights_move_once_a_batch_and_the_rest_with_its_rows():
    program = zoo.mlp(8, 16, 3)
    one, ten = (work_of(program, {"x": (n, 8)}) for n in (1, 10))
    assert ten.flops == 10 * one.flops
    weights = F * (8 * 16 + 16 * 3)
    assert ten.moved_bytes - weights == pytest.approx(10 * (one.moved_bytes - weights))


def test_pooling_softmax_and_what_only_moves():
    b = Builder()
    y = b.op("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])
    y = b.op("GlobalAveragePool", b.op("Concat", y, y, axis=1))
    y = b.op("Softmax", b.op("Flatten", y))
    found = work_of(made(b, y, (3, 4, 4)), {"x": (1, 3, 4, 4)})
    assert found.flops == 12 * 4 + 24 + 6 * 4
    assert found.moved_bytes == F * ((48 + 12) + (12 + 12 + 24) + (24 + 6) + (6 + 6))


def test_what_has_no_count_is_said():
    with pytest.raises(Uncounted, match="TreeEnsemble"):
        work_of(zoo.forest(), {"x": (1, 8)})
    with pytest.raises(ValueError, match="open"):
        work_of(zoo.mlp(), {})
