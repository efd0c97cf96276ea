"""Mutated models over real gRPC: a few, and all that once got a wrong answer. `make fuzz-serve` is the long form."""

import pytest

import assay
from tests.models import zoo
from tests.robustness.good_caller import GoodCaller
from tests.robustness.mutants.attempt import attempt
from tests.robustness.mutants.run import CRASHERS, hunt, served_with_limits


def test_a_few_mutants_beside_a_good_caller(tmp_path):
    kept = []
    found = hunt(tmp_path, models=4, keep=lambda data: kept.append(data) or "a crasher")
    assert not found.faults, kept
    assert found.models >= 4
    assert found.during


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served_with_limits(tmp_path_factory.mktemp("crashers")) as running:
        yield running


def test_what_once_got_a_wrong_answer(server):
    with assay.Client(server.address) as client, GoodCaller(server.address) as good:
        for path in sorted(CRASHERS.glob("*.bin")) + sorted((CRASHERS.parent / "models").glob("*.bin")):
            wrong = [step for step in attempt(client, path.read_bytes(), "crasher") if step.wrong]
            assert not wrong, path.name
        good.check()


def test_every_step_is_taken_and_told(server):
    """The controls: a good model goes all the way, a bad one stops at once, and other codes would be wrong."""
    with assay.Client(server.address) as client:
        steps = attempt(client, zoo.two_by_two(), "fine")
        assert [step.name for step in steps] == ["upload", "predict", "predict, wild", "explain", "delete"]
        assert {step.what for step in steps} == {"OK"}
        (refused,) = attempt(client, b"no model", "bad")
        assert (refused.what, refused.wrong) == ("INVALID_ARGUMENT INVALID_MODEL", False)
        assert not {model.name for model in client.models()} & {"fine", "bad"}
    with assay.Client("127.0.0.1:1") as nobody:
        (lost,) = attempt(nobody, zoo.mlp(), "nowhere")
        assert lost.wrong
