"""Named groups of elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from assayd.errors import InvalidRequest, within
from assayd.types.arrays import Array
from assayd.types.request import Group, Groups, Member
from assayd.types.subject import Segments


def groups(
    spec: Groups,
    inputs: Mapping[str, Array],
    feature_names: Mapping[str, tuple[str, ...]],
    spec_groups: tuple[Group, ...],
) -> Segments:
    """One feature a group, in the order of the list; a group may span inputs. Elements in none have id -1.

    `Groups()` means `spec_groups`, the groups of the model's spec.

    Raises `InvalidRequest`: no groups at all (groups), a group without members or with the name of another (groups[i]),
    a member with an unknown input or name, an index out of range, or an element that is in a group already
    (groups[i].members[j]).
    """
    chosen = spec.groups or spec_groups
    if not chosen:
        raise InvalidRequest("no groups are given and the model's spec has none: list some", field="groups")
    index = {name: _index(feature_names.get(name, ())) for name in inputs}
    flat = {name: np.full(x.size, -1, np.int32) for name, x in inputs.items()}
    first: dict[str, int] = {}
    for number, group in enumerate(chosen):
        field = f"groups[{number}]"
        if first.setdefault(group.name, number) != number:
            raise InvalidRequest(
                f"groups {first[group.name]} and {number} are both named {group.name!r}: names must differ", field=field
            )
        if not group.members:
            raise InvalidRequest(f"group {group.name!r} has no members", field=field)
        for position, member in enumerate(group.members):
            with within(f"{field}.members[{position}]"):
                name, element = _place(member, inputs, index)
            taken = int(flat[name][element])
            if taken >= 0:
                raise InvalidRequest(
                    f"element {element} of input {name!r} is in group {chosen[taken].name!r} already",
                    field=f"{field}.members[{position}]",
                )
            flat[name][element] = number
    ids = {
        name: flat[name].reshape(x.shape) if (flat[name] >= 0).any() else np.full((1,) * x.ndim, -1, np.int32)
        for name, x in inputs.items()
    }
    return Segments(ids, len(chosen), tuple(group.name for group in chosen))


def _index(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Where each name stands."""
    index: dict[str, list[int]] = {}
    for element, name in enumerate(names):
        index.setdefault(name, []).append(element)
    return index


def _place(
    member: Member, inputs: Mapping[str, Array], index: Mapping[str, Mapping[str, list[int]]]
) -> tuple[str, int]:
    """The input and row-major position of one member."""
    explained = ", ".join(map(repr, inputs))
    if member.input in inputs:
        among = [member.input]
    elif member.input == "":
        among = list(inputs)
    else:
        raise InvalidRequest(f"input {member.input!r} is not explained; explained: {explained}")
    if isinstance(member.element, str):
        name, element = _named(member.element, among, index)
    elif len(among) == 1:
        name, element = among[0], member.element
    else:
        raise InvalidRequest(f"a member must name its input where several are explained: {explained}")
    if not 0 <= element < inputs[name].size:
        raise InvalidRequest(
            f"element {element} is out of range: input {name!r} has elements 0 to {inputs[name].size - 1}"
        )
    return name, element


def _named(wanted: str, among: Sequence[str], index: Mapping[str, Mapping[str, list[int]]]) -> tuple[str, int]:
    """The only feature of that name in these inputs."""
    hits = [(name, element) for name in among for element in index[name].get(wanted, [])]
    if len(hits) == 1:
        return hits[0]
    why = "several features are" if hits else "there is no feature"
    where = f"in input {among[0]!r}" if len(among) == 1 else f"in the explained inputs {', '.join(map(repr, among))}"
    raise InvalidRequest(f"{why} named {wanted!r} {where}: use an index, or another name")
