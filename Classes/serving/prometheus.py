"""The service's figures in Prometheus's text form; one registry an application, so that two never mix."""

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

# From what a warm CPU needs for one image to the deadline's default.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BRIGHTNESS_BUCKETS = tuple(range(16, 256, 16))
PIXEL_BUCKETS = (64, 128, 256, 299, 512, 1024, 2048, 4096, 8192)


class ServiceMetrics:
    """Counts what the service does.

    Args:
      room: admission.AdmissionController.
      ready: callable, whether the service is ready.
      origin: {label: text} of the model and its engine.
      sticks: callable, figures of Movidius sticks as Movidius.NCS1Backend.telemetry has them.
    """

    content_type = prometheus_client.CONTENT_TYPE_LATEST

    def __init__(self, room, ready, origin, sticks=list):
        self._registry = registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        labels = ["address", "outcome"]
        counter, histogram = prometheus_client.Counter, prometheus_client.Histogram
        self._requests = counter("all_requests", "Answers by address and outcome", labels, registry=registry)
        self._seconds = histogram(
            "all_request_seconds", "Seconds to the answer", ["address"], buckets=LATENCY_BUCKETS, registry=registry
        )
        self._inference = histogram(
            "all_inference_seconds", "Seconds the device took", buckets=LATENCY_BUCKETS, registry=registry
        )
        self._verdicts = counter("all_verdicts", "Verdicts", ["verdict", "confidence"], registry=registry)
        self._score = prometheus_client.Summary(
            "all_score", "Probability of ALL: sum over count is its mean", registry=registry
        )
        self._brightness = histogram(
            "all_image_brightness", "Mean of an image's pixels, 0 to 255", buckets=BRIGHTNESS_BUCKETS, registry=registry
        )
        self._remarks = counter(
            "all_images_outside", "Images with colours unlike those of the training images", registry=registry
        )
        self._side = histogram(
            "all_image_side_pixels", "Shorter side of an image", buckets=PIXEL_BUCKETS, registry=registry
        )
        gauge = prometheus_client.Gauge
        gauge("all_requests_inside", "Requests at work or waiting", registry=registry).set_function(lambda: room.inside)
        gauge("all_places", "Requests that may be inside", registry=registry).set(room.capacity)
        gauge("all_ready", "1 when ready", registry=registry).set_function(lambda: float(ready()))
        prometheus_client.Info("all_model", "The model", registry=registry).info(origin)
        registry.register(_NCS1Collector(sticks))

    def answered(self, address, outcome, seconds):
        """Count an answer.

        Args:
          address: the route, never what was asked for: its number is bounded.
          outcome: "ok", a code of api_errors.ERROR_CODES, or "other".
          seconds: from the request to the answer.
        """
        self._requests.labels(address, outcome).inc()
        self._seconds.labels(address).observe(seconds)

    def found(self, finding):
        """Count a verdict and the image it is about."""
        said = finding.verdict
        self._inference.observe(finding.seconds)
        self._verdicts.labels(said.finding, "low" if said.low else "normal").inc()
        self._score.observe(said.probabilities[said.positive])
        self._brightness.observe(finding.brightness)
        self._remarks.inc(finding.remark is not None)
        self._side.observe(min(finding.facts.width, finding.facts.height))

    def text(self):
        """All figures, bytes."""
        return prometheus_client.generate_latest(self._registry)


class _NCS1Collector:
    """What Movidius sticks tell of themselves, asked for when the figures are."""

    FIGURES = (
        ("connected", GaugeMetricFamily, "all_stick_connected", "1 when the stick is in use"),
        ("inferences", CounterMetricFamily, "all_stick_inferences", "Images the stick answered"),
        ("failures", CounterMetricFamily, "all_stick_failures", "Times the stick failed"),
        ("milliseconds", GaugeMetricFamily, "all_stick_milliseconds", "The stick's own time for its last image"),
        ("celsius", GaugeMetricFamily, "all_stick_celsius", "The stick's temperature"),
    )

    def __init__(self, sticks):
        self._sticks = sticks

    def collect(self):
        sticks = self._sticks()
        for key, kind, name, text in self.FIGURES if sticks else ():
            family = kind(name, text, labels=["stick"])
            for figures in sticks:
                if figures[key] is not None:
                    family.add_metric([figures["stick"]], float(figures[key]))
            yield family
