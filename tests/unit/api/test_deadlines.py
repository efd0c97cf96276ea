"""Which deadline a call gets."""

import pytest

from assayd.api.call import Call
from assayd.api.deadlines import Deadlines
from assayd.errors import InvalidRequest


@pytest.mark.parametrize(
    ("rpc", "left"),
    [
        ("ExplainService/Explain", 10.0),
        ("ExplainService/ExplainStream", 10.0),
        ("ExplainService/Predict", 10.0),
        ("ModelService/GetModel", 10.0),
        ("ModelService/PutTensor", 10.0),
        ("ModelService/UploadModel", 60.0),
        ("ExplainService/ExplainMany", None),
    ],
)
def test_who_sets_none_gets_the_servers(rpc, left):
    call = Call(rpc, arrived=100.0)
    held = Deadlines(10.0, 60.0).give(call)
    assert held == call.deadline == (None if left is None else 100.0 + left)


def test_the_default_is_no_longer_than_the_longest():
    assert Deadlines(100.0, 60.0).give(Call("ModelService/GetModel", arrived=0.0)) == 60.0


@pytest.mark.parametrize("rpc", ["ModelService/GetModel", "ModelService/UploadModel", "ExplainService/ExplainMany"])
def test_a_callers_own_is_kept_up_to_the_longest_and_held_by_the_library(rpc):
    call = Call(rpc, arrived=100.0, deadline=160.0)
    assert Deadlines(10.0, 60.0).give(call) is None
    assert call.deadline == 160.0
    with pytest.raises(InvalidRequest, match="the deadline is 61 s away, at most 60 s are kept") as got:
        Deadlines(10.0, 60.0).give(Call(rpc, arrived=100.0, deadline=161.0))
    assert got.value.field == "timeout"
