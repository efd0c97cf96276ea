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


_NUMBERS = [0, 1, -1, 2, 3, 7, 17, 99, 2**31 - 1, -(2**31), 2**62, 2**63 - 1]
_FLOATS = [0.0, -1.0, 0.5, 1e-30, 1e300, float("nan"), float("inf")]
_TEXTS = ["", "x", "y", "own", "../x", "\x00", "é" * 500, "Gather", "Loop", "ai.onnx.ml", "sha256:" + "0" * 64]


@st.composite
def reshaped(draw, samples, kind):
    """Whole messages with other contents: fields set, cleared, repeated. kind: of protobuf message."""
    message = kind.FromString(draw(st.sampled_from(samples)))
    random = draw(st.randoms(use_true_random=False))
    for _ in range(random.randint(1, 4)):
        inside = _somewhere(message, random)
        if inside.DESCRIPTOR.fields:
            _change(inside, random)
    return message.SerializeToString()


def _somewhere(message, random):
    """The message itself, or one inside."""
    while random.random() < 0.85:
        inside = []
        for field, value in message.ListFields():
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                inside.extend([value] if hasattr(value, "ListFields") else value[:50])
            elif field.message_type is not None and field.message_type.fields_by_name["value"].message_type:
                inside.extend(value[key] for key in value)
        if not inside:
            break
        message = random.choice(inside)
    return message


def _change(message, random):
    field = random.choice(message.DESCRIPTOR.fields)
    held = getattr(message, field.name)
    if random.random() < 0.2:
        message.ClearField(field.name)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = random.choice(_TEXTS)
        if field.message_type.fields_by_name["value"].message_type is not None:
            held[key].SetInParent()
    elif hasattr(held, "add"):  # messages
        if held and random.random() < 0.5:
            held.append(random.choice(held))
        elif held and random.random() < 0.5:
            del held[random.randrange(len(held))]
        else:
            held.add()
    elif field.message_type is not None:
        held.SetInParent()
    elif hasattr(held, "append"):
        if held and random.random() < 0.4:
            del held[random.randrange(len(held)) :]
        else:
            held.append(_value(field, random))
    else:
        setattr(message, field.name, _value(field, random))


def _value(field, random):
    if field.enum_type is not None:
        return random.choice(field.enum_type.values).number
    number = random.choice(_NUMBERS)
    text = random.choice(_TEXTS)
    return {
        field.CPPTYPE_STRING: text.encode() if field.type == field.TYPE_BYTES else text,
        field.CPPTYPE_FLOAT: random.choice(_FLOATS),
        field.CPPTYPE_DOUBLE: random.choice(_FLOATS),
        field.CPPTYPE_BOOL: number > 1,
        field.CPPTYPE_INT64: number,
        field.CPPTYPE_INT32: max(-(2**31), min(number, 2**31 - 1)),
    }.get(field.cpp_type, abs(number) % 2**31)
