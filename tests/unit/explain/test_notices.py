"""What the reader of an instance's numbers is told."""

import numpy as np
import pytest

from assayd.explain.notices import about_subject, doubts
from assayd.types.result import Attribution
from assayd.types.subject import Subject

NAN = np.nan


def said(attribution):
    notices = doubts(attribution, differential=False, clipped=False)
    assert {n.code for n in notices} <= {"LOW_FIT"}
    return [n.message for n in notices]


def fitted(r_squared, rows=None, features=3):
    r_squared = np.array(r_squared)
    return Attribution(np.zeros((len(r_squared), features)), r_squared=r_squared, effective_rows=rows)


@pytest.mark.parametrize(
    ("attribution", "starts"),
    [
        (Attribution(), []),
        (fitted([0.9, 0.2]), []),
        (fitted([0.9, 0.19]), ["the surrogate explains 19%"]),
        (fitted([-0.5]), ["the surrogate explains -50%"]),
        (fitted([NAN, 0.9]), ["every row that weighs anything scores the same for 1 of 2 targets"]),
        (fitted([NAN, NAN]), ["every row that weighs anything scores the same: there is nothing to fit"]),
        (
            fitted([0.1, NAN]),
            ["every row that weighs anything scores the same for 1 of 2 targets", "the surrogate explains 10%"],
        ),
        (fitted([0.9], rows=20.0), []),
        (fitted([0.9], rows=19.4), ["weighed by the kernel all rows count as about 19, few for 4"]),
        (fitted([0.9], rows=20.0, features=4), ["weighed by the kernel all rows count as about 20, few for 5"]),
        (
            fitted([0.1], rows=1.2),
            ["weighed by the kernel all rows count as about 1, few for 4 coefficients", "the surrogate explains 10%"],
        ),
        (fitted([NAN, NAN], rows=0.0), ["the rows that weigh anything don't differ in any feature"]),
    ],
)
def test_a_surrogate_that_says_little_is_told_with_its_reason(attribution, starts):
    found = said(attribution)
    assert len(found) == len(starts)
    for message, start in zip(found, starts, strict=True):
        assert message.startswith(start)


def test_a_baseline_that_equals_the_input_is_noticed():
    x = np.array([1, np.nan])
    assert about_subject(Subject({"x": x}, {"x": np.array([[1, 2]])})) == []
    (notice,) = about_subject(Subject({"x": x, "z": x}, {"x": np.array([[0, 0], x]), "z": x[None]}))
    assert notice.code == "BASELINE_EQUALS_INPUT"
    assert "x, z" in notice.message
    words = np.array(["a"], dtype=object)
    assert len(about_subject(Subject({"s": words}, {"s": words[None]}))) == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], None),
        ([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]], "every derivative of 2 of 3 outputs' elements is 0"),
        ([[0.0, 0.0]], "every derivative is 0"),
    ],
)
def test_outputs_that_are_flat_here_are_told_of(values, says):
    notices = doubts(Attribution(np.array(values)), differential=True, clipped=False)
    assert [n.code for n in notices] == ([] if says is None else ["ZERO_JACOBIAN"])
    assert says is None or notices[0].message.startswith(says)
