"""The benchmark's machinery, end to end on something tiny; nothing is said about time."""

import json

import numpy as np

import assay
from tests.bench import load
from tests.bench.__main__ import Run, parsed
from tests.bench.load import Ask, ClosedLoop, OpenLoop
from tests.models import zoo


def test_a_workload_goes_through_and_its_answer_is_that_of_the_plain_loop(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--quick", "--pairs", "1", "--models", "mlp", "--parts", "pairs", "--only", "ablation"]
    Run(parsed([*arguments, "--out", str(out)])).measure()
    held = json.loads((out / "report.json").read_text())
    figures = {figure["what"]: figure for figure in held["figures"]}
    assert figures["speed-up over numpy: batches"]["value"] > 0
    assert figures["efficiency"]["value"] > 0
    assert figures["peak memory, workers"]["value"] > 1
    assert not [figure for figure in held["figures"] if figure["failed"]]
    assert held["raw_rates"]["mlp"]
    assert "efficiency" in capsys.readouterr().out
    assert "## mlp: ablation, 10 groups" in (out / "report.md").read_text()


def test_two_generators_beside_each_other_see_every_answer(server, client):
    model = client.upload_model(zoo.mlp(), name="bench-load")
    x = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    single = Ask(server.address, model.ref, "x", x, assay.Occlusion(features=assay.Elements()))
    several = Ask(server.address, model.ref, "x", x, assay.Lime(features=assay.Elements()), count=8, stream=True)
    arrivals = OpenLoop(rate=20, seconds=1)
    one_by_one, streamed = load.run((single, arrivals), (several, ClosedLoop(callers=2, calls=2)))
    assert [call.failed for call in (*one_by_one.calls, *streamed.calls)] == [""] * (len(arrivals.starts()) + 4)
    assert [call.intended for call in one_by_one.calls] == arrivals.starts().tolist()
    assert all(call.rows >= 8 and call.ended > call.sent >= call.intended for call in one_by_one.calls)
    assert sorted(call.caller for call in streamed.calls) == [0, 0, 1, 1]
    assert all(call.sent < call.first <= call.ended for call in streamed.calls)


def test_a_load_that_is_refused_is_told_and_not_timed(server, client):
    model = client.upload_model(zoo.mlp(), name="bench-load")
    x = np.zeros((1, 3), np.float32)
    (found,) = load.run((Ask(server.address, model.ref, "x", x, assay.Occlusion()), ClosedLoop(1, calls=1)))
    assert found.calls[0].failed.startswith("InvalidArgument")
    assert found.latencies() == [np.inf]
