"""The search for each entry's step: which entries need shorter or longer ones than the ladder's, and their rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assayd.methods.jacobian.ground import Ground
from assayd.methods.jacobian.ladder import Chosen, Ladder
from assayd.methods.jacobian.rungs import epsilons, moves, pooled
from assayd.methods.jacobian.stencil import COARSER, FINER, Stencil, extend
from assayd.types.arrays import Array, Floats, Ids
from assayd.types.result import Scores

ROUNDS = len(FINER)
"""How often more rows are asked for."""

_GOAL = 4.0
"""Errors are small at so many times the accuracy that differences have on a function with derivatives near 1."""


@dataclass(frozen=True, eq=False)
class Asked:
    """More rows: of each stencil's features [n], for the level that they lead to."""

    parts: tuple[tuple[int, Ids, Stencil], ...]

    @property
    def features(self) -> Ids:
        """[rows]."""
        return np.concatenate([np.repeat(at, len(part.steps)) for _, at, part in self.parts]).astype(np.int32)

    @property
    def steps(self) -> Floats:
        """[rows]."""
        return np.concatenate([part.steps.T.reshape(-1) for _, _, part in self.parts])


class Search:
    """By entry [T, F] a level: 0 the ladder alone, n > 0 with n rounds of shorter steps, n < 0 of longer ones.

    An entry's level follows from its own target's scores, so that it is the same for a target alone and among others.
    """

    def __init__(self, ground: Ground, stencil: Stencil, scores: Scores) -> None:
        self._ground, self._base, self._x = ground, stencil, scores.x
        self._moved = moves(stencil, scores)
        self._alive = (self._moved != 0).any(axis=1).T
        self._epsilon = epsilons(scores)
        self._level = np.zeros(self._alive.shape, np.int8)
        self._known: dict[int, tuple[Floats, Array, Array]] = {}
        self._next = self._level
        self.advanced = False

    def estimate(self) -> tuple[Floats, Floats]:
        """Values and errors [T, F] by all scores so far; afterwards `more` knows what they need."""
        levels = [int(level) for level in np.unique(self._level)]
        ladders = {level: self._ladder(level) for level in levels}
        left = np.empty(self._level.shape)
        for level, (at, ladder) in ladders.items():
            own = self._level[:, at] == level
            left[:, at] = np.where(own, ladder.leftover(), left[:, at])
        resolution = (self._epsilon * np.abs(self._x))[:, np.newaxis] / 2
        sigma = pooled(left, self._alive, resolution[:, 0])[:, np.newaxis]
        values, errors = np.empty((2, *left.shape))
        chosen = {}
        for level, (at, ladder) in ladders.items():
            least = self._least(resolution, ladder)
            own = self._level[:, at] == level
            found = ladder.climb(np.maximum(sigma, least), own)
            values[:, at] = np.where(own, found.values, values[:, at])
            errors[:, at] = np.where(own, found.errors, errors[:, at])
            chosen[level] = (at, own, found, least)
        self._next = self._level.copy()
        width = np.abs(self._base.reach).max(axis=0)
        for level, (at, own, found, least) in chosen.items():
            self._judge(level, at, own, found, np.maximum(sigma, least), least, self._small(values, width)[:, at])
        return values, errors

    def more(self) -> Asked | None:
        """Rows for the entries that need them; None where there are none, or no step is left to try.

        Entries whose rows are there already, for another target's sake, go on by those: `advanced` says so.
        """
        before, parts = self._level, []
        for level in sorted({int(n) for n in np.unique(self._next)} - {0}):
            wants = ((self._next == level) & (self._level != level)).any(axis=0)
            known = self._known[level][2] if level in self._known else np.zeros_like(wants)
            at = np.flatnonzero(wants & ~known).astype(np.int32)
            shares = (FINER if level > 0 else COARSER)[abs(level) - 1]
            if at.size:
                stencil, usable = extend(self._ground, self._base, at, shares)
                if usable.any():
                    parts.append((level, at[usable], stencil.where(usable)))
                self._next[:, at[~usable]] = np.where(
                    self._next[:, at[~usable]] == level, self._level[:, at[~usable]], self._next[:, at[~usable]]
                )
        self._level_if_known()
        self.advanced = bool((self._level != before).any())
        return Asked(tuple(parts)) if parts else None

    def learn(self, asked: Asked, rows: Floats) -> None:
        """Take the scores [n, T] of what was asked for."""
        start = 0
        for level, at, stencil in asked.parts:
            points = len(stencil.steps)
            part = rows[start : start + points * len(at)]
            start += len(part)
            if level not in self._known:
                self._known[level] = (
                    np.ones((points, self._ground.count)),
                    np.zeros((self._ground.count, points, len(self._x))),
                    np.zeros(self._ground.count, bool),
                )
            reach, moved, known = self._known[level]
            reach[:, at] = stencil.reach
            moved[at] = part.reshape(len(at), points, -1) - self._x
            known[at] = True
        self._level_if_known()

    def _level_if_known(self) -> None:
        for level, (_, _, known) in self._known.items():
            self._level = np.where((self._next == level) & known, np.int8(level), self._level)

    def _ladder(self, level: int) -> tuple[Ids, Ladder]:
        """The features with entries of a level, and all their steps."""
        at = np.flatnonzero((self._level == level).any(axis=0)).astype(np.int32)
        size = len(self._base.scheme.two_sided)
        pairs = [(self._base.reach[list(rung)][:, at], self._moved[at][:, list(rung)]) for rung in self._base.rungs]
        for n in range(1, abs(level) + 1):
            reach, moved, _ = self._known[n if level > 0 else -n]
            more = [(reach[a : a + size, at], moved[at, a : a + size]) for a in range(0, len(reach), size)]
            pairs = pairs + more if level > 0 else more + pairs
        return at, Ladder(
            tuple(r for r, _ in pairs), tuple(m for _, m in pairs), self._base.scheme.order, max(0, -level)
        )

    def _least(self, resolution: Floats, ladder: Ladder) -> Floats:
        """[T, F]: no score near x is rounded to less."""
        moved = np.abs(ladder.moved[-1]).max(axis=1).T
        least: Floats = np.maximum(resolution, self._epsilon[:, np.newaxis] * moved / 2)
        return least

    def _small(self, values: Floats, width: Floats) -> Floats:
        """[T, F]: errors that nobody minds beside the largest derivative, all in units of the first step."""
        order = self._base.scheme.order
        power = 1 / 2 if order == 1 else 2 / 3
        top = np.where(self._alive, np.abs(values) * width, 0.0).max(axis=1)
        small: Floats = (_GOAL * self._epsilon**power * top)[:, np.newaxis] / width
        return small

    def _judge(
        self, level: int, at: Ids, own: Array, found: Chosen, sigma: Floats, least: Floats, small: Floats
    ) -> None:
        """Note which entries of a level, those of the features `at` that are its own, go on to the next."""
        if abs(level) == ROUNDS:
            return
        own = own & self._alive[:, at]
        longer = own & found.too_short(sigma, small) if level <= 0 else np.zeros_like(own)
        shorter = own & found.too_long(sigma, least, small) if level >= 0 else np.zeros_like(own)
        step = np.where(shorter, level + 1, np.where(longer, level - 1, self._next[:, at]))
        self._next[:, at] = step.astype(np.int8)
