"""What surrogates see of samples: the same numbers however they are cut, kept, or shared with other instances."""

from __future__ import annotations

import numpy as np
import pytest

from assayd.methods.lime import masks, tables
from assayd.methods.lime.columns import bind
from assayd.methods.lime.sample import Design, Sample
from assayd.methods.lime.variables import variables
from assayd.types.arrays import Array
from assayd.types.statistics import Table
from assayd.types.subject import Subject
from tests.lime_cases import fit_gaussian, fit_quartile, row

ROWS, FEATURES = 1000, 30
DATA = np.random.default_rng(3).normal(size=(200, FEATURES))
TABLES = {"quartile": fit_quartile(DATA), "gaussian": fit_gaussian(DATA)}


def of_table(table: Table, x: Array = DATA[0]) -> tables.TableSample:
    subject = row(x)
    return tables.draw(bind(table, subject), subject, ROWS)


def by_hand(kind: str, rows: Array, x: Array) -> Array:
    """What the paper's code makes of a row: whether numpy puts it in x's bin; or the standardised value."""
    if kind == "gaussian":
        return (rows - DATA.mean(0)) / DATA.std(0)
    edges = [column.boundaries for column in TABLES["quartile"].columns]  # type: ignore[union-attr]
    z = [np.searchsorted(e, rows[:, j]) == np.searchsorted(e, x[j]) for j, e in enumerate(edges)]
    return np.stack(z, axis=1)


@pytest.mark.parametrize("kind", TABLES)
def test_variables_are_those_of_the_rows_whatever_was_drawn_before_and_after(kind: str) -> None:
    samples = [of_table(TABLES[kind], x) for x in DATA[:3]]
    designs = [Design(sample) for sample in samples]
    for x, sample, design in zip(DATA, samples, designs, strict=False):
        [rows] = sample.values
        np.testing.assert_array_equal(rows[0], x)
        np.testing.assert_allclose(design.whole(), by_hand(kind, rows, x), atol=1e-12)
        np.testing.assert_allclose(design.row(0), sample.z_x, atol=0)
        np.testing.assert_array_equal(sample.cut(40).z(3, 40), design.whole()[3:40])


@pytest.mark.parametrize("sample", [of_table(t) for t in TABLES.values()] + [masks.draw(FEATURES, ROWS, 7, 1)])
def test_a_design_has_all_rows_in_pieces(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    want = sample.z(0, ROWS)
    monkeypatch.setattr("assayd.methods.lime.sample._NARROW_CELLS", 290 * FEATURES)
    for cells in (1 << 21, 700 * FEATURES, 7 * FEATURES):  # kept; made again, several pieces a block; one
        monkeypatch.setattr("assayd.methods.lime.sample.BLOCK_CELLS", cells)
        design = Design(sample)
        for _ in range(2):
            seen = [(rows, z) for rows, z in design]
            assert all(z.dtype == np.float64 and len(z) == rows.stop - rows.start for rows, z in seen)
            np.testing.assert_array_equal(np.concatenate([np.arange(ROWS)[rows] for rows, _ in seen]), np.arange(ROWS))
            np.testing.assert_array_equal(np.concatenate([z for _, z in seen]), want)
        assert len(seen) > 3
        np.testing.assert_array_equal(design.row(500), want[500])


@pytest.mark.parametrize("kind", TABLES)
def test_variables_that_were_kept_are_those_made_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hand = of_table(TABLES[kind])
    assert at_hand.made is not None
    monkeypatch.setattr(tables, "_KEPT_CELLS", 0)
    again = of_table(TABLES[kind])
    assert again.made is None
    for a, b in ((0, ROWS), (0, 1), (5, 17)):
        assert at_hand.z(a, b).tobytes() == again.z(a, b).tobytes()


def test_a_bin_has_its_upper_boundary_and_missing_values_are_alike() -> None:
    edge = TABLES["quartile"].columns[0].boundaries[1]  # type: ignore[union-attr]
    above = float(np.nextafter(edge, np.inf))
    for x, same in ((edge, [1, 0, 0]), (above, [0, 1, 0]), (np.nan, [0, 0, 1])):
        at = DATA[0].copy()
        at[0] = x
        subject = Subject({"x": at}, {"x": at[None]})
        columns = bind(TABLES["quartile"], subject)
        given = np.tile(DATA[0], (3, 1))
        given[:, 0] = edge, above, np.nan
        z = variables(columns, subject, [given], None)
        np.testing.assert_array_equal(z[:, 0], np.array(same, np.bool_))
