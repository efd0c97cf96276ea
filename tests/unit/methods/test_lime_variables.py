"""What surrogates see of samples: the same numbers however they are cut, kept, or shared with other instances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assayd.methods.lime import Lime, distributions, masks, tables
from assayd.methods.lime.columns import bind
from assayd.methods.lime.sample import Design, Sample
from assayd.methods.lime.variables import variables
from assayd.types.arrays import Array
from assayd.types.request import PerInput
from assayd.types.statistics import QuartileColumn, QuartileTable, Table
from assayd.types.subject import Subject
from tests.lime_cases import answer, fit_gaussian, fit_quartile, row

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


@pytest.mark.parametrize("kind", TABLES)
def test_samples_of_an_answer_give_its_very_bits_again(kind: str) -> None:
    def model(rows: Array) -> Array:
        return np.tanh(rows @ np.linspace(-1, 1, FEATURES))[:, np.newaxis]

    drawn = answer(Lime(num_samples=300, sampling=TABLES[kind]), row(DATA[0]), model)
    assert drawn.drawn is not None
    samples = PerInput(drawn.drawn().samples)
    again = answer(Lime(num_samples=300, sampling=TABLES[kind], samples=samples), row(DATA[0]), model)
    assert again.values.tobytes() == drawn.values.tobytes()
    assert again.errors is not None
    assert drawn.errors is not None
    assert again.errors.tobytes() == drawn.errors.tobytes()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_place_among_many_edges_is_found_as_among_few(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.integers(0, 9, (4, 300)), axis=1) / 2.0
    edges[1, 200:] = np.inf
    values = np.append(rng.integers(-1, 10, (200, 4)) / 2.0, [[np.nan] * 4, [np.inf] * 4, [-np.inf] * 4], axis=0)
    found = distributions.place(values, edges, side=side)
    assert found.dtype == np.uint16
    monkeypatch.setattr(distributions, "FEW_EDGES", 300)
    np.testing.assert_array_equal(found, distributions.place(values, edges, side=side))


def test_little_of_a_kept_sample_is_copied_however_many_its_features() -> None:
    data = np.random.default_rng(1).normal(size=(50, 200))
    subject = row(data[0])
    sample = tables.draw(bind(fit_gaussian(data), subject), subject, ROWS)
    assert sample.made is not None
    design = Design(sample)
    shared = sum(len(z) for _, z in design if np.shares_memory(z, sample.made[0]))
    assert shared > 0.6 * ROWS
    np.testing.assert_array_equal(design.whole(), sample.z(0, ROWS))
    for number in (0, 1, 326, 327, 328, 999):
        np.testing.assert_array_equal(design.row(number), design.whole()[number])


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


def test_tables_of_many_bins_count_as_more_to_draw() -> None:
    def table(bins: int) -> QuartileTable:
        edges = tuple(np.linspace(-1, 1, bins - 1))
        each = (0.1,) * bins
        return QuartileTable((QuartileColumn("x", 0, edges, (1 / bins,) * bins, each, each, each, each),))

    few, many = (Lime(num_samples=100, sampling=table(bins)).cells(30) for bins in (9, 10))
    assert (few, many) == (3000, 12_000)
    assert Lime(num_samples=100, sampling=TABLES["gaussian"]).cells(30) == 3000
