"""Every call needs a right, and says which."""

import pytest

from assay.v1 import explain_service_pb2, model_service_pb2, server_service_pb2
from assayd.api.auth.identity import Identity, Role
from assayd.api.auth.rights import RIGHTS, check_right
from assayd.errors import PermissionDenied

FILES = (explain_service_pb2, model_service_pb2, server_service_pb2)
CALLS = {
    f"{service.name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def who(*roles):
    return Identity("acme", frozenset(map(Role, roles)))


def test_every_call_of_the_contract_has_its_rights():
    assert set(RIGHTS) == CALLS


@pytest.mark.parametrize("rpc", sorted(CALLS))
def test_one_right_of_those_is_enough_and_admin_always(rpc):
    check_right(rpc, who("admin"))
    for role in ("explain", "upload"):
        if role in RIGHTS[rpc]:
            check_right(rpc, who(role))
        else:
            with pytest.raises(PermissionDenied, match=f"needs the right .*{min(RIGHTS[rpc])}") as got:
                check_right(rpc, who(role))
            assert got.value.metadata["right"] == " or ".join(sorted(RIGHTS[rpc]))


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("explain", "ExplainService/Explain", "ModelService/UploadModel"),
        ("upload", "ModelService/UploadModel", "ExplainService/Explain"),
        ("upload", "ModelService/GetModel", "ModelService/DeleteModel"),
    ],
)
def test_rights_are_apart(role, may, may_not):
    check_right(may, who(role))
    with pytest.raises(PermissionDenied):
        check_right(may_not, who(role))


def test_a_call_that_nobody_listed_is_for_admins():
    check_right("NewService/New", who("admin"))
    with pytest.raises(PermissionDenied, match="admin"):
        check_right("NewService/New", who("explain", "upload"))
