"""Which right each call needs."""

from __future__ import annotations

from collections.abc import Mapping

from assayd.api.auth.identity import Identity, Role
from assayd.errors import PermissionDenied

_EXPLAIN, _UPLOAD, _ADMIN = frozenset({Role.EXPLAIN}), frozenset({Role.UPLOAD}), frozenset({Role.ADMIN})

RIGHTS: Mapping[str, frozenset[Role]] = {
    "ExplainService/Explain": _EXPLAIN,
    "ExplainService/ExplainStream": _EXPLAIN,
    "ExplainService/ExplainMany": _EXPLAIN,
    "ExplainService/Predict": _EXPLAIN,
    "ModelService/UploadModel": _UPLOAD,
    "ModelService/GetModel": _EXPLAIN | _UPLOAD,
    "ModelService/ListModels": _EXPLAIN | _UPLOAD,
    "ModelService/PutTensor": _EXPLAIN | _UPLOAD,
    "ModelService/DeleteModel": _ADMIN,
    "ServerService/GetInfo": frozenset(Role),
}
"""One of these is enough, and admin always. A call that isn't listed needs admin."""


def check_right(rpc: str, identity: Identity) -> None:
    """Raises PermissionDenied where the caller may not make this call. rpc: without the package's name."""
    enough = RIGHTS.get(rpc, _ADMIN)
    if not identity.roles & (enough | _ADMIN):
        right = " or ".join(sorted(enough))
        raise PermissionDenied(
            f"{rpc} needs the right {right}, and these credentials hold {', '.join(sorted(identity.roles))}: ask who "
            "runs the server for others",
            metadata={"right": right},
        )
