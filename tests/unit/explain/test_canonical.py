"""JSON put together from parts is what RFC 8785 says of the whole."""

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from assayd.explain.canonical import Canonical, canonical, text

quick = settings(deadline=None, max_examples=200, database=None)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.text('\x00\x1f\x7f"\\/ e\n')


def values(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )


PARTS = st.dictionaries(st.text(max_size=4), values(WHOLE | FLOATS), max_size=4)


@quick
@given(values(WHOLE) | values(WHOLE | FLOATS))
def test_a_text_is_what_the_rule_says(value):
    assert text(value) == rfc8785.dumps(value)


@quick
@given(PARTS, PARTS, PARTS)
def test_parts_make_the_whole(plain, wrapped, inner):
    within = canonical({**inner, "c": Canonical(wrapped)})
    members = plain | {f"w{k}": Canonical(v) for k, v in wrapped.items()} | {"of": within}
    whole = plain | {f"w{k}": v for k, v in wrapped.items()} | {"of": {**inner, "c": wrapped}}
    assert canonical(members) == rfc8785.dumps(whole)


def test_names_have_the_order_of_their_utf_16():
    names = {"\U0001f600": 1, "￰": 2, "a": 3}
    assert canonical(names) == text(names) == '{"a":3,"\U0001f600":1,"￰":2}'.encode()


@pytest.mark.parametrize("value", [2**53, -(2**53), [2**60], {"a": float("nan")}, {1: "a"}, "\ud800", ["\udfff"]])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        text(value)


def test_a_text_is_written_once():
    part = Canonical({"b": 1, "a": [2.0]})
    assert part.text == b'{"a":[2],"b":1}'
    assert part.text is part.text
