"""What the reader of an instance's numbers is told."""

import numpy as np

from assayd.explain.notices import about_subject
from assayd.types.subject import Subject


def test_a_baseline_that_equals_the_input_is_noticed():
    x = np.array([1, np.nan])
    assert about_subject(Subject({"x": x}, {"x": np.array([[1, 2]])})) == []
    (notice,) = about_subject(Subject({"x": x, "z": x}, {"x": np.array([[0, 0], x]), "z": x[None]}))
    assert notice.code == "BASELINE_EQUALS_INPUT"
    assert "x, z" in notice.message
    words = np.array(["a"], dtype=object)
    assert len(about_subject(Subject({"s": words}, {"s": words[None]}))) == 1
