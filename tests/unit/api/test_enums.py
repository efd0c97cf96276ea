"""Enum values and the domain's words."""

import pytest

from assay.v1 import error_reason_pb2, explain_pb2, explain_service_pb2, model_service_pb2, tensor_pb2
from assayd.api.codec.enums import prefix, value_name, word

ENUMS = [
    enum
    for module in (explain_pb2, explain_service_pb2, model_service_pb2, tensor_pb2, error_reason_pb2)
    for enum in module.DESCRIPTOR.enum_types_by_name.values()
]


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.name)
def test_every_value_has_a_word_and_comes_back(enum):
    for value in enum.values:
        assert value.name.startswith(prefix(enum))
        said = word(enum, value.number)
        if value.number == 0:
            assert said is None
        else:
            assert said == said.lower()
            assert value_name(enum, said) == value.name


def test_words_by_example():
    assert word(model_service_pb2.GroupKind.DESCRIPTOR, model_service_pb2.GROUP_KIND_ONE_HOT) == "one_hot"
    assert word(explain_pb2.EdgeRule.DESCRIPTOR, explain_pb2.EDGE_RULE_VALID) == "valid"
    assert value_name(explain_pb2.WarningCode.DESCRIPTOR, "ROW_BY_ROW") == "WARNING_CODE_ROW_BY_ROW"
