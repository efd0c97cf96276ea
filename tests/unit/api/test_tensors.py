"""Tensors on the wire: what goes out comes back, and everything else is refused by name."""

import ml_dtypes
import numpy as np
import pytest

from assay.v1 import tensor_pb2 as pb
from assayd.api.codec.tensors import data_type, decode_tensor, encode_tensor
from assayd.errors import DigestMismatch, InvalidTensor

DTYPES = [
    np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
    np.uint64, np.bool_, ml_dtypes.bfloat16,
]  # fmt: skip
DIGEST = "sha256:" + "ab" * 32


def fetch(digest):
    raise AssertionError("nothing is stored")


def decode(tensor, stored=fetch):
    return decode_tensor(tensor, "f", stored)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0, 3), (1, 1, 1, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_comes_back_as_it_went(dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    back = decode(pb.Tensor.FromString(encode_tensor(array).SerializeToString()))
    assert back.dtype == array.dtype
    assert back.shape == shape
    np.testing.assert_array_equal(back, array)
    assert not back.flags.writeable


def test_every_dtype_of_the_contract_but_strings_is_among_them():
    numbers = {data_type(np.dtype(dtype)) for dtype in DTYPES} | {pb.DATA_TYPE_STRING}
    assert numbers == set(pb.DataType.values()) - {pb.DATA_TYPE_UNSPECIFIED}
    assert data_type(None) == pb.DATA_TYPE_BFLOAT16


@pytest.mark.parametrize("array", [np.array(["a", "ü", ""], dtype=object).reshape(3, 1), np.array("x", dtype=object)])
def test_strings_come_back_as_they_went(array):
    back = decode(encode_tensor(array))
    assert back.dtype == object
    assert back.tolist() == array.tolist()


def test_special_numbers_keep_their_bits():
    array = np.array([np.nan, -np.inf, -0.0, 5e-324])
    np.testing.assert_array_equal(decode(encode_tensor(array)).view(np.int64), array.view(np.int64))


def test_bytes_are_little_endian_and_row_major_whatever_the_array_is():
    array = np.array([[1, 2], [3, 4]], ">i2").T
    assert encode_tensor(array.astype("i2")).data == b"\x01\x00\x03\x00\x02\x00\x04\x00"
    assert encode_tensor(np.asfortranarray(np.array([[1, 2], [3, 4]], "i1"))).data == b"\x01\x02\x03\x04"


@pytest.mark.parametrize(
    ("tensor", "field", "message"),
    [
        ({}, "f.dtype", "dtype is missing"),
        ({"data": b"1234"}, "f.dtype", "dtype is missing"),
        ({"dtype": 1, "shape": [1] * 33, "data": b"1234"}, "f.shape", "33 axes"),
        ({"dtype": 1, "shape": [2, -1], "data": b""}, "f.shape", "negative"),
        ({"dtype": 1, "shape": [2], "data": b"1234"}, "f.data", "4 bytes for shape .* of float32, which takes 8"),
        ({"dtype": 1, "shape": [2], "data": b"1234567890"}, "f.data", "10 bytes"),
        ({"dtype": 1, "shape": [2**40, 2**40], "data": b""}, "f.data", "0 bytes"),
        ({"dtype": 1, "shape": [2]}, "f.data", "0 bytes"),
        ({"dtype": 9, "shape": [2], "data": b"\x01\x02"}, "f.data", "0 or 1"),
        ({"dtype": 1, "shape": [1], "strings": pb.StringData(values=["a"])}, "f.strings", "another dtype"),
        ({"dtype": 8, "shape": [2], "strings": pb.StringData(values=["a"])}, "f.strings", "1 strings for shape"),
        ({"dtype": 8, "shape": [1], "data": b"a"}, "f.strings", "0 strings for shape"),
        ({"dtype": 8, "shape": [0], "data": b""}, "f.strings", "0 strings for shape"),
    ],
)
def test_what_is_no_tensor_is_refused_by_name(tensor, field, message):
    with pytest.raises(InvalidTensor, match=message) as got:
        decode(pb.Tensor(**tensor))
    assert got.value.field == field


@pytest.mark.parametrize("dtype", [1, 8])
def test_an_empty_tensor_with_absurd_extents_is_refused_by_name(dtype):
    content = {"strings": pb.StringData()} if dtype == 8 else {"data": b""}
    with pytest.raises(InvalidTensor) as got:
        decode(pb.Tensor(dtype=dtype, shape=[0, 2**62, 2**62], **content))
    assert got.value.field == "f.shape"


STORED = np.array([[1, 2]], np.float32)


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.upper().replace("SHA256", "sha256"), "ab" * 32])
@pytest.mark.parametrize("stated", [{}, {"dtype": 1}, {"shape": [1, 2]}, {"dtype": 1, "shape": [1, 2]}])
def test_a_stored_tensor_is_found_by_its_digest(digest, stated):
    asked = []
    got = decode(pb.Tensor(digest=digest, **stated), lambda d: asked.append(d) or STORED)
    assert got is STORED
    assert asked == [DIGEST]


@pytest.mark.parametrize(
    ("stated", "field"), [({"dtype": 11}, "f.dtype"), ({"shape": [2]}, "f.shape"), ({"shape": [2, 1]}, "f.shape")]
)
def test_a_stored_tensor_must_be_what_it_is_said_to_be(stated, field):
    with pytest.raises(InvalidTensor) as got:
        decode(pb.Tensor(digest=DIGEST, **stated), lambda _: STORED)
    assert got.value.field == field


def test_a_digest_that_is_none_is_refused():
    with pytest.raises(DigestMismatch):
        decode(pb.Tensor(digest="sha256:123"))


def test_an_error_about_a_digest_names_its_field():
    with pytest.raises(DigestMismatch) as got:
        decode(pb.Tensor(digest="sha256:123"))
    assert got.value.field == "f.digest"
