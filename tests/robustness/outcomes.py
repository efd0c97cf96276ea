"""What callers heard, counted by who asked; and what none of them should have heard."""

import threading
from collections import Counter

import grpc

import assay
from assay.errors import from_rpc_error

_FAULTS_KEPT = 50
LEFT = ("cancelled calls", "late calls")


def said(error):
    """Code and reason of a failed call; the code alone where the library itself refused."""
    return f"{error.code} {error.reason}".strip()


class Outcomes:
    """For any number of threads. first: what was answered first, by question."""

    def __init__(self):
        self._lock = threading.Lock()
        self.counts = Counter()
        self.faults = []
        self.first = {}
        self.faulty = 0

    @property
    def calls(self):
        return self.counts.total()

    @property
    def left(self):
        """Calls whose callers didn't wait for the answer."""
        return sum(number for (who, _), number in self.counts.items() if who in LEFT)

    def heard(self, who, what):
        with self._lock:
            self.counts[who, what] += 1

    def fault(self, who, text):
        with self._lock:
            self.faulty += 1
            if len(self.faults) < _FAULTS_KEPT:
                self.faults.append(f"{who}: {text}"[:600])

    def ask(self, who, call, *allowed):
        """The answer, or None where it was an error. allowed: "OK", "CODE REASON", or a "CODE" whatever its reason."""
        try:
            answer, what, why = call(), "OK", ""
        except (assay.AssayError, grpc.RpcError) as raised:
            error = raised if isinstance(raised, assay.AssayError) else from_rpc_error(raised)
            answer, what, why = None, said(error), str(error)
        self.heard(who, what)
        if what not in allowed and what.partition(" ")[0] not in allowed:
            self.fault(who, f"{what} {why}")
        return answer

    def table(self):
        """Rows of who, what, how many."""
        return [(who, what, number) for (who, what), number in sorted(self.counts.items())]
