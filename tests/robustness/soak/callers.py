"""Who works while a server is watched: good callers, and others who are careless, impatient, or worse.

Each class does one thing with each `turn(random)`, and says so to the outcomes; `PACE_S` lies between turns.
"""

import contextlib
import os
import signal
import socket
import time

import grpc
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

import assay
from assay.requests import explain_request
from assay.v1 import explain_service_pb2, explain_service_pb2_grpc
from tests.integration.test_errors import BAD_CALLS, RAW_CALLS
from tests.models import zoo
from tests.processes import children, oldest_child
from tests.robustness import corpus
from tests.robustness.soak import questions

_X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
_ELEMENTS = assay.Occlusion(features=assay.Elements())
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HALF_OPEN = (b"", _PREFACE[:16], _PREFACE + b"\x00\x00\x00\x04", b"GET / HTTP/1.1\r\n")


class Caller:
    """One who has a connection of its own."""

    PACE_S = 0.01

    def __init__(self, server, outcomes):
        self.server, self.outcomes = server, outcomes
        self.client = assay.Client(server.address)

    def close(self):
        self.client.close()


class Good(Caller):
    """Every answer is the first that anybody got, or an error that is nobody's fault never comes."""

    def turn(self, random):
        for name in self._some(random):
            exact = name in questions.SAME_BITS
            question = (questions.SAME_BITS if exact else questions.SAME_NUMBERS)[name]
            got = self.outcomes.ask(f"good: {name}", lambda question=question: question(self.client), "OK")
            if got is None:
                continue
            want = self.outcomes.first.setdefault(name, got)
            if found := questions.differs(got, want, tolerance=0 if exact else questions.TOLERANCE):
                self.outcomes.fault(f"good: {name}", found)

    def _some(self, random):
        return [random.choice([*questions.SAME_BITS, *questions.SAME_NUMBERS])]


class Thorough(Good):
    """Asks everything in each turn."""

    def _some(self, random):
        return [*questions.SAME_BITS, *questions.SAME_NUMBERS]


class Uploader(Caller):
    """Models that nobody sent before, which answer as the reference does, and are gone after a while."""

    PACE_S = 0.3

    def __init__(self, server, outcomes):
        super().__init__(server, outcomes)
        self.kept = 0

    def turn(self, random):
        ask, name = self.outcomes.ask, f"fresh-{random.randrange(4)}"
        data = zoo.mlp(hidden=random.randrange(4, 64), seed=random.randrange(2**31))
        model = ask("uploads", lambda: self.client.upload_model(data, name=name), "OK")
        if model is None:
            return
        self.kept += 1
        got = ask("uploads: predict", lambda: self.client.predict(model, _X), "OK")
        if got is not None:
            (want,) = ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": _X})
            if not np.allclose(got["y"], want, atol=1e-5):
                self.outcomes.fault("uploads: predict", "other numbers than the reference's")
        ask("uploads: explain", lambda: self.client.explain(model, _X, _ELEMENTS, target=0), "OK")
        ask("uploads: delete", lambda: self.client.delete_model(model), "OK")
        ask("uploads: deleted", lambda: self.client.get_model(model.ref), "NOT_FOUND MODEL_NOT_FOUND")


