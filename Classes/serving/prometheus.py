"""The service's metrics in the Prometheus text format; one registry per service."""

from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from Classes.serving.admission import AdmissionController
from Classes.serving.field_service import FieldResult
from Classes.serving.models import ModelRegistry, ServedModel
from Classes.serving.predictor import PredictionResult

# Seconds, from what a fast CPU needs for one image to the default request timeout.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BRIGHTNESS_BUCKETS = tuple(range(16, 256, 16))
PIXEL_BUCKETS = (64, 128, 256, 299, 512, 1024, 2048, 4096, 8192)


class ServiceMetrics:
    """Counts requests and predictions.

    Args:
      admission: the request queue.
      ready: returns whether the service is ready.
      models: the models.
      field_admission: the queue of fields.
    """

    content_type: str = prometheus_client.CONTENT_TYPE_LATEST

    def __init__(
        self,
        admission: AdmissionController,
        ready: Callable[[], bool],
        models: ModelRegistry,
        field_admission: AdmissionController,
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
            "all_inference_seconds", "Inference time in seconds", ["model"], buckets=LATENCY_BUCKETS, registry=registry
        )
        verdict = ["verdict", "confidence", "model"]
        self._predictions = counter("all_verdicts", "Predictions", verdict, registry=registry)
        self._outcomes = counter("all_outcomes", "Results by outcome", ["outcome", "model"], registry=registry)
        classes = ["class", "group", "model"]
        self._classes = counter("all_classes", "Results by predicted class", classes, registry=registry)
        self._reasons = counter("all_review_reasons", "Why images need review", ["reason", "model"], registry=registry)
        self._score = prometheus_client.Summary(
            "all_score", "Probability of disease; its mean is sum divided by count", ["model"], registry=registry
        )
        self._brightness = histogram(
            "all_image_brightness", "Mean of an image's pixels, 0 to 255", buckets=BRIGHTNESS_BUCKETS, registry=registry
        )
        self._remarks = counter(
            "all_images_outside", "Images whose colors differ from the training images", ["model"], registry=registry
        )
        self._side = histogram(
            "all_image_side_pixels", "Shorter side of an image", buckets=PIXEL_BUCKETS, registry=registry
        )
        gauge = prometheus_client.Gauge
        in_flight = gauge("all_requests_inside", "Requests that run or wait", registry=registry)
        in_flight.set_function(lambda: admission.in_flight)
        fields_in_flight = gauge("all_fields_inside", "Fields that are counted or wait", registry=registry)
        fields_in_flight.set_function(lambda: field_admission.in_flight)
        self._field_cells = counter("all_field_cells", "Cells of fields by type", ["group", "model"], registry=registry)
        gauge("all_places", "Requests that may run or wait", registry=registry).set(admission.capacity)
        gauge("all_ready", "1 if the service is ready", registry=registry).set_function(lambda: float(ready()))
        info = prometheus_client.Info("all_model", "The models", ["model"], registry=registry)
        healthy = gauge("all_model_ready", "1 if the last inference succeeded", ["model"], registry=registry)
        for model in models:
            self._describe_model(model, info, healthy)
        registry.register(_NCS1Collector(models))

    def _describe_model(
        self, model: ServedModel, info: prometheus_client.Info, healthy: prometheus_client.Gauge
    ) -> None:
        engine, precision, graph = model.backend.name, model.backend.precision, model.card.graph_sha256
        info.labels(model.name).info({"engine": engine, "precision": precision, "graph_sha256": graph})
        healthy.labels(model.name).set_function(lambda: float(model.healthy))
        # Series of a model that has no results yet are 0 rather than missing.
        self._inference.labels(model.name)
        self._remarks.labels(model.name)
        if model.card.positive:
            self._score.labels(model.name)

    def observe_response(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a response.

        Args:
          endpoint: the URL rule, not the requested path, because the number of label values must be bounded.
          outcome: "ok" or a key of api_errors.ERROR_CODES.
          seconds: time from request to response.
        """
        self._requests.labels(endpoint, outcome).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def observe_result(self, model: str, result: PredictionResult) -> None:
        """Count a prediction of a model, given by name, and the properties of its image."""
        prediction = result.prediction
        self._inference.labels(model).observe(result.seconds)
        confidence = "low" if prediction.low_confidence else "normal"
        self._predictions.labels(prediction.description, confidence, model).inc()
        self._classes.labels(prediction.label, prediction.group, model).inc()
        if prediction.positive_probability is not None:
            self._score.labels(model).observe(prediction.positive_probability)
        self._brightness.observe(result.brightness)
        self._remarks.labels(model).inc(result.remark is not None)
        self._outcomes.labels(prediction.outcome or "none", model).inc()
        for reason in prediction.reasons:
            self._reasons.labels(reason, model).inc()
        self._side.observe(min(result.image_info.width, result.image_info.height))

    def observe_field(self, result: FieldResult) -> None:
        """Count the cells of a field."""
        for cell in result.field.cells:
            self._field_cells.labels(cell.group, result.types.path.stem).inc()

    def render(self) -> bytes:
        """Return all metrics as text."""
        return prometheus_client.generate_latest(self._registry)


class _NCS1Collector:
    """Reads the metrics of Movidius sticks, see Movidius.NCS1Backend.telemetry, when Prometheus asks for them."""

    METRICS = (
        ("connected", GaugeMetricFamily, "all_stick_connected", "1 if the stick is in use"),
        ("inferences", CounterMetricFamily, "all_stick_inferences", "Images that the stick classified"),
        ("failures", CounterMetricFamily, "all_stick_failures", "Failures of the stick"),
        ("milliseconds", GaugeMetricFamily, "all_stick_milliseconds", "The stick's own time for its last image"),
        ("celsius", GaugeMetricFamily, "all_stick_celsius", "Temperature of the stick"),
    )

    def __init__(self, models: ModelRegistry):
        self._models = models

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the metrics of all sticks; prometheus_client calls this for each request."""
        sticks = [stick for model in self._models for stick in model.backend.telemetry()]
        for key, kind, name, text in self.METRICS if sticks else ():
            family = kind(name, text, labels=["stick"])
            for stick in sticks:
                if stick[key] is not None:
                    family.add_metric([stick["stick"]], float(stick[key]))
            yield family
