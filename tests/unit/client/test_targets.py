from __future__ import annotations

import numpy as np
import pytest

from assay import InvalidArgument, PerInstance, Target
from assay.targets import encode_targets, has_target_axis
from assay.v1 import explain_pb2


def test_none_is_left_to_the_server():
    assert encode_targets(None) == ([], [])


@pytest.mark.parametrize(
    "index", [3, np.int64(3), (3,), Target(index=3), Target(index=[3]), Target(index=np.array([3]))]
)
def test_one_index_in_all_its_spellings(index):
    (target,), per_instance = encode_targets(index)
    assert list(target.index.position) == [3]
    assert target.scale == explain_pb2.SCALE_RAW
    assert per_instance == []
    assert not has_target_axis(index)


def test_a_scalar_output_has_an_empty_position():
    (target,), _ = encode_targets(Target(index=()))
    assert target.WhichOneof("element") == "index"


def test_every_way_to_name_an_element():
    targets, _ = encode_targets(
        [Target("p", label="cat", scale="log"), Target(top_rank=2), Target(weights=[1, 2]), (0, 1), Target("q")]
    )
    assert [t.WhichOneof("element") for t in targets] == ["label", "top_rank", "weights", "index", None]
    assert (targets[0].output, targets[0].label, targets[0].scale) == ("p", "cat", explain_pb2.SCALE_LOG)
    assert targets[2].weights.dtype == 11  # integers become floating, which the wire asks for
    assert list(targets[3].index.position) == [0, 1]


def test_a_list_keeps_the_target_axis_even_of_one():
    assert has_target_axis([3])
    assert has_target_axis((Target(index=3), Target(index=4)))
    assert not has_target_axis((3, 4))
    assert has_target_axis(PerInstance([[1, 2], [3, 4]]))
    assert not has_target_axis(PerInstance([1, 2]))


def test_one_target_for_each_instance():
    targets, instances = encode_targets(PerInstance([1, Target(label="b"), [2, 3]]))
    assert targets == []
    assert [[list(t.index.position) or t.label for t in one.targets] for one in instances] == [[[1]], ["b"], [[2], [3]]]


def test_an_index_for_each_instance_of_one_target():
    for index in (PerInstance([1, 2]), PerInstance(np.array([1, 2])), PerInstance([(1,), (2,)])):
        _, instances = encode_targets([Target("logits", index=index), 0])
        positions = [[list(t.index.position) for t in one.targets] for one in instances]
        assert positions == [[[1], [0]], [[2], [0]]]


@pytest.mark.parametrize(
    "target",
    [
        [],
        "cat",
        1.5,
        Target(index=1, label="a"),
        Target(index=1.5),
        Target(label=3),
        Target(top_rank=-1),
        Target(scale="sqrt"),
        [Target(index=PerInstance([1])), Target(index=PerInstance([1, 2]))],
        Target(index=PerInstance([PerInstance([1])])),
    ],
)
def test_what_is_no_target_is_refused(target):
    with pytest.raises(InvalidArgument) as caught:
        encode_targets(target)
    assert caught.value.violations[0][0].startswith("target")


def test_a_text_is_pointed_to_labels():
    with pytest.raises(InvalidArgument, match=r"Target\(label='cat'\) is a label"):
        encode_targets("cat")
