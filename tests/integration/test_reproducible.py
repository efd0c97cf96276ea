"""The same bits alone, in company, in another sharding, under load; or a refusal."""

import concurrent.futures
import contextlib
import json
import shutil
import threading

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess
from tests.models import light, zoo

X = np.random.default_rng(7).standard_normal((900, 8)).astype(np.float32)
PLACE = 731
METHODS = {
    "occlusion": assay.Occlusion(features=assay.Elements(), baseline=X[:3]),
    "lime": assay.Lime(num_samples=100, features=assay.Elements()),
    "gaussian": assay.Lime(num_samples=100, sampling=assay.GaussianTable.fit(X)),
    "jacobian": assay.Jacobian(),
    "rows": assay.Rows(keep=np.random.default_rng(0).random((9, 8)), features=assay.Elements()),
}


@pytest.fixture(scope="module")
def mlp(server):
    with assay.Client(server.address) as client:
        yield client.upload_model(zoo.mlp(), name="steady")


@contextlib.contextmanager
def load(address, model):
    """Other callers of the same model, all the while."""
    ended = threading.Event()

    def work(seed):
        with assay.Client(address) as client:
            rows = np.random.default_rng(seed).standard_normal((5, 8)).astype(np.float32)
            while not ended.is_set():
                client.explain(model, rows, METHODS["lime"], reproducible=bool(seed % 2), timeout=60)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(work, seed) for seed in range(3)]
        try:
            yield
        finally:
            ended.set()
        for job in jobs:
            job.result()


def bits(instance):
    """Every number of an instance."""
    jacobian = [a for o in (instance.jacobian, instance.jacobian_errors) for b in o.values() for a in b.values()]
    rows = [instance.rows.scores] if instance.rows is not None else []
    arrays = [instance.scores, instance.baseline_scores, instance.feature_values, instance.feature_errors]
    return [a.tobytes() for a in (*arrays, *jacobian, *rows, *instance.attributions.values()) if a is not None]


@pytest.mark.parametrize("name", METHODS)
def test_x_alone_is_x_at_position_731_is_x_in_another_sharding_under_load(server, client, mlp, name):
    method = METHODS[name]
    ask = lambda rows, keys: client.explain(  # noqa: E731
        mlp, rows, method, target=None if name == "jacobian" else 1, keys=keys, reproducible=True, timeout=60
    )
    keys = [f"applicant {n}" for n in range(len(X))]
    alone = bits(ask(X[PLACE : PLACE + 1], keys[PLACE : PLACE + 1]).instances[0])
    assert alone
    near = slice(PLACE - 11, PLACE + 3)
    with load(server.address, mlp):
        assert bits(ask(X[near], keys[near]).instances[11]) == alone
        order = np.random.default_rng(1).permutation(np.arange(PLACE - 5, PLACE + 5))
        shuffled = ask(X[order], [keys[n] for n in order])
        assert bits(shuffled.instances[int(np.flatnonzero(order == PLACE)[0])]) == alone
    if name == "lime":
        assert bits(ask(X, keys).instances[PLACE]) == alone


def test_without_it_the_numbers_agree_as_closely_as_rounding_lets_them(server, client, mlp):
    keys = [f"applicant {n}" for n in range(len(X))]
    near = slice(PLACE - 31, PLACE + 3)
    for method in (METHODS["lime"], METHODS["gaussian"]):
        alone = client.explain(mlp, X[PLACE : PLACE + 1], method, target=1, keys=keys[PLACE : PLACE + 1])
        with load(server.address, mlp):
            among = client.explain(mlp, X[near], method, target=1, keys=keys[near], timeout=120)
        np.testing.assert_allclose(among.feature_values[31], alone.feature_values[0], atol=5e-6)


