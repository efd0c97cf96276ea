"""A server for as long as the demo lasts."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN_METRICS = (
    "assayd_rows_asked_total",
    "assayd_rows_run_total",
    "assayd_batches_total",
    "assayd_shared_batches_total",
    "assayd_batch_fill_ratio_sum",
    "assayd_models_loaded{",
    "assayd_provider{",
)


@contextmanager
def running_server() -> Iterator[tuple[str, str]]:
    """A server on free loopback ports with a store that goes with it; yields (gRPC address, metrics URL)."""
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "assayd", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
        with log.open("w") as errors:
            server = subprocess.Popen(
                [*command, "--store", str(Path(folder) / "store")], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            line = server.stdout.readline() if server.stdout is not None else ""
            found = re.search(r"gRPC on (\S+) and metrics on (\S+)", line)
            if found is None:
                sys.exit(f"assayd didn't start:\n{log.read_text()}")
            print(line.strip())
            yield found[1], found[2]
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(30)
            if server.stdout is not None:
                server.stdout.close()
        print(f"\nassayd stopped with status {status}")


def show_metrics(url: str) -> None:
    """A few figures of the server's Prometheus page."""
    page = urllib.request.urlopen(url, timeout=10).read().decode()  # noqa: S310 - the server's own page
    print(f"\nFrom {url}")
    for line in page.splitlines():
        if line.startswith(_SHOWN_METRICS):
            print(f"  {line}")
