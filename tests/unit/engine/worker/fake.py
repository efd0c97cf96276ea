"""A worker that has been taken over: it answers in order until it is told how to misbehave, and then stays.

python fake.py CASE PARENT MEMORY OFFLINE CONTROL PREPARE RUN WATCH
"""

import os
import signal
import socket
import struct
import sys
import time
from dataclasses import replace

import msgpack
import numpy as np

from assayd.engine.backend import LoadedModel
from assayd.engine.worker import messages as m
from assayd.engine.worker.frames import Limits, Wire, framed
from assayd.types.model import Batching, Signature, TensorSignature

F4 = np.dtype(np.float32)
SIGNATURE = Signature((TensorSignature("x", F4, (6,)),), (TensorSignature("y", F4, (3,)),))
LOADED = LoadedModel("model", SIGNATURE, Batching(True, "", 32), "CPUExecutionProvider", 1, 0.1)


def decided(loaded=LOADED, sessions=1):
    return framed(m.ControlAnswer, m.Decided(loaded, sessions))


def signed(**changes):
    output = replace(SIGNATURE.outputs[0], **changes)
    return decided(replace(LOADED, signature=replace(SIGNATURE, outputs=(output,))))


def failed(kind):
    return framed(m.ControlAnswer, m.Failed(kind, "again", None, {}, 1.0))


def results(*values):
    return framed(m.RunAnswer, m.Results(values))


def raw(header, payload=b""):
    return struct.pack("<IQ", len(header), len(payload)) + header + payload


# What is sent in place of an answer, by channel: 0 control, 1 prepare, 2 run. bytes, or frames.
CASES = {
    "garbage": (0, b"\xff" * 10_000),
    "html": (0, b"HTTP/1.1 200 OK\r\n\r\n<html>" * 100),
    "a huge header": (0, struct.pack("<IQ", 2**32 - 1, 0)),
    "a huge payload": (0, struct.pack("<IQ", 1, 2**63)),
    "no msgpack": (0, raw(b"\xc1")),
    "deep": (0, raw(b"\x91" * 10_000)),
    "a number": (0, raw(msgpack.packb(7))),
    "another's answer": (0, framed(m.PrepareAnswer, m.Ready())),
    "a timestamp": (0, raw(b"\xd6\xff\x00\x00\x00\x01")),
    "a provider": (0, decided(replace(LOADED, provider="evil"))),
    "rows": (0, decided(replace(LOADED, batching=Batching(True, "", 10**6)))),
    "no rows": (0, decided(replace(LOADED, batching=Batching(True, "", 0)))),
    "sessions": (0, decided(sessions=10**9)),
    "fewer sessions": (0, decided(sessions=-1)),
    "no outputs": (0, decided(replace(LOADED, signature=replace(SIGNATURE, outputs=())))),
    "twins": (0, decided(replace(LOADED, signature=replace(SIGNATURE, outputs=SIGNATURE.outputs * 2)))),
    "extents": (0, signed(shape=(-1,))),
    "an endless extent": (0, signed(shape=(2**62,))),
    "an axis": (0, signed(batch_axis=5)),
    "no dtype": (0, signed(dtype=None)),
    "an error that asks for more": (0, failed("Draining")),
    "an error of Python": (0, failed("SystemExit")),
    "more than ready": (1, raw(msgpack.packb([0, [7]]))),
    "an impossible reason": (2, framed(m.RunAnswer, m.Unmade(m.Failed("Draining", "again", None, {}, 1.0)))),
    "no results": (2, results()),
    "more results": (2, results(np.zeros((2, 1)), np.zeros((2, 1)))),
    "other rows": (2, results(np.zeros((3, 1)))),
    "other targets": (2, results(np.zeros((2, 2)))),
    "other axes": (2, results(np.zeros(2))),
    "outputs for scores": (2, results({"y": np.zeros((2, 3))})),
    "floats of another kind": (2, raw(msgpack.packb([0, [[[0, ["float32", [2, 1], 0, False]]]]]), bytes(8))),
    "beyond": (2, raw(msgpack.packb([0, [[[0, ["float64", [2, 1], 8, False]]]]]), bytes(16))),
    "before": (2, raw(msgpack.packb([0, [[[0, ["float64", [2, 1], -8, False]]]]]), bytes(16))),
    "from aside": (2, raw(msgpack.packb([0, [[[0, ["float64", [2, 1], 0, True]]]]]), bytes(16))),
    "half a frame": (2, raw(b"\x90" * 100)[:50]),
    "silence": (2, b""),
}
HANG = ("half a frame", "silence")
"""Cases in which the front can only wait."""


def main():
    case, *numbers = sys.argv[1:]
    ends = [socket.socket(fileno=int(n)) for n in numbers[3:]]
    if case == "hang up":
        for end in ends:
            end.close()
        time.sleep(60)
    if case.startswith("exit "):
        sys.exit(int(case[5:]))
    if case == "bad alloc":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n")
    if case in ("bad alloc", "abort"):
        os.abort()
    if case == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "flood":
        for _ in range(10_000):
            os.write(2, b'{"level": "error", "event": "forged"}\n')
    channel, said = CASES.get(case, (3, b""))
    honest = [decided(), framed(m.PrepareAnswer, m.Ready()), results(np.zeros((2, 1)))]
    for n, end in enumerate(ends[:3]):
        wire = Wire(end, Limits(2**20, 2**30))
        wire.receive(descriptors=True)
        if n != channel:
            wire.send(honest[n])
        elif isinstance(said, bytes):
            end.sendall(said)
        else:
            wire.send(said)
    time.sleep(60)


if __name__ == "__main__":
    main()
