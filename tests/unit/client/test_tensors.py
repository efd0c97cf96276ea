from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.errors import Internal, InvalidArgument
from assay.tensors import dtype_name, from_tensor, is_digest, to_tensor
from assay.v1 import tensor_pb2

NUMERIC = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
DTYPES = st.sampled_from(
    [order + name if name not in ("i1", "u1", "?") else name for name in NUMERIC for order in "<>"]
)
ARRAYS = DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))


@given(ARRAYS)
def test_arrays_come_back_bit_by_bit_in_native_order(array):
    tensor = to_tensor(array)
    back = from_tensor(tensor_pb2.Tensor.FromString(tensor.SerializeToString()))
    native = array.astype(array.dtype.newbyteorder("="))
    assert back.dtype == native.dtype
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert back.tobytes() == native.tobytes()
    assert tensor.data == array.astype(array.dtype.newbyteorder("<")).tobytes()


@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=3), elements=st.text()))
def test_strings_come_back(array):
    back = from_tensor(to_tensor(array))
    assert back.dtype == object
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()


def test_numpy_string_arrays_are_strings_too():
    assert from_tensor(to_tensor(np.array([["a", "ü"]]))).tolist() == [["a", "ü"]]


@given(hnp.arrays("f4", (3, 4), elements=st.floats(width=16)))
def test_bfloat16_comes_back(array):
    halved = array.astype(ml_dtypes.bfloat16)
    back = from_tensor(to_tensor(halved))
    assert back.dtype == ml_dtypes.bfloat16
    assert back.tobytes() == halved.tobytes()


def test_bfloat16_is_its_exact_float32_without_ml_dtypes(monkeypatch):
    tensor = to_tensor(np.array([1.5, -2.0], ml_dtypes.bfloat16))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    back = from_tensor(tensor)
    assert back.dtype == np.float32
    assert back.tolist() == [1.5, -2.0]


def test_strides_of_any_kind_are_read_in_order():
    base = np.arange(24, dtype=np.int16).reshape(4, 6)
    for view in (base.T, base[::-2, ::3], np.asfortranarray(base), np.broadcast_to(base[:1], (3, 6))):
        np.testing.assert_array_equal(from_tensor(to_tensor(view)), view)


def test_a_float_is_written_little_endian():
    tensor = to_tensor(np.array([1.0], ">f4"))
    assert tensor.dtype == tensor_pb2.DATA_TYPE_FLOAT
    assert tensor.data == b"\x00\x00\x80\x3f"
    assert list(tensor.shape) == [1]


def test_a_digest_refers_to_a_stored_tensor():
    digest = "sha256:" + "0" * 64
    assert to_tensor(digest) == tensor_pb2.Tensor(digest=digest)
    assert is_digest(digest)
    assert not is_digest("sha256:0")
    assert not is_digest("sha256:" + "G" * 64)


@pytest.mark.parametrize(
    "value", [np.zeros(2, complex), np.array([1, "a"], object), np.zeros(1, "M8[s]"), np.array([b"x"]), [[1], [1, 2]]]
)
def test_what_has_no_place_on_the_wire_is_refused_by_name(value):
    with pytest.raises(InvalidArgument) as caught:
        to_tensor(value, "inputs.x")
    assert caught.value.violations[0][0] == "inputs.x"


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_pb2.Tensor(dtype=1, shape=[2], data=b"\0" * 7),
        tensor_pb2.Tensor(dtype=1, shape=[-1], data=b""),
        tensor_pb2.Tensor(dtype=0, shape=[], data=b"\0"),
        tensor_pb2.Tensor(dtype=8, shape=[2], strings=tensor_pb2.StringData(values=["a"])),
        tensor_pb2.Tensor(dtype=8, shape=[1], data=b"a"),
        tensor_pb2.Tensor(dtype=1, shape=[1], digest="sha256:" + "0" * 64),
    ],
)
def test_a_tensor_that_breaks_the_contract_is_an_internal_error(tensor):
    with pytest.raises(Internal):
        from_tensor(tensor)


def test_every_dtype_of_the_wire_has_a_name():
    assert all(dtype_name(number) for number in tensor_pb2.DataType.values() if number)
    assert dtype_name(99) == ""
