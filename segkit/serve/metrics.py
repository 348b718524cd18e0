"""Counters of a server as Prometheus reads them (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from collections import Counter
from collections.abc import Sequence

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds of the histogram of latencies."""

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Upper bounds of the histogram of batches."""


class Histogram:
    """Counts values below upper bounds.

    Args:
        bounds: upper bounds, rising.
    """

    def __init__(self, bounds: Sequence[float]):
        self.bounds, self.counts = tuple(bounds), [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        place = next((i for i, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[place] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        """Returns the lines of the text format, counts added up from bound to bound."""
        lines, count = [f"# TYPE {name} histogram"], 0
        for bound, added in zip((*map(str, self.bounds), "+Inf"), self.counts):
            count += added
            lines.append(f'{name}_bucket{{le="{bound}"}} {count}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {count}"]


class Metrics:
    """What a server counts.

    Attributes:
        codes: answers to /predict by their HTTP status.
        latency: seconds from a request to its answer.
        batch_sizes: images of each batch.
    """

    def __init__(self) -> None:
        self.codes: Counter[int] = Counter()
        self.latency, self.batch_sizes = Histogram(SECONDS), Histogram(SIZES)

    def text(self, queue: int, under_way: int) -> str:
        """Returns all counters.

        Args:
            queue: images that wait for the model.
            under_way: requests that are being answered.
        """
        lines = ["# HELP segkit_requests_total Answers to /predict by status.", "# TYPE segkit_requests_total counter"]
        lines += [f'segkit_requests_total{{code="{code}"}} {count}' for code, count in sorted(self.codes.items())]
        failed = sum(count for code, count in self.codes.items() if code >= 400)
        lines += ["# HELP segkit_errors_total Answers of 4xx and 5xx.", "# TYPE segkit_errors_total counter"]
        lines += [f"segkit_errors_total {failed}", "# HELP segkit_request_seconds From a request to its answer."]
        lines += self.latency.lines("segkit_request_seconds")
        lines += ["# HELP segkit_batch_images Images of a batch.", *self.batch_sizes.lines("segkit_batch_images")]
        lines += ["# HELP segkit_queue_images Images that wait for the model.", "# TYPE segkit_queue_images gauge"]
        lines += [f"segkit_queue_images {queue}", "# TYPE segkit_requests_under_way gauge"]
        return "\n".join([*lines, f"segkit_requests_under_way {under_way}", ""])
