"""The client for asyncio gets the numbers that the client for threads gets."""

import asyncio

import numpy as np
import pytest

import assay

METHOD = assay.Occlusion(window=(16, 16), stride=(16, 16))


async def test_ten_instances_at_once(server, client, digits):
    images = digits["images"][:10]
    want = client.explain("digits", images, METHOD)
    async with assay.AsyncClient(server.address) as waiting:
        found = await asyncio.gather(
            *(waiting.explain("digits", images[n : n + 1], METHOD, request_id=f"wait-{n}") for n in range(10))
        )
        events = [event async for event in waiting.explain_stream("digits", images, METHOD)]
    assert [ex.request_id for ex in found] == [f"wait-{n}" for n in range(10)]
    for n, ex in enumerate(found):
        np.testing.assert_allclose(ex.feature_values[0], want.feature_values[n], atol=1e-5)
        np.testing.assert_allclose(ex.attributions["image"][0], want.attributions["image"][n], atol=1e-5)
        assert ex.targets[0] == want.targets[n]
    np.testing.assert_allclose(events[-1].feature_values, want.feature_values, atol=1e-5)


async def test_errors_are_those_of_the_server(server):
    async with assay.AsyncClient(server.address) as client:
        with pytest.raises(assay.NotFound) as caught:
            await client.explain("nobody", {"x": np.zeros((1, 2), np.float32)}, METHOD, request_id="mine")
    assert (caught.value.reason, caught.value.request_id) == ("MODEL_NOT_FOUND", "mine")
