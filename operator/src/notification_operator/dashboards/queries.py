"""Every PromQL query of the boards, made from the dispatcher's own names of its metrics.

Used by `boards` and the modules that make rows. Three things hold for all queries. `job` and `instance` stand in each
selector of a scraped series, as variables. A counter is read through `rate` or `increase` over `$__rate_interval`
alone. And what every replica reports alike, such as the depth of a queue that they share, is taken once for each
pipeline before anything is summed.
"""

from __future__ import annotations

from dataclasses import dataclass

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import Result, Threshold
from notification_operator.dashboards.promql import is_exactly, is_one_of, selector

_OUTCOMES = (Result.PROCESSED, Result.FAILED, Result.DROPPED)
_TARGET = ('job=~"$job"', 'instance=~"$instance"')
# Grafana escapes the values of a variable that takes several for a regular expression, so `=` would miss some.
_JOB_TYPE = 'job_type=~"$job_type"'
_PIPELINE = "namespace, pipeline"
_PER_MINUTE = "60 * "


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of one board."""

    prefix: str
    """Of every metric's name."""
    pipelines: tuple[str, ...]
    """Matchers that choose the pipelines: literal for one pipeline, variables for the fleet."""
    bounds: tuple[str, ...] = ()
    """Matchers that keep the buckets which all pipelines have, so that they add up."""
    job_decides: bool = False
    """A target is ours if its job has published our metrics: its labels needn't say so."""

    @classmethod
    def of_pipeline(cls, prefix: str, namespace: str, pipeline: str) -> Queries:
        """Queries about one pipeline."""
        return cls(prefix, (is_exactly("namespace", namespace), is_exactly("pipeline", pipeline)))

    @classmethod
    def of_fleet(cls) -> Queries:
        """Queries about the pipelines that are selected on the board."""
        # Each pipeline has a bucket at its own latency threshold; summed over pipelines without one, counts would fall.
        return cls(
            names.DEFAULT_PREFIX,
            ('namespace=~"$namespace"', 'pipeline=~"$pipeline"'),
            bounds=(_lasting_bounds(),),
            job_decides=True,
        )

    def series(self, metric: str, *matchers: str) -> str:
        """The selected series of one of our metrics."""
        return selector(self.prefix + metric, (*self.pipelines, *_TARGET, *matchers))

    def _rate(self, metric: str, *matchers: str) -> str:
        return f"rate({self.series(metric, *matchers)}[$__rate_interval])"

    # Health.

    def backlog_of_each(self) -> str:
        """Jobs waiting, for each pipeline."""
        return self._each(names.QUEUE_DEPTH)

    def backlog(self) -> str:
        """Jobs waiting."""
        return f"sum({self.backlog_of_each()})"

    def success_ratio(self) -> str:
        """Share of the jobs that ended which were delivered. Empty while no job ends."""
        delivered = self._results(Result.PROCESSED)
        return f"{delivered} / ({self._results(*_OUTCOMES)} > 0)"

    def worst_wait_p95(self) -> str:
        """95th percentile of the wait, of the job type where it is longest. Empty while no job starts."""
        buckets = self._rate(f"{names.JOB_WAIT_DURATION_MS}_bucket", _JOB_TYPE)
        # The comparison drops NaN, the quantile of no observations.
        return f"max(histogram_quantile(0.95, sum by ({_PIPELINE}, job_type, le) ({buckets})) >= 0)"

    def seconds_to_drain(self) -> str:
        """Backlog over the rate at which jobs end, of the slowest pipeline: +Inf when none ends, 0 when none waits."""
        depth = self.backlog_of_each()
        ended = self._rate(names.JOBS_TOTAL, is_one_of("result", (Result.PROCESSED, Result.FAILED)))
        return f"max(({depth} == 0) or {depth} / sum by ({_PIPELINE}) ({ended}))"

    def alerts_firing(self) -> str:
        """How many of the pipelines' alerts fire."""
        return f"count({self.firing()}) or vector(0)"

    def firing(self) -> str:
        """The alerts that fire. Rules aggregate `job` and `instance` away, so nothing can be asked about those."""
        return selector("ALERTS", ('alertname=~"Notification.+"', 'alertstate="firing"', *self.pipelines))

    def targets(self, *, up: bool) -> str:
        """How many scrape targets answer, or don't."""
        targets = selector("up", (*self.pipelines, *_TARGET))
        if self.job_decides:
            # With every job selected `up` is the whole of Prometheus.
            ours = f"present_over_time({self.series(names.QUEUE_DEPTH)}[1d])"
            targets = f"({targets} and on ({_PIPELINE}, job) {ours})"
        return f"count({targets} == {int(up)}) or vector(0)"

    # Backlog and workers.

    def active_jobs(self) -> str:
        """Jobs that run now; each replica reports its own."""
        return f"sum({self.series(names.ACTIVE_JOBS)})"

    def scheduled_jobs(self) -> str:
        """Jobs that wait for their time or for their next attempt."""
        return f"sum({self._each(names.SCHEDULED_JOBS)})"

    def dead_jobs(self) -> str:
        """Dead letters kept."""
        return f"sum({self._each(names.DEAD_JOBS)})"

    def dead_letters_removed(self) -> str:
        """Dead letters a minute that are no longer kept, by what ended them."""
        return f"{_PER_MINUTE}sum by (reason) ({self._rate(names.DEAD_LETTERS_REMOVED_TOTAL)})"

    def postponed(self) -> str:
        """Jobs a second that were put back at no cost, by what they wait for."""
        return f"sum by (reason) ({self._rate(names.POSTPONED_TOTAL)})"

    def open_circuits(self) -> str:
        """How many dispatchers spare a channel, for each that is spared at all."""
        return f"sum by ({_PIPELINE}, channel) ({self.series(names.CIRCUIT_OPEN)}) > 0"

    def oldest_job_age(self) -> str:
        """Age of the oldest job that waits, for each pipeline."""
        return self._each(names.OLDEST_JOB_AGE_SECONDS)

    def threshold(self, which: Threshold) -> str:
        """A threshold in force; the lowest one where pipelines differ."""
        return f"min({self.series(names.THRESHOLD, is_exactly('threshold', which))})"

    # Results.

    def results(self, *results: Result) -> str:
        """Jobs a second, by result."""
        rate = self._rate(names.JOBS_TOTAL, _JOB_TYPE, is_one_of("result", results))
        return f"sum by (result) ({rate})"

    def processed_by_job_type(self) -> str:
        """Jobs delivered a second, by job type."""
        rate = self._rate(names.JOBS_TOTAL, _JOB_TYPE, is_exactly("result", Result.PROCESSED))
        return f"sum by (job_type) ({rate})"

    # Latency.

    def heatmap(self, histogram: str) -> str:
        """Observations by bucket, of the one job type that the panel is repeated for."""
        # Grafana subtracts from each bucket the one below. That of a threshold is gone when the threshold changes.
        buckets = self.series(f"{histogram}_bucket", _JOB_TYPE, _lasting_bounds())
        return f"sum by (le) (increase({buckets}[$__rate_interval]))"

    def quantile(self, histogram: str, quantile: float) -> str:
        """A quantile, by job type. Empty while there are no observations."""
        buckets = self._rate(f"{histogram}_bucket", _JOB_TYPE, *self.bounds)
        return f"histogram_quantile({quantile}, sum by (job_type, le) ({buckets})) >= 0"

    # Failures and drops.

    def failures_by(self, label: str) -> str:
        """Permanent failures a minute, by reason or job type; what didn't fail is left out, not drawn as 0."""
        return f"{_PER_MINUTE}sum by ({label}) ({self._rate(names.JOB_FAILURES_TOTAL, _JOB_TYPE)}) > 0"

    def drops_by_reason(self) -> str:
        """Jobs dropped a minute, by reason; a dropped job's type isn't counted."""
        return f"{_PER_MINUTE}sum by (reason) ({self._rate(names.JOBS_DROPPED_TOTAL)}) > 0"

    def failure_ratio(self) -> str:
        """Share of the attempted jobs that failed for good. Empty while no job ends."""
        failed = self._results(Result.FAILED)
        return f"{failed} / ({self._results(Result.PROCESSED, Result.FAILED)} > 0)"

    def failure_threshold_per_minute(self) -> str:
        """The rate which, kept up for the failure window, raises a Failure Spike."""
        each = (
            f"max by ({_PIPELINE}) ({self.series(names.THRESHOLD, is_exactly('threshold', which))})"
            for which in (Threshold.FAILURE, Threshold.FAILURE_WINDOW_SECONDS)
        )
        return f"min({_PER_MINUTE}{' / '.join(each)})"

    def attempts(self) -> str:
        """Delivery attempts a second, by channel and outcome."""
        return f"sum by (channel, outcome) ({self._rate(names.DELIVERY_ATTEMPTS_TOTAL)})"

    def retries(self) -> str:
        """Retries a second."""
        return f"sum({self._rate(names.RETRIES_TOTAL, _JOB_TYPE)})"

    def alert_messages(self) -> str:
        """The dispatcher's own alerts a minute, by what became of them."""
        return f"{_PER_MINUTE}sum by (alert, outcome) ({self._rate(names.ALERTS_TOTAL)}) > 0"

    # Runtime.

    def by_instance(self, metric: str) -> str:
        """A gauge, for each instance."""
        return f"max by (instance) ({self.series(metric)})"

    def uptime(self) -> str:
        """Seconds since each instance started."""
        return f"time() - {self.by_instance('process_start_time_seconds')}"

    def rate_by_instance(self, counter: str) -> str:
        """A counter's rate, for each instance."""
        return f"sum by (instance) ({self._rate(counter)})"

    def loop_lag_p99(self) -> str:
        """99th percentile of the event loop's lag, for each instance."""
        buckets = self._rate(f"{names.EVENT_LOOP_LAG_SECONDS}_bucket")
        return f"histogram_quantile(0.99, sum by (instance, le) ({buckets})) >= 0"

    def running_by(self, label: str, info: str) -> str:
        """How many instances run each version or configuration."""
        return f"count by ({label}) ({self.series(info)})"

    def reloads(self) -> str:
        """Configuration reloads a minute, by result."""
        return f"{_PER_MINUTE}sum by (result) ({self._rate(names.CONFIG_RELOADS_TOTAL)})"

    # Variables.

    def values_of(self, label: str, metric: str, *matchers: str) -> str:
        """Grafana's own query for the values of a label."""
        return f"label_values({selector(self.prefix + metric, matchers)}, {label})"

    def _each(self, gauge: str) -> str:
        return f"max by ({_PIPELINE}) ({self.series(gauge)})"

    def _results(self, *results: Result) -> str:
        return f"sum({self._rate(names.JOBS_TOTAL, _JOB_TYPE, is_one_of('result', results))})"


def _lasting_bounds() -> str:
    bounds = "|".join(_as_bound(bound) for bound in names.WAIT_BUCKETS_MS)
    return f'le=~"{bounds}|[+]Inf"'


def _as_bound(bound: int) -> str:
    """What matches a bucket's bound: 30000, Prometheus 3's 30000.0, and from a million on Go's 3.6e+06."""
    text = f"{bound:g}"
    return text.replace(".", "[.]").replace("+", "[+]") if "e" in text else f"{text}([.]0)?"
