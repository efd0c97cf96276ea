"""Bytes that are nearly right: samples with a few of their bytes changed, moved, doubled or lost."""

from hypothesis import strategies as st

_TELLING = [
    b"\x00", b"\xff", b"\x7f", b"\x80\x80\x80\x80\x00", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01",
    b"\x80" * 9 + b"\x01", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\x0a\x00", b"\x32\x00", b"\xff\xfe",
]  # fmt: skip
"""Long and negative varints, NaN, infinity, empty fields, and what is no text."""


@st.composite
def mutated(draw, samples):
    """samples: bytes, by any means."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 16))
        match draw(st.sampled_from(["flip", "write", "insert", "delete", "double", "splice"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "write":
                telling = draw(st.sampled_from(_TELLING))
                data[at : at + len(telling)] = telling
            case "insert":
                data[at:at] = draw(st.sampled_from(_TELLING))
            case "delete":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case "splice":
                other = draw(st.sampled_from(samples))
                start = draw(st.integers(0, len(other)))
                data[at : at + length] = other[start : start + length]
            case _:
                pass
    return bytes(data)
