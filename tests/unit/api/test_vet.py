"""Every field of a request is looked at: what isn't known or isn't served is refused by its name."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from assay.v1 import explain_pb2, tensor_pb2
from assay.v1.explain_service_pb2 import ExplainRequest
from assay.v1.model_service_pb2 import UploadModelRequest
from assayd.api.codec.vet import vet
from assayd.errors import InvalidRequest

UNKNOWN = b"\xfa\x7f\x01x"  # field 2047, one byte


def field_of(error, message):
    with pytest.raises(error) as got:
        vet(message)
    return got.value.field


def with_unknown(message, bytes_of_it=UNKNOWN):
    message.MergeFromString(bytes_of_it)
    return message


def test_what_is_known_and_served_passes():
    request = ExplainRequest(model="m", seed=3, reproducible=False, return_rows=False)
    request.inputs["x"].dtype = tensor_pb2.DATA_TYPE_FLOAT
    request.targets.add(scale=explain_pb2.SCALE_LOG)
    request.budget.on_exhausted = explain_pb2.ON_BUDGET_FAIL
    vet(request)
    vet(FileDescriptorSet())


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (lambda r: r, None),
        (lambda r: r.budget, "budget"),
        (lambda r: r.inputs["x"], "inputs[x]"),
        (lambda r: r.targets.add(), "targets[0]"),
        (lambda r: r.occlusion.baseline.add().mean, "occlusion.baseline[0].mean"),
        (lambda r: r.instance_targets.add().targets.add().weights, "instance_targets[0].targets[0].weights"),
    ],
)
def test_a_field_that_is_not_known_is_refused_where_it_stands(place, path):
    request = ExplainRequest()
    with_unknown(place(request))
    assert field_of(InvalidRequest, request) == path
    with pytest.raises(InvalidRequest, match=r"field number 2047 of assay\.v1"):
        vet(request)


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (lambda r: setattr(r, "priority", 99), "priority"),
        (lambda r: setattr(r.inputs["x"], "dtype", 14), "inputs[x].dtype"),
        (lambda r: setattr(r.targets.add(), "scale", 9), "targets[0].scale"),
        (lambda r: setattr(r.layouts.add(), "layout", 9), "layouts[0].layout"),
        (lambda r: setattr(r.occlusion, "edge", 9), "occlusion.edge"),
        (lambda r: setattr(r.rows.features.groups.groups.add(), "kind", 9), "rows.features.groups.groups[0].kind"),
    ],
)
def test_an_enum_value_that_is_not_known_is_refused(place, path):
    request = ExplainRequest()
    place(request)
    assert field_of(InvalidRequest, request) == path


def test_specs_are_vetted_with_their_header():
    upload = UploadModelRequest()
    upload.header.spec.inputs.add().layout = 9
    assert field_of(InvalidRequest, upload) == "header.spec.inputs[0].layout"


def test_a_long_name_of_an_input_is_cut():
    request = ExplainRequest()
    with_unknown(request.inputs["x" * 500])
    assert len(field_of(InvalidRequest, request)) < 100


def test_fields_that_were_vetted_before_are_passed_over():
    request = ExplainRequest(model="m", priority=99, keys=["a"])
    with pytest.raises(InvalidRequest, match="Priority"):
        vet(request)
    vet(request, only=("keys", "inputs"))
    request.inputs["x"].dtype = 99
    with pytest.raises(InvalidRequest, match="DataType"):
        vet(request, only=("keys", "inputs"))
