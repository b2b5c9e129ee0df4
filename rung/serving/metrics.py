"""What /metrics tells Prometheus."""

from collections.abc import Callable, Iterable

from rung.serving.batcher import Batch

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = tuple(2**k for k in range(6, 18))


class Metrics:
    """Counters in a registry of their own. Paths that are not served count as one, or anybody could add labels."""

    def __init__(self, paths: Iterable[str], waiting: Callable[[], int]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._paths = frozenset(paths)
        self.registry = registry = CollectorRegistry()
        answers, labels = "Requests answered; status 499: the client went away", ["path", "status"]
        self._answers = Counter("rung_requests", answers, labels, registry=registry)
        seconds = "From a request's head to its answer"
        self._seconds = Histogram("rung_request_seconds", seconds, ["path"], buckets=_SECONDS, registry=registry)
        tokens = "Tokens scored in one go"
        self._batch_tokens = Histogram("rung_batch_tokens", tokens, buckets=_TOKENS, registry=registry)
        self._solutions = Counter("rung_solutions", "Solutions scored", registry=registry)
        self._tokens = Counter("rung_tokens", "Tokens scored", registry=registry)
        self._scoring = Counter("rung_scoring_seconds", "Time the model was busy", registry=registry)
        Gauge("rung_waiting_requests", "Requests in the queue", registry=registry).set_function(waiting)

    def request(self, path: str, status: int, seconds: float) -> None:
        """One answer went out."""
        path = path if path in self._paths else "other"
        self._answers.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, batch: Batch) -> None:
        """One batch was scored."""
        self._batch_tokens.observe(batch.tokens)
        self._solutions.inc(batch.solutions)
        self._tokens.inc(batch.tokens)
        self._scoring.inc(batch.seconds)

    def text(self) -> bytes:
        """Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
