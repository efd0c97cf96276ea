"""A real server process for tests: free loopback ports, a store of its own, stopped by SIGTERM."""

import re
import signal
import subprocess
import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

_LINE = re.compile(r"serves gRPC on (\S+) and metrics on (\S+)")


class ServerProcess:
    """`with ServerProcess(store) as server:`; flags as for `assayd serve`. module: what is run in place of assayd."""

    def __init__(self, store, *flags, module="assayd"):
        self._log_path = store.parent / f"{store.name}.log"
        self._log_file = self._log_path.open("w")
        base = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--store", str(store)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "serve", *base, *flags],
            stdout=subprocess.PIPE,
            stderr=self._log_file,
            text=True,
        )
        line = self.process.stdout.readline()
        found = _LINE.search(line)
        if not found:
            self.process.kill()
            raise RuntimeError(f"no server: {line!r} {self.log()}")
        self.address, self.metrics_url = found.groups()

    def log(self):
        """All log lines so far."""
        return self._log_path.read_text()

    def metrics(self):
        """Sample values by name and labels: {"assayd_batches_total": 3.0, 'assayd_requests_total{...}': …}."""
        page = urllib.request.urlopen(self.metrics_url, timeout=10).read().decode()
        samples = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
                samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return samples

    def stop(self, number=signal.SIGTERM):
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self._log_file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def wait_until(condition, seconds=10.0):
    """Poll a condition; AssertionError when it doesn't come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.02)
