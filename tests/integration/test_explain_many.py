"""A data set in parts gets the numbers that its instances get in one request, however it is cut."""

import asyncio
import itertools
import time

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess
from tests.models import zoo

WIDE = np.random.default_rng(4).standard_normal((11, 12)).astype(np.float32)
KEYS = [f"customer {n}" for n in range(len(WIDE))]
LIME = assay.Lime(num_samples=200, features=assay.Elements())


@pytest.fixture(scope="module")
def mlp(server):
    with assay.Client(server.address) as client:
        yield client.upload_model(zoo.mlp(features=12), name="many-mlp")


def parts(rows, sizes, keys=None, targets=None):
    """Parts of those sizes, the last of which repeats until the rows are used up."""
    start = 0
    for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
        if start >= len(rows):
            return
        cut = slice(start, start + size)
        yield assay.Part(rows[cut], keys and keys[cut], targets and targets[cut])
        start += size


def answered(events):
    """The instances in their order, and the explanation at the end."""
    *found, end = [event for event in events if not isinstance(event, assay.Progress)]
    assert isinstance(end, assay.Explanation)
    found.sort(key=lambda i: i.position)
    assert [i.position for i in found] == list(range(len(found)))
    return found, end


@pytest.mark.parametrize("sizes", [[11], [1], [4], [2, 5, 1, 3]])
def test_lime_by_keys_is_the_same_however_the_data_set_is_cut(client, mlp, sizes):
    want = client.explain(mlp, WIDE, LIME, target=0, keys=KEYS, seed=7)
    found, _ = answered(client.explain_many(mlp, parts(WIDE, sizes, KEYS), LIME, target=0, seed=7))
    assert [i.key for i in found] == KEYS
    for instance, expected in zip(found, want.instances, strict=True):
        np.testing.assert_allclose(instance.feature_values, expected.feature_values, atol=1e-5)
        np.testing.assert_allclose(instance.feature_errors, expected.feature_errors, atol=1e-5)
    # Other keys draw other masks, so this isn't how close any two of them come.
    others, _ = answered(client.explain_many(mlp, parts(WIDE, sizes, KEYS[::-1]), LIME, target=0, seed=7))
    assert np.abs(others[0].feature_values - want.feature_values[0]).max() > 1e-4


def test_reproducible_data_sets_are_the_same_bit_for_bit(client, mlp):
    settings = dict(target=0, seed=7, reproducible=True)
    want = client.explain(mlp, WIDE, LIME, keys=KEYS, **settings)
    found, _ = answered(client.explain_many(mlp, parts(WIDE, [3], KEYS), LIME, **settings))
    for instance, expected in zip(found, want.instances, strict=True):
        np.testing.assert_array_equal(instance.feature_values, expected.feature_values)
        np.testing.assert_array_equal(instance.scores, expected.scores)


def test_maps_of_images_and_the_usage_of_all_parts(client, digits):
    images = digits["images"][:6]
    method = assay.Occlusion(window=(16, 16))
    want = client.explain("digits", images, method)
    found, end = answered(client.explain_many("digits", parts(images, [1, 2]), method))
    for instance, expected in zip(found, want.instances, strict=True):
        assert instance.targets == expected.targets
        np.testing.assert_allclose(instance.attributions["image"], expected.attributions["image"], atol=1e-5)
    assert end.instances == ()
    assert end.model.ref == want.model.ref
    assert end.usage.rows_asked == want.usage.rows_asked
    assert end.usage.batches > 0
    assert end.completion == "full"


def test_a_bad_row_is_told_of_and_the_rest_goes_on(client, mlp):
    rows = WIDE[:7].copy()
    rows[4, 0] = np.nan
    method = assay.Jacobian()  # which can't step from NaN
    found, _ = answered(client.explain_many(mlp, parts(rows, [3, 2]), method))
    assert [type(i.status).__name__ for i in found] == ["NoneType"] * 4 + ["InvalidArgument"] + ["NoneType"] * 2
    want = client.explain(mlp, WIDE[5:7], method)
    np.testing.assert_allclose(found[6].jacobian["y"]["x"], want.jacobian["y"]["x"][1], atol=1e-4)
    with pytest.raises(assay.InvalidArgument) as caught:
        list(client.explain_many(mlp, parts(rows, [3, 2]), method, on_instance_error="fail"))
    assert caught.value.reason == "NOT_FINITE"