class Careless(Caller):
    """Bad requests, bad models, unknown names, bytes that are none of ours."""

    PACE_S = 0.03

    def __init__(self, server, outcomes):
        super().__init__(server, outcomes)
        self._channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = explain_service_pb2_grpc.ExplainServiceStub(self._channel)
        self._turns = [self._call, self._raw, self._unknown, self._no_message, self._no_rpc]

    def close(self):
        super().close()
        self._channel.close()

    def turn(self, random):
        self._model(random) if random.random() < 0.01 else random.choice(self._turns)(random)

    def _call(self, random):
        change, *_ = BAD_CALLS[random.choice(list(BAD_CALLS))]
        arguments = {"inputs": {"x": _X}, "method": _ELEMENTS, "target": 0} | change
        self.outcomes.ask("bad arguments", lambda: self.client.explain("mlp", **arguments), "INVALID_ARGUMENT")

    def _raw(self, random):
        request = explain_service_pb2.ExplainRequest()
        request.CopyFrom(RAW_CALLS[random.choice(list(RAW_CALLS))][0])
        request.model = "mlp"
        self.outcomes.ask("bad messages", lambda: self._stub.Explain(request), "INVALID_ARGUMENT")

    def _model(self, random):
        held = random.choice([each for each in corpus.ALL if each.reason == "INVALID_MODEL"])
        self.outcomes.ask(
            "bad models", lambda: self.client.upload_model(held.make(), name="bad"), "INVALID_ARGUMENT INVALID_MODEL"
        )

    def _unknown(self, random):
        name = f"nobody-{random.randrange(10**9)}"
        self.outcomes.ask(
            "unknown models", lambda: self.client.explain(name, {"x": _X}, _ELEMENTS), "NOT_FOUND MODEL_NOT_FOUND"
        )

    def _no_message(self, random):
        call = self._channel.unary_unary("/assay.v1.ExplainService/Explain")
        data = b"\xff" + random.randbytes(40)
        self.outcomes.ask("no message", lambda: call(data), "INTERNAL UNPARSABLE")

    def _no_rpc(self, random):
        call = self._channel.unary_unary(f"/assay.v1.ExplainService/Divine{random.randrange(10**9)}")
        self.outcomes.ask("no such call", lambda: call(b""), "UNIMPLEMENTED")


class Impatient(Caller):
    """Calls that are cancelled, run late, or are left in the middle of their stream."""

    PACE_S = 0.05

    def __init__(self, server, outcomes):
        super().__init__(server, outcomes)
        self._channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = explain_service_pb2_grpc.ExplainServiceStub(self._channel)
        keep = np.random.default_rng(0).random((20_000, 8)) < 0.5
        self._method = assay.Rows(keep=keep, features=assay.Elements())
        self._request = explain_request("mlp", {"x": _X}, self._method, target=0)

    def close(self):
        super().close()
        self._channel.close()

    def turn(self, random):
        random.choice([self._cancel, self._late, self._leave])(random)

    def _cancel(self, random):
        call = self._stub.Explain.future(self._request)
        time.sleep(random.uniform(0, 0.05))
        call.cancel()
        with contextlib.suppress(grpc.FutureCancelledError, grpc.RpcError):
            call.result(60)
        self.outcomes.heard("cancelled calls", call.code().name)
        if call.code() not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.OK):
            self.outcomes.fault("cancelled calls", call.code().name)

    def _late(self, random):
        timeout = random.uniform(0.001, 0.04)
        self.outcomes.ask(
            "late calls", lambda: self._stub.Explain(self._request, timeout=timeout), "DEADLINE_EXCEEDED", "OK"
        )

    def _leave(self, random):
        def some():
            events = self.client.explain_stream("mlp", np.repeat(_X, 20, axis=0), _ELEMENTS, target=0)
            for _, _ in zip(range(random.randrange(1, 8)), events, strict=False):
                pass
            events.close()

        self.outcomes.ask("streams left", some, "OK")


class HalfOpen(Caller):
    """Connections that say nothing, or half a word, and are dropped after a while, some without farewell."""

    PACE_S = 0.2
    _MOST = 20

    def __init__(self, server, outcomes):
        super().__init__(server, outcomes)
        host, port = server.address.split(":")
        self._address, self._open = (host, int(port)), []

    def turn(self, random):
        made = socket.create_connection(self._address, timeout=30)
        made.sendall(random.choice(_HALF_OPEN))
        self.outcomes.heard("half-open connections", "opened")
        self._open.append(made)
        if len(self._open) > self._MOST:
            gone = self._open.pop(random.randrange(len(self._open)))
            if random.random() < 0.5:  # close at once, by a reset
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            gone.close()

    def close(self):
        super().close()
        for each in self._open:
            each.close()


class Killer(Caller):
    """Ends or stops a worker now and then, but never the oldest: that one shows whether workers grow."""

    PACE_S = 15.0

    def turn(self, random):
        pids = sorted({*children(self.server.process.pid)} - {oldest_child(self.server.process.pid)})
        if pids:
            number = random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(random.choice(pids), number)
                self.outcomes.heard("workers lost", number.name)


CREW = (Good, Good, Good, Uploader, Careless, Impatient, HalfOpen, Killer)
