"""Limits of connections over real HTTP/2: handshakes, pings both ways, age; and a server that has none beside."""

import contextlib
import json
import socket
import time

import pytest

from tests.integration.server import ServerProcess, wait_until
from tests.robustness.good_caller import GoodCaller
from tests.robustness.raw_http2 import DATA, GOAWAY, PING, PREFACE, RawCaller, frame, prefixed

ENHANCE_YOUR_CALM = 11
LONG_S = 3000


def serving(store, **limits):
    """A server without limits of time but for these."""
    chosen = {"sweep_ms": 0, "max_handshake_s": LONG_S, "keepalive_s": LONG_S, "min_ping_interval_s": LONG_S} | limits
    return ServerProcess(store, *(str(part) for k, v in chosen.items() for part in ("--" + k.replace("_", "-"), v)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("connections")


@pytest.fixture(scope="module")
def patient(folder):
    with serving(folder / "patient", min_ping_interval_s=0.02) as server:
        yield server


@pytest.fixture(scope="module")
def shy(folder):
    # On its own: who doesn't say a word doesn't answer pings either.
    with serving(folder / "shy", max_handshake_s=2) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(folder):
    with serving(folder / "hasty", keepalive_s=0.5, keepalive_timeout_s=2) as server:
        yield server


@pytest.fixture(scope="module")
def aging(folder):
    with serving(folder / "aging", max_connection_age_s=1) as server:
        yield server


@pytest.fixture(scope="module")
def brief(folder):
    with serving(folder / "brief", max_connection_age_s=1, max_connection_grace_s=1) as server:
        yield server


def kinds(caller):
    return [kind for kind, _, _ in caller.got]


def read_until(caller, condition, seconds=30):
    """Read frames until it is so."""

    def so():
        return condition() or (caller.read(0.1) and condition())

    wait_until(so, seconds)


def read_what_there_is(caller):
    while caller.read(0.1):
        pass


# ---- handshakes ----------------------------------------------------------------------------------------------------


def begun(server, said):
    host, port = server.address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(said)
    return connection


def is_closed(connection, seconds):
    """Whether the server hangs up in that time, whatever it says before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_who_says_nothing_or_half_a_greeting_is_hung_up_on(shy, patient):
    halves = [b"", PREFACE[:10], PREFACE] * 3
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(begun(patient, said)) for said in halves]
        closed = [stack.enter_context(begun(shy, said)) for said in halves]
        with GoodCaller(shy.address) as good:
            assert all(is_closed(each, 15) for each in closed)
            good.check()
        assert not any(is_closed(each, 0.01) for each in kept)


# ---- pings ---------------------------------------------------------------------------------------------------------


def test_a_silent_connection_is_pinged_and_closed_where_no_answer_comes(hasty, patient):
    with (
        RawCaller(patient.address, answers_pings=False) as unasked,
        RawCaller(hasty.address, answers_pings=False) as dead,
        RawCaller(hasty.address) as alive,
    ):

        def over():
            read_what_there_is(alive)
            return dead.ended

        read_until(dead, over)
        assert PING in kinds(dead)
        read_until(alive, lambda: kinds(alive).count(PING) >= 3)
        read_what_there_is(unasked)
        assert not alive.ended
        assert not unasked.ended
        assert not {PING, GOAWAY} & set(kinds(unasked))


def test_a_flood_of_pings_is_told_to_go_away_and_others_are_served(hasty):
    with GoodCaller(hasty.address) as good:

        def flood():
            with RawCaller(hasty.address) as caller:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for n in range(200):
                        caller.socket.sendall(frame(PING, n.to_bytes(8, "big")))
                read_until(caller, lambda: caller.ended)
                away = [payload for kind, _, payload in caller.got if kind == GOAWAY]
                assert away
                assert int.from_bytes(away[-1][4:8], "big") == ENHANCE_YOUR_CALM

        good.beside(flood)


def test_pings_that_keep_their_distance_are_answered(patient, shy):
    with RawCaller(patient.address) as caller, RawCaller(shy.address) as too_often:
        for n in range(6):
            time.sleep(0.1)
            for each in (caller, too_often):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    each.socket.sendall(frame(PING, n.to_bytes(8, "big")))
        read_until(too_often, lambda: GOAWAY in kinds(too_often))
        read_until(caller, lambda: kinds(caller).count(PING) == 6)
        assert GOAWAY not in kinds(caller)


# ---- age -----------------------------------------------------------------------------------------------------------


def test_old_connections_take_no_new_calls_and_have_some_time_for_those_that_they_have(aging, brief, patient):
    with (
        RawCaller(patient.address) as young,
        RawCaller(aging.address) as kept,
        RawCaller(brief.address) as cut,
    ):
        begun = [(caller, caller.open("Check", service="grpc.health.v1.Health")) for caller in (young, kept, cut)]

        def over():
            read_what_there_is(kept)
            return cut.ended

        read_until(cut, over)
        assert GOAWAY in kinds(cut)
        assert DATA not in kinds(cut)
        read_until(kept, lambda: GOAWAY in kinds(kept))
        for caller, stream in begun[:2]:
            caller.send(stream, prefixed(0), end=True)
            read_until(caller, lambda caller=caller: DATA in kinds(caller))
        assert GOAWAY not in kinds(young)


def test_a_caller_whose_connections_grow_old_notices_nothing(aging):
    def connections():
        calls = (json.loads(line) for line in aging.log().splitlines() if '"rpc"' in line)
        return {call["peer"] for call in calls if call["rpc"].endswith("/Explain")}

    with GoodCaller(aging.address) as good:
        wait_until(lambda: len(connections()) >= 3, 30)
        good.check()