def test_each_instance_has_its_own_target_or_top_score(client, mlp):
    targets = [n % 2 for n in range(len(WIDE))]
    method = assay.Occlusion(features=assay.Elements())
    want = client.explain(mlp, WIDE, method, target=assay.PerInstance(targets))
    found, _ = answered(client.explain_many(mlp, parts(WIDE, [4, 3], targets=targets), method))
    assert [i.targets[0].index for i in found] == [(t,) for t in targets]
    np.testing.assert_allclose([i.feature_values for i in found], want.feature_values, atol=2e-6)
    mixed = [assay.Part(WIDE[:2], targets=[1, assay.Target(top_rank=2)]), WIDE[2:4]]
    found, _ = answered(client.explain_many(mlp, mixed, method))
    top = client.explain(mlp, WIDE[2:4], method)
    np.testing.assert_allclose([i.feature_values for i in found[2:]], top.feature_values, atol=2e-6)


async def test_the_client_for_asyncio_gets_the_same(server, client, mlp):
    async def later():
        for part in parts(WIDE, [2], KEYS):
            await asyncio.sleep(0)
            yield part

    want, _ = answered(client.explain_many(mlp, parts(WIDE, [3], KEYS), LIME, target=0))
    async with assay.AsyncClient(server.address) as waiting:
        events = [event async for event in waiting.explain_many(mlp, later(), LIME, target=0)]
    found, _ = answered(events)
    for instance, expected in zip(found, want, strict=True):
        np.testing.assert_allclose(instance.feature_values, expected.feature_values, atol=1e-5)


def test_a_caller_that_reads_slowly_holds_the_data_set_back(client, mlp):
    made = 0

    def endless():
        nonlocal made
        while True:
            made += 1
            yield WIDE[:1]

    stream = client.explain_many(mlp, endless(), assay.Occlusion(features=assay.Elements()), target=0)
    seen = 0
    for event in stream:
        seen += isinstance(event, assay.Instance)
        assert made <= seen + 4
        if seen == 40:
            break
    stream.close()
    assert client.info().version


def test_what_is_wrong_is_named_as_elsewhere(client, mlp):
    with pytest.raises(assay.NotFound):
        client.explain_many("nobody", [WIDE], LIME)
    with pytest.raises(assay.InvalidArgument) as caught:
        list(client.explain_many(mlp, [WIDE[:1]], assay.Occlusion(window=0), on_instance_error="fail"))
    assert caught.value.violations[0][0].startswith("occlusion.window")
    with pytest.raises(assay.InvalidArgument) as caught:
        list(client.explain_many(mlp, [WIDE[:1], WIDE[:1, :5]], LIME, target=0))
    assert caught.value.violations[0][0] == "inputs[x]"


def test_nothing_at_all_is_a_whole_data_set(client, mlp):
    found, end = answered(client.explain_many(mlp, [], LIME, target=0))
    assert (found, end.usage.rows_run) == ([], 0)


def test_rows_that_came_back_explain_again(client, mlp, cancer):
    first = client.explain(mlp, WIDE[:1], LIME, target=0, return_rows=True, seed=3)
    again = client.explain(mlp, WIDE[:1], assay.Lime(features=assay.Elements(), samples=first.rows[0].keep), target=0)
    np.testing.assert_allclose(again.feature_values, first.feature_values, atol=1e-5)
    table = assay.QuartileTable.fit(cancer["X"])
    method = assay.Lime(sampling=table, num_samples=300)
    first = client.explain("cancer-mlp", cancer["X"][:1], method, target=0, return_rows=True)
    rows = first.rows[0]
    assert rows.samples["X"].shape == (len(rows.scores), 30)
    again = client.explain("cancer-mlp", cancer["X"][:1], assay.Lime(sampling=table, samples=rows.samples), target=0)
    np.testing.assert_allclose(again.feature_values, first.feature_values, atol=1e-5)


def test_a_data_set_that_goes_quiet_is_ended_and_the_server_goes_on(tmp_path):
    def then_nothing():
        yield WIDE[:2]
        time.sleep(3)
        yield WIDE[2:]

    with ServerProcess(tmp_path / "store", "--max-part-s", "1") as server, assay.Client(server.address) as client:
        model = client.upload_model(zoo.mlp(features=12), name="mlp")
        method = assay.Occlusion(features=assay.Elements())
        with pytest.raises(assay.DeadlineExceeded, match="no part came in 1 s, with all answers sent"):
            list(client.explain_many(model, then_nothing(), method))
        assert client.explain(model, WIDE, method).feature_values.shape == (len(WIDE), 12)
