"""The service's metrics in the Prometheus text format; one registry per service."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from Classes.serving.admission import AdmissionController
from Classes.serving.predictor import PredictionResult

# Seconds, from what a fast CPU needs for one image to the default request timeout.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BRIGHTNESS_BUCKETS = tuple(range(16, 256, 16))
PIXEL_BUCKETS = (64, 128, 256, 299, 512, 1024, 2048, 4096, 8192)

Telemetry = Callable[[], list[dict[str, Any]]]


class ServiceMetrics:
    """Counts requests and predictions.

    Args:
      admission: the request queue.
      ready: returns whether the service is ready.
      model: labels that identify the model and its backend.
      telemetry: returns the metrics of Movidius sticks, see Movidius.NCS1Backend.telemetry.
    """

    content_type: str = prometheus_client.CONTENT_TYPE_LATEST

    def __init__(
        self,
        admission: AdmissionController,
        ready: Callable[[], bool],
        model: Mapping[str, str],
        telemetry: Telemetry = list,
    ):
        self._registry = registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        labels = ["address", "outcome"]
        counter, histogram = prometheus_client.Counter, prometheus_client.Histogram
        self._requests = counter("all_requests", "Responses by endpoint and outcome", labels, registry=registry)
        self._seconds = histogram(
            "all_request_seconds", "Seconds to the response", ["address"], buckets=LATENCY_BUCKETS, registry=registry
        )
        self._inference = histogram(
            "all_inference_seconds", "Inference time in seconds", buckets=LATENCY_BUCKETS, registry=registry
        )
        self._predictions = counter("all_verdicts", "Predictions", ["verdict", "confidence"], registry=registry)
        self._outcomes = counter("all_outcomes", "Results by outcome", ["outcome"], registry=registry)
        self._reasons = counter("all_review_reasons", "Why images need review", ["reason"], registry=registry)
        self._score = prometheus_client.Summary(
            "all_score", "Probability of ALL; its mean is sum divided by count", registry=registry
        )
        self._brightness = histogram(
            "all_image_brightness", "Mean of an image's pixels, 0 to 255", buckets=BRIGHTNESS_BUCKETS, registry=registry
        )
        self._remarks = counter(
            "all_images_outside", "Images whose colors differ from the training images", registry=registry
        )
        self._side = histogram(
            "all_image_side_pixels", "Shorter side of an image", buckets=PIXEL_BUCKETS, registry=registry
        )
        gauge = prometheus_client.Gauge
        in_flight = gauge("all_requests_inside", "Requests that run or wait", registry=registry)
        in_flight.set_function(lambda: admission.in_flight)
        gauge("all_places", "Requests that may run or wait", registry=registry).set(admission.capacity)
        gauge("all_ready", "1 if the service is ready", registry=registry).set_function(lambda: float(ready()))
        prometheus_client.Info("all_model", "The model", registry=registry).info(model)
        registry.register(_NCS1Collector(telemetry))

    def observe_response(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a response.

        Args:
          endpoint: the URL rule, not the requested path, because the number of label values must be bounded.
          outcome: "ok" or a key of api_errors.ERROR_CODES.
          seconds: time from request to response.
        """
        self._requests.labels(endpoint, outcome).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def observe_result(self, result: PredictionResult) -> None:
        """Count a prediction and the properties of its image."""
        prediction = result.prediction
        self._inference.observe(result.seconds)
        self._predictions.labels(prediction.description, "low" if prediction.low_confidence else "normal").inc()
        self._score.observe(prediction.probabilities[prediction.positive])
        self._brightness.observe(result.brightness)
        self._remarks.inc(result.remark is not None)
        self._outcomes.labels(prediction.outcome).inc()
        for reason in prediction.reasons:
            self._reasons.labels(reason).inc()
        self._side.observe(min(result.image_info.width, result.image_info.height))

    def render(self) -> bytes:
        """Return all metrics as text."""
        return prometheus_client.generate_latest(self._registry)


class _NCS1Collector:
    """Reads the metrics of Movidius sticks when Prometheus asks for them."""

    METRICS = (
        ("connected", GaugeMetricFamily, "all_stick_connected", "1 if the stick is in use"),
        ("inferences", CounterMetricFamily, "all_stick_inferences", "Images that the stick classified"),
        ("failures", CounterMetricFamily, "all_stick_failures", "Failures of the stick"),
        ("milliseconds", GaugeMetricFamily, "all_stick_milliseconds", "The stick's own time for its last image"),
        ("celsius", GaugeMetricFamily, "all_stick_celsius", "Temperature of the stick"),
    )

    def __init__(self, telemetry: Telemetry):
        self._telemetry = telemetry

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        sticks = self._telemetry()
        for key, kind, name, text in self.METRICS if sticks else ():
            family = kind(name, text, labels=["stick"])
            for stick in sticks:
                if stick[key] is not None:
                    family.add_metric([stick["stick"]], float(stick[key]))
            yield family
