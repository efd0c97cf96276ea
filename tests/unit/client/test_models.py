from __future__ import annotations

import numpy as np
import pytest

from assay import GaussianBlur, Group, InvalidArgument, MeanBaseline, Model, ModelSpec, SegmentMean, TensorInfo
from assay.models import decode_spec, encode_spec, is_immutable

DIGEST = "sha256:" + "ab" * 32


def test_a_spec_survives_the_wire_and_its_json():
    spec = ModelSpec(
        layouts={"image": "NCHW"},
        feature_names={"table": ["age", "sex"]},
        baselines={"image": 0.5, "a": MeanBaseline((0,)), "b": GaussianBlur(2.0), "c": SegmentMean(), "d": DIGEST},
        class_labels={"logits": ["no", "yes"]},
        groups=[Group("g", (0, "age", ("image", 3)), kind="categorical")],
    )
    for back in (decode_spec(encode_spec(spec)), ModelSpec.from_json(spec.to_json())):
        assert back.layouts == spec.layouts
        assert back.feature_names == {"table": ("age", "sex")}
        assert back.baselines == spec.baselines
        assert back.class_labels == {"logits": ("no", "yes")}
        assert list(back.groups) == list(spec.groups)


def test_a_baseline_array_survives():
    back = decode_spec(encode_spec(ModelSpec(baselines={"x": np.array([1, 2], np.float32)})))
    np.testing.assert_array_equal(back.baselines["x"], [1, 2])


def test_a_mapping_is_read_as_protobuf_json():
    message = encode_spec({"inputs": [{"name": "image", "layout": "LAYOUT_NHWC"}]})
    assert decode_spec(message).layouts == {"image": "NHWC"}
    assert encode_spec(None) == encode_spec(ModelSpec())


@pytest.mark.parametrize(
    "spec", [{"inputs": 3}, {"unknown": 1}, ModelSpec(layouts={"x": "HW"}), ModelSpec(groups=[Group("g", [0], "odd")])]
)
def test_what_is_no_spec_is_refused(spec):
    with pytest.raises(InvalidArgument):
        encode_spec(spec)


def test_a_model_is_named_by_its_version_or_else_its_digest():
    assert Model("digits", "2", DIGEST).ref == "digits@2"
    assert Model("", "", DIGEST).ref == DIGEST
    info = TensorInfo("x", "float32", (3, -1))
    assert repr(Model("digits", "2", DIGEST, inputs=(info,), outputs=(info,))) == (
        "<Model digits@2 sha256:abababababab: x float32 [3, ?] -> x float32 [3, ?]>"
    )
    assert is_immutable("digits@2")
    assert is_immutable(DIGEST)
    assert not is_immutable("digits")
