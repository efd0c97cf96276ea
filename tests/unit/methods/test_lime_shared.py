"""What instances of the same samples share: made once, and the same bits as if it weren't."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assayd.methods.lime import Lime, basis, kept, masks, ridge
from assayd.types.arrays import Array, Floats
from assayd.types.request import Elements, PerInput
from assayd.types.result import Attribution
from assayd.types.subject import Subject
from tests.lime_cases import answer, fit_gaussian, fit_quartile, row
from tests.reference.cuts import cut

DATA = np.random.default_rng(0).normal(size=(50, 12))
GIVEN = PerInput({"": np.random.default_rng(1).integers(0, 2, (300, 12)).astype(np.bool_)})


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    kept.forget()
    yield
    kept.forget()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often masks were merged, kernels applied, and matrices inverted or unpacked for good."""
    counts: Counter[str] = Counter()
    for module, name in ((masks, "merge"), (basis.Design, "proximity"), (ridge, "inverse"), (ridge, "_AtHand")):

        def counted(*arguments: object, _call: object = getattr(module, name), _name: str = name) -> object:
            counts[_name] += 1
            return _call(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(module, name, counted)
    return counts


def model(rows: Array) -> Floats:
    return np.stack([np.tanh(rows @ np.linspace(-1, 1, rows.shape[1])), rows[:, 0] * rows[:, -1]], axis=1)


def instances(count: int, stream: int = 3, *, keyed: bool = False) -> list[Subject]:
    return [dataclasses.replace(row(x, stream=stream), keyed=keyed) for x in DATA[:count]]


def same_bits(got: Attribution, want: Attribution) -> None:
    for name in ("values", "errors", "intercept", "r_squared"):
        a, b = getattr(got, name), getattr(want, name)
        assert (a is None) == (b is None)
        assert a is None or a.tobytes() == b.tobytes(), name
    assert got.effective_rows == want.effective_rows


METHODS = {
    "drawn": Lime(300, Elements()),
    "pseudo-inverse": Lime(300, Elements(), alpha=0.0),
    "enumerated": Lime(5000, Elements()),
    "given": Lime(features=Elements(), samples=GIVEN),
    "rounds": Lime(2000, Elements(), until_error=0.02),
    "lasso": Lime(100, Elements(), surrogate="lasso", alpha=0.1, bootstrap=2),
    "tree": Lime(100, Elements(), surrogate="tree", bootstrap=2),
    "quartile": Lime(300, sampling=fit_quartile(DATA)),
    "gaussian": Lime(300, sampling=fit_gaussian(DATA)),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_instance_gets_the_same_bits_alone_and_after_others(method: Lime) -> None:
    alone = []
    for subject in instances(4):
        kept.forget()
        alone.append(answer(method, subject, model))
    kept.forget()
    for _ in range(2):
        for subject, want in zip(instances(4), alone, strict=True):
            same_bits(answer(method, subject, model), want)
    own = [answer(method, subject, model) for subject in instances(4, keyed=True)]
    for got, want in zip(own, alone, strict=True):
        same_bits(got, want)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_is_made_while_rows_run_changes_no_bit(method: Lime) -> None:
    for subject in instances(2) * 2:  # the first time as the second, when more is at hand
        want = answer(method, subject, model)
        same_bits(answer(method, subject, model, meanwhile=True), want)
    kept.forget()
    for subject in instances(2, keyed=True):
        want = answer(method, subject, model)
        same_bits(answer(method, subject, model, meanwhile=True), want)


@pytest.mark.parametrize("name", METHODS)
def test_all_that_needs_no_scores_is_made_while_rows_run(name: str, made: Counter[str]) -> None:
    subject = instances(1)[0]
    explanation = METHODS[name].explain(subject)
    plan = next(explanation)
    assert (plan.meanwhile is None) == (name in ("lasso", "tree"))
    if plan.meanwhile is not None:
        assert made["inverse"] == 0
        plan.meanwhile()
        assert made["inverse"] == 1


def test_rows_of_large_samples_are_not_held_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "_READY_CELLS", (300 + 2 * 12) * 12)
    assert next(METHODS["quartile"].explain(instances(1)[0])).meanwhile is not None
    monkeypatch.setattr(ridge, "_READY_CELLS", (300 + 2 * 12) * 12 - 1)
    assert next(METHODS["quartile"].explain(instances(1)[0])).meanwhile is None


@pytest.mark.parametrize("name", ["drawn", "pseudo-inverse", "enumerated", "given"])
def test_instances_of_the_same_samples_are_solved_by_one_factorisation(name: str, made: Counter[str]) -> None:
    for subject in instances(6):
        answer(METHODS[name], subject, model)
    drawn = 0 if name == "enumerated" else 1
    assert made == Counter(merge=drawn, proximity=1, inverse=1, _AtHand=1)


def test_what_differs_in_anything_is_made_for_itself(made: Counter[str]) -> None:
    [subject] = instances(1)
    base = METHODS["drawn"]
    answer(base, subject, model)
    others = [
        (base, instances(1, stream=4)[0]),
        (dataclasses.replace(base, alpha=0.5), subject),
        (dataclasses.replace(base, kernel_width=0.3), subject),
        (dataclasses.replace(base, num_samples=301), subject),
        (base, row(DATA[0][:11], stream=3)),
        (dataclasses.replace(METHODS["given"], num_samples=400), subject),
        (METHODS["given"], subject),
    ]
    for number, (method, other) in enumerate(others, 2):
        answer(method, other, model)
        assert made["inverse"] == number


@pytest.mark.parametrize("name", ["drawn", "quartile"])
def test_instances_with_keys_and_rows_of_tables_leave_nothing_behind(name: str, made: Counter[str]) -> None:
    for subject in instances(3, keyed=name == "drawn"):
        answer(METHODS[name], subject, model)
    assert made["inverse"] == 3
    assert len(kept._memory) == 0


def test_a_sample_that_a_budget_cuts_is_not_kept() -> None:
    [subject] = instances(1)
    cut(METHODS["drawn"], subject, model, 200)
    before = len(kept._memory)
    cut(METHODS["drawn"], subject, model, 210)
    assert len(kept._memory) == before == 2  # the whole sample and its weights


def test_rows_of_large_samples_are_made_again_and_give_the_same(
    made: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "_KEPT_CELLS", 0)
    streamed = [answer(METHODS["drawn"], subject, model) for subject in instances(3)]
    assert made == Counter(merge=1, proximity=1, inverse=1)
    monkeypatch.undo()
    for subject, want in zip(instances(3), streamed, strict=True):
        same_bits(answer(METHODS["drawn"], subject, model), want)


def test_what_is_kept_is_counted_and_bounded() -> None:
    memory, rows, features = kept._memory, 4000, 40
    for stream in range(18):
        sample = masks.draw(features, rows, stream, 1, shared=True)
        for _ in range(2):
            ridge.Ridge(basis.basis_of(sample, 0.25), 1.0).fit(np.ones((rows, 1)))
        assert memory.currsize <= memory.maxsize == 32 * 2**20
    pieces = [value for value in memory.values() if isinstance(value, ridge._AtHand)]
    assert 10 < len(pieces) < 18
    for found in pieces:
        assert found.nbytes == sum(p.x.nbytes + p.pull.nbytes for p in found.pieces) == 2 * rows * features * 8
    assert sum(value.nbytes for value in memory.values()) < memory.currsize


def test_threads_share_and_get_the_same_bits() -> None:
    subjects = instances(20) * 3
    want = [answer(METHODS["drawn"], subject, model) for subject in subjects]
    kept.forget()
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda subject: answer(METHODS["drawn"], subject, model), subjects)
        for got, one in zip(found, want, strict=True):
            same_bits(got, one)


def test_large_samples_are_shared_with_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of a sample holds on to it, though it is counted by itself alone."""
    monkeypatch.setattr(masks, "MOST_SHARED_BYTES", 8 * 300 * 3 - 1)
    for method in (Lime(300, Elements()), Lime(features=Elements(), samples=GIVEN)):
        for subject in instances(2):
            answer(method, subject, model)
    assert not len(kept._memory)


def test_given_masks_are_known_by_a_digest() -> None:
    """Their bytes, as a key, would be counted by nobody."""
    answer(Lime(features=Elements(), samples=GIVEN), instances(1)[0], model)
    assert max(len(part) for key in kept._memory for part in key if isinstance(part, bytes)) == 32


def test_other_given_masks_are_another_sample() -> None:
    one = GIVEN.values[""]
    for keep in (one, one[::-1], one):
        np.testing.assert_array_equal(masks.given(keep, 12, None, 1).samples()[""], keep)
    assert masks.given(one, 12, None, 1) is masks.given(one.copy(), 12, None, 1)
    assert masks.given(one, 12, 7, 1).draws.total == 7
