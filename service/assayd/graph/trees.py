"""Tree ensembles: every number that stands for a tree, node, class or target must be that of one.

onnxruntime builds trees by recursion: one of 20,000 levels overflows its stack and ends the process (1.31).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from assayd.errors import InvalidModel
from assayd.graph.mixing import called
from assayd.types.arrays import Ints

_MAX_LEVELS = 4096

_Held: TypeAlias = Mapping[str, AttributeProto]


def check_trees(node: NodeProto) -> None:
    """InvalidModel for a tree ensemble of ai.onnx.ml whose numbers lead nowhere, in a circle, or too deep.

    Its tensors have been checked before.
    """
    if node.domain != "ai.onnx.ml" or not node.op_type.startswith("TreeEnsemble"):
        return
    held = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "TreeEnsemble":
        _check_flat(node, held)
    else:
        _check_numbered(node, held)


def _check_numbered(node: NodeProto, held: _Held) -> None:
    """TreeEnsembleClassifier and TreeEnsembleRegressor: nodes by the numbers of their tree and themselves."""
    trees, nodes = _ints(held, "nodes_treeids"), _ints(held, "nodes_nodeids")
    _same_length(node, held, "nodes_treeids", ("nodes_nodeids", "nodes_featureids", "nodes_truenodeids",
                                               "nodes_falsenodeids", "nodes_modes"))  # fmt: skip
    if not len(trees):
        return
    classifier = node.op_type == "TreeEnsembleClassifier"
    kind = "class" if classifier else "target"
    _same_length(node, held, f"{kind}_treeids", (f"{kind}_nodeids", f"{kind}_ids"))
    branch = np.array([mode != b"LEAF" for mode in held["nodes_modes"].strings])
    index = _Index(trees, nodes)
    ways = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        found = index.positions(trees[branch], _ints(held, name)[branch])
        _must(node, found >= 0, name, "no node of its tree")
        ways.append(found)
    leaves = index.positions(_ints(held, f"{kind}_treeids"), _ints(held, f"{kind}_nodeids"))
    _must(node, leaves >= 0, f"{kind}_nodeids", "no node of its tree")
    count = _classes(held) if classifier else held["n_targets"].i if "n_targets" in held else 1
    ids = _ints(held, f"{kind}_ids")
    _must(node, (ids >= 0) & (ids < max(count, 1)), f"{kind}_ids", f"no {kind} of the {count} there are")
    features = _ints(held, "nodes_featureids")[branch]
    _must(node, (features >= 0) & (features < 2**31), "nodes_featureids", "no column")
    children = np.full((2, len(trees)), -1)
    children[:, branch] = ways
    _check_levels(node, np.unique(trees, return_index=True)[1], children)


def _check_flat(node: NodeProto, held: _Held) -> None:
    """TreeEnsemble, which numbers nodes and leaves by their place."""
    _same_length(node, held, "nodes_featureids", ("nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs",
                                                  "nodes_falseleafs"))  # fmt: skip
    count, targets = len(_ints(held, "nodes_featureids")), _ints(held, "leaf_targetids")
    most = held["n_targets"].i if "n_targets" in held else 1
    _must(node, (targets >= 0) & (targets < max(most, 1)), "leaf_targetids", f"no target of the {most} there are")
    roots = _ints(held, "tree_roots")
    _must(node, (roots >= 0) & (roots < count), "tree_roots", f"no node of the {count} there are")
    features = _ints(held, "nodes_featureids")
    _must(node, (features >= 0) & (features < 2**31), "nodes_featureids", "no column")
    ways = []
    for way in ("true", "false"):
        ids, leaf = _ints(held, f"nodes_{way}nodeids"), _ints(held, f"nodes_{way}leafs") != 0
        known = np.where(leaf, len(targets), count)
        _must(node, (ids >= 0) & (ids < known), f"nodes_{way}nodeids", "no node and no leaf")
        ways.append(np.where(leaf, -1, ids))
    _check_levels(node, roots, np.array(ways).reshape(2, count))


def _check_levels(node: NodeProto, roots: Ints, children: Ints) -> None:
    """children: [2, nodes], -1 for none."""
    level = np.unique(roots)
    for _ in range(_MAX_LEVELS):
        below = np.unique(children[:, level])
        level = below[below >= 0]
        if not len(level):
            return
    raise InvalidModel(
        f"{called(node)} has a tree of more than {_MAX_LEVELS} levels, or one that leads in a circle", field="chunk"
    )


class _Index:
    """Places of nodes, by the numbers that the file gives trees and nodes, which may be any."""

    def __init__(self, trees: Ints, nodes: Ints) -> None:
        self._trees, self._nodes = np.unique(trees), np.unique(nodes)
        keys = self._keys(trees, nodes)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def positions(self, trees: Ints, nodes: Ints) -> Ints:
        """Where these nodes stand; -1 where they don't."""
        keys = self._keys(trees, nodes)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where((keys >= 0) & (self._sorted[at] == keys), self._order[at], -1)

    def _keys(self, trees: Ints, nodes: Ints) -> Ints:
        """One number for both; -1 where one isn't known."""
        tree, node = _rank(self._trees, trees), _rank(self._nodes, nodes)
        return np.where((tree >= 0) & (node >= 0), tree * len(self._nodes) + node, -1)


def _rank(known: Ints, values: Ints) -> Ints:
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[at] == values, at, -1)


def _classes(held: _Held) -> int:
    labels = [held[name] for name in ("classlabels_strings", "classlabels_int64s") if name in held]
    return max((len(label.strings) + len(label.ints) for label in labels), default=0)


def _ints(held: _Held, name: str) -> Ints:
    attribute = held.get(name)
    if attribute is None:
        return np.empty(0, np.int64)
    if attribute.HasField("t"):
        tensor: TensorProto = attribute.t
        if tensor.data_type == TensorProto.STRING:
            return np.empty(0, np.int64)
        return np.asarray(numpy_helper.to_array(tensor)).ravel().astype(np.int64)
    return np.array(attribute.ints, np.int64)


def _same_length(node: NodeProto, held: _Held, first: str, others: Sequence[str]) -> None:
    def length(name: str) -> int:
        return len(held[name].strings) if name in held and held[name].strings else len(_ints(held, name))

    for name in others:
        if length(name) != length(first):
            raise InvalidModel(
                f"{called(node)} has {length(first)} {first} and {length(name)} {name}, which belong together",
                field="chunk",
            )


def _must(node: NodeProto, right: Any, name: str, what: str) -> None:
    wrong = np.flatnonzero(~np.asarray(right, bool))
    if len(wrong):
        raise InvalidModel(f"{called(node)}: entry {wrong[0]} of {name} is {what}", field="chunk")