@pytest.mark.parametrize("model", ["cnn", "transformer", "lstm", "forest", "row by row"])
def test_models_of_many_kinds(client, model):
    made = {
        "cnn": lambda: light.light_model("squeezenet"),
        "transformer": zoo.transformer,
        "lstm": zoo.lstm_batch_first,
        "forest": zoo.forest,
        "row by row": zoo.batch_mean,
    }[model]()
    name = client.upload_model(made, name=f"steady-{model.replace(' ', '-')}")
    (info,) = name.inputs
    shape = [7 if n < 0 else n for n in info.shape]
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(info.dtype)
    target = assay.Target(output=next(o.name for o in name.outputs if o.dtype.startswith("float")), top_rank=1)
    method = assay.Lime(num_samples=60 + int(np.prod(shape)), features=assay.Elements())
    if np.prod(shape) > 1000:
        method = assay.Lime(num_samples=40, features=assay.Grid(3, 3))
    ask = lambda rows: client.explain(name, rows, method, target=target, reproducible=True, timeout=120)  # noqa: E731
    together = ask(x)
    for n in range(4):
        assert bits(ask(x[n : n + 1]).instances[0]) == bits(together.instances[n])
    codes = {w.code for w in together.warnings}
    assert ("row_by_row" in codes) == (model == "row by row")


def test_servers_whose_sweeps_chose_differently_give_the_same_bits(tmp_path):
    """What a sweep finds changes with the machine's moods: it is planted here, another one in each copy of a store."""
    made = {"cnn": zoo.cnn(), "mlp": zoo.mlp(30, 64), "forest": zoo.forest(zipmap=False)}
    with ServerProcess(tmp_path / "first") as first, assay.Client(first.address) as client:
        models = [client.upload_model(data, name=name) for name, data in made.items()]
        assert first.metrics()["assayd_model_sweeps_total"] == len(models)
    tunings = [{"rows": 64, "threads": 1}, {"rows": 8, "threads": 0}, {"rows": 4096, "threads": 1}]
    got = [answers(tmp_path, models, n, tuning) for n, tuning in enumerate(tunings)]
    assert got[0] == got[1] == got[2]


def answers(folder, models, n, tuning):
    """Bits of each model's reproducible answers, from a server on a copy of the store, with this tuning in it."""
    store = folder / f"store{n}"
    shutil.copytree(folder / "first", store)
    kept = sorted(store.glob("default/tunings/*.json"))
    assert len(kept) == len(models)
    for file in kept:
        file.write_text(json.dumps(tuning))
    found = []
    with ServerProcess(store) as server, assay.Client(server.address) as client:
        for name in models:
            (info,) = name.inputs
            x = np.random.default_rng(0).standard_normal((3, *info.shape)).astype(info.dtype)
            target = assay.Target(output=next(o.name for o in name.outputs if o.dtype.startswith("float")), top_rank=1)
            method = assay.Lime(num_samples=700, features=assay.Elements())
            plain, steady = (
                client.explain(name, x, method, target=target, timeout=120, reproducible=again)
                for again in (False, True)
            )
            found.append([bits(instance) for instance in steady.instances])
            used = [(e["batching"]["max_rows"], e["threads"]) for e in map(engine_of, (plain, steady))]
            assert used == [(tuning["rows"], tuning["threads"]), (32, 0)]
        assert server.metrics()["assayd_model_sweeps_total"] == 0
    assert [json.loads(file.read_text()) for file in kept] == [tuning] * len(models)
    return found


def engine_of(explanation):
    """What the record says of the run."""
    return json.loads(explanation.instances[0].record.json)["engine"]


def test_a_model_that_draws_is_refused(client):
    made = zoo.Builder(0)
    made.op("Add", "x", made.op("RandomNormalLike", "x"), outputs=["y"])
    data = made.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})
    model = client.upload_model(data, name="random")
    with pytest.raises(assay.FailedPrecondition) as got:
        client.explain(model, X[:1, :3], assay.Occlusion(features=assay.Elements()), target=0, reproducible=True)
    assert got.value.reason == "NOT_REPRODUCIBLE"
    assert "RandomNormalLike" in str(got.value)


def test_what_time_leaves_is_not_reproducible(client, mlp):
    budget = assay.Budget(time=1.0, on_exhausted="partial")
    with pytest.raises(assay.InvalidArgument) as got:
        client.explain(mlp, X[:1], METHODS["lime"], reproducible=True, budget=budget)
    assert got.value.violations[0][0] == "budget.time"
