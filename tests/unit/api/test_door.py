"""Who comes in, and how many at once."""

import pytest

from assayd.api.auth.bearer import Bearer
from assayd.api.auth.identity import Identity, Role
from assayd.api.call import Call
from assayd.api.door import Door
from assayd.errors import PermissionDenied, TooManyCalls, Unauthenticated

EXPLAIN, UPLOAD = "ExplainService/Explain", "ModelService/UploadModel"
DELETE = "ModelService/DeleteModel"


class Known:
    """Knows tokens that name their tenant."""

    def identify(self, token):
        if token == "bad":
            raise Unauthenticated("no")
        return Identity(token, frozenset({Role.EXPLAIN, Role.UPLOAD}))


def shown(token):
    return [("authorization", f"Bearer {token}")]


def test_a_call_learns_its_tenant_once_it_is_known():
    door, call = Door(Bearer(jwks=Known())), Call(EXPLAIN)
    door.enter(call, shown("acme"))
    assert call.tenant == "acme"
    for metadata in ([], shown("bad")):
        with pytest.raises(Unauthenticated):
            door.enter(Call(EXPLAIN), metadata)
    with pytest.raises(PermissionDenied):
        door.enter(Call(DELETE), shown("acme"))


@pytest.mark.parametrize(("rpc", "what", "limit"), [(EXPLAIN, "calls", 3), (UPLOAD, "uploads", 2)])
def test_one_more_than_may_be_is_refused_and_comes_in_when_one_leaves(rpc, what, limit):
    door = Door(max_calls=3, max_uploads=2, share=0.1)  # nobody is known, so nobody has a share
    inside = [door.enter(Call(rpc), []) for _ in range(limit)]
    for _ in range(3):
        with pytest.raises(TooManyCalls, match=f"{limit} {what} are under way here") as got:
            door.enter(Call(rpc), [])
        assert got.value.metadata == {"what": what, "limit": str(limit)}
    inside[0]()
    door.enter(Call(rpc), [])


@pytest.mark.parametrize(("rpc", "what", "limit"), [(EXPLAIN, "calls", 3), (UPLOAD, "uploads", 1)])
def test_a_tenant_has_its_share_and_leaves_the_rest_to_others(rpc, what, limit):
    door = Door(Bearer(jwks=Known()), max_calls=6, max_uploads=2, share=0.5)
    inside = [door.enter(Call(rpc), shown("acme")) for _ in range(limit)]
    with pytest.raises(TooManyCalls, match=f"{limit} {what} are under way for tenant acme") as got:
        door.enter(Call(rpc), shown("acme"))
    assert got.value.metadata == {"what": what, "limit": str(limit), "tenant": "acme"}
    assert got.value.retry_after_s
    for _ in range(limit):
        door.enter(Call(rpc), shown("other"))
    inside[0]()
    door.enter(Call(rpc), shown("acme"))


def test_a_share_is_one_at_least():
    door = Door(Bearer(jwks=Known()), max_calls=3, max_uploads=1, share=0.01)
    door.enter(Call(UPLOAD), shown("acme"))
    with pytest.raises(TooManyCalls):
        door.enter(Call(EXPLAIN), shown("acme"))


def test_who_is_refused_takes_no_place():
    door = Door(Bearer(jwks=Known()), max_calls=2, max_uploads=1)
    with pytest.raises(Unauthenticated):
        door.enter(Call(EXPLAIN), [])
    door.enter(Call(UPLOAD), shown("acme"))
    with pytest.raises(TooManyCalls):
        door.enter(Call(UPLOAD), shown("acme"))
    door.enter(Call(EXPLAIN), shown("acme"))
