"""JSON put together from parts is what RFC 8785 says of the whole."""

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from assayd.explain.canonical import Canonical, canonical

quick = settings(deadline=None, max_examples=200, database=None)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


@quick
@given(PARTS, PARTS, PARTS)
def test_parts_make_the_whole(plain, wrapped, inner):
    members = plain | {f"w{k}": Canonical(v) for k, v in wrapped.items()} | {"of": {**inner, "c": Canonical(wrapped)}}
    whole = plain | {f"w{k}": v for k, v in wrapped.items()} | {"of": {**inner, "c": wrapped}}
    assert canonical(members) == rfc8785.dumps(whole)


def test_a_text_is_written_once(monkeypatch):
    part = Canonical({"b": 1, "a": [2.0]})
    assert part.text == b'{"a":[2],"b":1}'
    assert part.text is part.text
