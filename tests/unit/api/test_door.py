"""Who comes in, and how many at once."""

import pytest

from assayd.api.auth.bearer import Bearer
from assayd.api.auth.identity import Identity, Role
from assayd.api.call import Call
from assayd.api.door import Door
from assayd.errors import PermissionDenied, TooManyCalls, Unauthenticated

EXPLAIN, UPLOAD = "ExplainService/Explain", "ModelService/UploadModel"


class Explainers:
    """Knows one token."""

    def identify(self, token):
        if token != "good":
            raise Unauthenticated("no")
        return Identity("acme", frozenset({Role.EXPLAIN}))


def test_a_call_learns_its_tenant_once_it_is_known():
    door, call = Door(Bearer(jwks=Explainers())), Call(EXPLAIN)
    with door.entered(call, [("authorization", "Bearer good")]):
        assert call.tenant == "acme"
    for shown in ([], [("authorization", "Bearer bad")]):
        with pytest.raises(Unauthenticated), door.entered(Call(EXPLAIN), shown):
            raise AssertionError
    with pytest.raises(PermissionDenied), door.entered(Call(UPLOAD), [("authorization", "Bearer good")]):
        raise AssertionError


@pytest.mark.parametrize(("rpc", "what", "limit"), [(EXPLAIN, "calls", 3), (UPLOAD, "uploads", 2)])
def test_one_more_than_may_be_is_refused_and_comes_in_when_one_leaves(rpc, what, limit):
    door = Door(max_calls=3, max_uploads=2)
    inside = [door.entered(Call(rpc), []) for _ in range(limit)]
    for each in inside:
        each.__enter__()
    for _ in range(3):
        with pytest.raises(TooManyCalls, match=f"{limit} {what} are under way") as got, door.entered(Call(rpc), []):
            raise AssertionError
        assert got.value.metadata == {"what": what, "limit": str(limit)}
    inside[0].__exit__(None, None, None)
    with door.entered(Call(rpc), []):
        pass


def test_what_fails_inside_leaves_too():
    door = Door(max_calls=1)
    for _ in range(3):
        with pytest.raises(KeyError), door.entered(Call(EXPLAIN), []):
            raise KeyError
    with door.entered(Call(EXPLAIN), []):
        pass


def test_who_is_refused_takes_no_place():
    door = Door(Bearer(jwks=Explainers()), max_calls=1)
    with pytest.raises(Unauthenticated), door.entered(Call(EXPLAIN), []):
        raise AssertionError
    with door.entered(Call(EXPLAIN), [("authorization", "Bearer good")]):
        pass
