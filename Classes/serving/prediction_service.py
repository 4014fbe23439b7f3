"""The state that all endpoints share: models, request queue, rate limiter, metrics, and where results are sent."""

import concurrent.futures
import contextlib
import logging

from Classes.common.config import Configuration
from Classes.common.errors import ALLError, EngineError, ImageError
from Classes.serving import access_control, api_errors, response_schemas
from Classes.serving.access_log import AccessLog
from Classes.serving.admission import AdmissionController, Ticket
from Classes.serving.api_errors import ApiError
from Classes.serving.field_service import FieldAnalyzer, FieldRequest, FieldResult
from Classes.serving.history import ResultHistory
from Classes.serving.models import ModelRegistry, ServedModel
from Classes.serving.mqtt import MqttPublisher
from Classes.serving.predictor import HeatMap, PredictionResult
from Classes.serving.prometheus import ServiceMetrics
from Classes.serving.upload_store import UploadStore

log = logging.getLogger("ClassifierServer")


class PredictionService:
    """Predictions, their limits and their metrics; one instance per process, thread-safe.

    Args:
      configuration: Configuration.
      models: the models; `close` does not close them.
      keys: the API keys that clients may send; None: they need none.
      fields: finds and types the cells of fields; by default with the models.
      access_log, upload_store, publisher, history: where requests and results are recorded, or None.
    """

    def __init__(
        self,
        configuration: Configuration,
        models: ModelRegistry,
        keys: access_control.ApiKeys | None = None,
        access_log: AccessLog | None = None,
        upload_store: UploadStore | None = None,
        publisher: MqttPublisher | None = None,
        history: ResultHistory | None = None,
        fields: FieldAnalyzer | None = None,
    ):
        self.configuration, self.models = configuration, models
        self.keys = keys or access_control.ApiKeys()
        self.access_log, self.upload_store = access_log, upload_store
        self.publisher, self.history = publisher, history
        self.admission = AdmissionController(
            configuration.server_workers, configuration["MaxQueued"], configuration["RequestTimeout"]
        )
        self.rate_limiter = access_control.TokenBucketLimiter(configuration["RateLimitPerMinute"])
        # Heat maps have their own workers and queue, so that requests without one never wait for them.
        self.heat_map_admission = AdmissionController(
            configuration.heat_map_workers, configuration["MaxQueued"], configuration["RequestTimeout"]
        )
        # So do fields, one at a time: a field takes as long as dozens of single cells.
        self.fields = fields or FieldAnalyzer(configuration, models)
        self.field_admission = AdmissionController(
            1, configuration.queued_fields, configuration["RequestTimeout"], background=True
        )
        self.metrics = ServiceMetrics(self.admission, lambda: self.ready, models, self.field_admission)
        self._stopping = False

    @property
    def ready(self) -> bool:
        """Whether a request that is sent now, and names no model, is likely to get a result."""
        return self.is_ready(self.models.first)

    def is_ready(self, model: ServedModel) -> bool:
        """Return whether a request for a model that is sent now is likely to get a result."""
        return model.healthy and not self._stopping

    def warm_up(self) -> None:
        """Run inferences with each model, and become ready if they succeed.

        Raises:
          EngineError: the device failed.
        """
        for model in self.models:
            model.warm_up()

    def stop(self) -> None:
        """Stop being ready for good; requests are still answered."""
        self._stopping = True

    def probe_backend(self, model: ServedModel) -> None:
        """If a model's backend has failed, run an inference, and become ready again if it succeeds.

        A load balancer sends no requests to a server that is not ready, so nothing else would detect the recovery.
        """
        if not model.healthy and not self._stopping:
            with contextlib.suppress(EngineError, ApiError), self.admission.admit() as ticket:
                ticket.run(model.warm_up)

    def predict(self, model: ServedModel, ticket: Ticket, content: bytes, heat_map: bool = False) -> PredictionResult:
        """Classify the image in the bytes of a file in a worker thread.

        Raises:
          ApiError: the image is unusable, the device failed, or the time is over.
        """
        try:
            result = ticket.run(model.predictor.predict, content, heat_map)
        except ALLError as error:
            raise _api_error(model, error) from error
        model.healthy = True
        return result

    def render_heat_map(self, model: ServedModel, ticket: Ticket, content: bytes) -> HeatMap:
        """Return the heat map of the image in the bytes of a file, made in a worker thread.

        Raises:
          ApiError: as `predict`, or the model has no heat maps.
        """
        try:
            return ticket.run(model.predictor.render_heat_map, content)
        except ALLError as error:
            raise _api_error(model, error) from error

    def analyze_field(self, ticket: Ticket, content: bytes, request: FieldRequest) -> FieldResult:
        """Return the cells of the field in the bytes of a file; see FieldAnalyzer.analyze.

        If the time is over, the work stops at its next step.

        Raises:
          ApiError: the image is unusable or no field, a device failed, or the time is over.
        """
        try:
            result = ticket.run(self.fields.analyze, content, request, ticket.check_deadline)
        except ALLError as error:
            api_error = api_errors.api_error_from_exception(error)
            if api_error.code == "engine_failed":
                log.error("%s", error)
            raise api_error from error
        self.metrics.observe_field(result)
        return result

    def predict_batch(
        self, model: ServedModel, ticket: Ticket, contents: list[bytes]
    ) -> list[PredictionResult | ApiError]:
        """Classify several images in a worker thread; an unusable image yields an ApiError in its place.

        Raises:
          ApiError: the device failed, or the time is over.
        """
        return ticket.run(_predict_each, model, ticket, contents, self.admission.workers)

    def record(self, model: ServedModel, result: PredictionResult, request_id: str, key_name: str = "") -> None:
        """Count a result, and store and publish it if that is configured.

        Args:
          model: the model that made it.
          result: the result of one image.
          request_id: as in the access log.
          key_name: name of the client's API key, or "".
        """
        self.metrics.observe_result(model.name, result)
        if self.upload_store is not None:
            self.upload_store.add(result, model.name, model.card.graph_sha256, request_id)
        if self.history is not None:
            self.history.add(result, model.name, model.card.graph_sha256, request_id, key_name)
        if self.publisher is not None:
            self.publisher.publish({**response_schemas.to_json(result), **model.provenance(request_id, result)})

    def close(self) -> None:
        """Accept no more work, and close everything that results are recorded in."""
        self.admission.close()
        self.heat_map_admission.close()
        self.field_admission.close()
        self.fields.close()
        for each in (self.access_log, self.upload_store, self.publisher, self.history):
            if each is not None:
                each.close()


def _predict_each(
    model: ServedModel, ticket: Ticket, contents: list[bytes], at_once: int
) -> list[PredictionResult | ApiError]:
    """Classify images, `at_once` at the same time: some are decoded while others are classified."""

    def work(content: bytes) -> PredictionResult | ApiError:
        """Classify an image, unless the client no longer waits."""
        ticket.check_deadline()
        try:
            return model.predictor.predict(content) if content else ApiError("empty", "The file is empty.")
        except ImageError as error:
            return api_errors.api_error_from_exception(error)

    pool = concurrent.futures.ThreadPoolExecutor(at_once, "batch")
    try:
        return list(pool.map(work, contents))
    except ALLError as error:
        raise _api_error(model, error) from error
    finally:
        # After an error the rest is not begun.
        pool.shutdown(cancel_futures=True)


def _api_error(model: ServedModel, error: ALLError) -> ApiError:
    api_error = api_errors.api_error_from_exception(error)
    if api_error.code == "engine_failed":
        log.error("%s", error)
        model.healthy = False
    return api_error
