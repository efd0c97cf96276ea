"""Every Prometheus collector, declared once. Base units; names begin with assayd_."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SHORT_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)

UNNAMED = "-"
OTHER = "(other)"


class Metrics:
    """The collectors of one server, on a registry of their own.

    Model labels are those of named models only, and at most `max_model_labels` of them; the rest count as "(other)",
    models asked for by digest as "-".
    """

    def __init__(self, max_model_labels: int = 100) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one, that nobody reads
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)
        self._max_model_labels = max_model_labels
        self._model_labels: set[str] = set()
        self._models: dict[str, Mapping[tuple[str, str], int]] = {}
        self._model_bytes: dict[str, int] = {}
        self._workers: dict[str, tuple[int, int]] = {}

        self.requests = Counter("assayd_requests", "Calls ended.", ["rpc", "method", "code"], registry=r)
        self.request_seconds = Histogram(
            "assayd_request_seconds", "Time from arrival to answer of a call.", ["rpc"], buckets=_SECONDS, registry=r
        )
        self.requests_in_flight = Gauge("assayd_requests_in_flight", "Calls being answered.", ["rpc"], registry=r)
        self.plan_seconds = Histogram(
            "assayd_plan_seconds",
            "Decoding, features and baselines of an instance.",
            buckets=_SHORT_SECONDS,
            registry=r,
        )
        self.queue_seconds = Histogram(
            "assayd_queue_seconds", "Wait of a plan for its first batch.", buckets=_SHORT_SECONDS, registry=r
        )
        self.compute_seconds = Histogram(
            "assayd_compute_seconds", "Run of a batch on the device.", buckets=_SHORT_SECONDS, registry=r
        )
        self.reduce_seconds = Histogram(
            "assayd_reduce_seconds",
            "Scores to attributions of an instance, and its record.",
            buckets=_SHORT_SECONDS,
            registry=r,
        )
        self.rows_asked = Counter("assayd_rows_asked", "Rows that methods planned.", ["model", "method"], registry=r)
        self.rows_run = Counter("assayd_rows_run", "Rows that went through a model, padding not counted.", registry=r)
        self.batches = Counter(
            "assayd_batches", "Batches of rows that were run; checks of x alone are assayd_alone_checks.", registry=r
        )
        self.shared_batches = Counter(
            "assayd_shared_batches", "Batches that carried rows of more than one request.", registry=r
        )
        self.batch_rows = Histogram("assayd_batch_rows", "Rows of a batch.", buckets=_ROWS, registry=r)
        self.batch_fill = Histogram(
            "assayd_batch_fill_ratio",
            "Rows of a batch, as a share of the most it may have.",
            buckets=_SHARES,
            registry=r,
        )
        self.padding_rows = Counter(
            "assayd_padding_rows", "Rows that fill up the batches of reproducible requests.", registry=r
        )
        self.alone_checks = Counter(
            "assayd_alone_checks", "Runs of one unperturbed instance by itself, to check its batches.", registry=r
        )
        self.queued_rows = Gauge("assayd_queued_rows", "Rows that wait for the device.", registry=r)
        self.models_loaded = Gauge("assayd_models_loaded", "Models in memory.", ["provider", "batching"], registry=r)
        self.models_loaded_bytes = Gauge("assayd_models_loaded_bytes", "Size of the models in memory.", registry=r)
        self.model_load_seconds = Histogram(
            "assayd_model_load_seconds", "Load of a model with its batch proof.", buckets=_SECONDS, registry=r
        )
        self.model_loads = Counter("assayd_model_loads", "Models loaded, by outcome.", ["outcome"], registry=r)
        self.model_sweeps = Counter(
            "assayd_model_sweeps",
            "Models whose batch size and threads were measured when they were loaded.",
            registry=r,
        )
        self.workers_alive = Gauge("assayd_workers_alive", "Processes that run models.", registry=r)
        self.worker_memory_bytes = Gauge(
            "assayd_worker_memory_bytes", "Resident memory of the processes that run models.", registry=r
        )
        self.worker_processes = Counter("assayd_worker_processes", "Processes started to run models.", registry=r)
        self.sessions_built = Counter(
            "assayd_sessions_built", "Sessions that those processes built, for loads, proofs and sweeps.", registry=r
        )
        self.worker_bytes = Counter(
            "assayd_worker_bytes",
            "Bytes between the server and those processes: instances once a job, rows and results with each batch.",
            ["what"],
            registry=r,
        )
        self.worker_restarts = Counter(
            "assayd_worker_restarts",
            "Processes started again for models that lost theirs; tries that failed aren't counted.",
            ["cause"],
            registry=r,
        )
        self.models_quarantined = Gauge(
            "assayd_models_quarantined", "Models that aren't run, since they ended their processes.", registry=r
        )
        self.provider = Gauge(
            "assayd_provider", "1 for the execution provider that sessions really run on.", ["provider"], registry=r
        )
        self.device_up = Gauge(
            "assayd_device_up", "1 for a device that computes, 0 for one that is lost.", ["device"], registry=r
        )
        self.device_rows = Counter("assayd_device_rows_run", "Rows that a device ran.", ["device"], registry=r)
        self.device_busy = Counter(
            "assayd_device_busy_seconds",
            "Seconds of batches that a device ran; those that stepped aside count beside others.",
            ["device"],
            registry=r,
        )
        self.device_models = Gauge("assayd_device_models_loaded", "Models on a device.", ["device"], registry=r)
        self.device_models_bytes = Gauge(
            "assayd_device_models_loaded_bytes", "Size of the models on a device.", ["device"], registry=r
        )
        self.models_spread = Counter(
            "assayd_models_spread",
            "Models that were loaded on one more device, for much waited.",
            registry=r,
        )
        self.upload_bytes = Counter("assayd_upload_bytes", "Bytes of models received.", registry=r)

    def worker_counted(self, name: str, count: int) -> None:
        """A worker's count: processes_started, sessions_built, or subject_bytes, row_bytes and result_bytes."""
        if name == "processes_started":
            self.worker_processes.inc(count)
        elif name == "sessions_built":
            self.sessions_built.inc(count)
        else:
            self.worker_bytes.labels(name.removesuffix("_bytes")).inc(count)

    def models(self, device: str, kinds: Mapping[tuple[str, str], int], size_bytes: int) -> None:
        """What is loaded on a device. kinds: how many, by provider and batching."""
        self._models[device] = kinds
        self.models_loaded.clear()
        for loaded in self._models.values():
            for (provider, batching), count in loaded.items():
                self.models_loaded.labels(provider, batching).inc(count)
                self.provider.labels(provider).set(1)
        self.device_models.labels(device).set(sum(kinds.values()))
        self._model_bytes[device] = size_bytes
        self.device_models_bytes.labels(device).set(size_bytes)
        self.models_loaded_bytes.set(sum(self._model_bytes.values()))

    def workers(self, device: str, alive: int, rss_bytes: int) -> None:
        """The processes that run models on a device."""
        self._workers[device] = alive, rss_bytes
        self.workers_alive.set(sum(count for count, _ in self._workers.values()))
        self.worker_memory_bytes.set(sum(held for _, held in self._workers.values()))

    def device_ran(self, device: str, rows: int, seconds: float) -> None:
        """Count what a device ran at once."""
        self.device_rows.labels(device).inc(rows)
        self.device_busy.labels(device).inc(seconds)

    def batch(self, rows: int, most: int, seconds: float, *, jobs: int, padded: bool) -> None:
        """Count a batch that the device ran."""
        self.rows_run.inc(rows)
        self.padding_rows.inc(most - rows if padded else 0)
        self.compute_seconds.observe(seconds)
        self.batches.inc()
        self.batch_rows.observe(rows)
        self.batch_fill.observe(rows / most)
        if jobs > 1:
            self.shared_batches.inc()

    def alone(self, rows: int) -> None:
        """Count rows that the device ran by themselves, to check batches."""
        self.rows_run.inc(rows)
        self.alone_checks.inc(rows)

    def model_label(self, name: str) -> str:
        """The label for a model's name."""
        if not name:
            return UNNAMED
        if name not in self._model_labels and len(self._model_labels) >= self._max_model_labels:
            return OTHER
        self._model_labels.add(name)
        return name
