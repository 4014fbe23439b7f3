"""The state that all endpoints share: backend, request queue, rate limiter, metrics, and where results are sent."""

import contextlib
import dataclasses
import logging
import threading
from typing import Any

from Classes.common.config import Configuration
from Classes.common.errors import ALLError, EngineError, ImageError
from Classes.inference.backend import InferenceBackend
from Classes.inference.class_activation import Explainer
from Classes.inference.model_card import ModelCard
from Classes.serving import access_control, api_errors, predictor, response_schemas
from Classes.serving.access_log import AccessLog
from Classes.serving.admission import AdmissionController, Ticket
from Classes.serving.api_errors import ApiError
from Classes.serving.history import ResultHistory
from Classes.serving.mqtt import MqttPublisher
from Classes.serving.predictor import HeatMap, PredictionResult
from Classes.serving.prometheus import ServiceMetrics
from Classes.serving.upload_store import UploadStore

log = logging.getLogger("ClassifierServer")


class PredictionService:
    """Predictions, their limits and their metrics; one instance per process, thread-safe.

    Args:
      configuration: Configuration.
      card: the model card.
      backend: runs the model; `close` does not close it.
      keys: the API keys that clients may send; None: they need none.
      access_log, upload_store, publisher, history: where requests and results are recorded, or None.
    """

    def __init__(
        self,
        configuration: Configuration,
        card: ModelCard,
        backend: InferenceBackend,
        keys: access_control.ApiKeys | None = None,
        access_log: AccessLog | None = None,
        upload_store: UploadStore | None = None,
        publisher: MqttPublisher | None = None,
        history: ResultHistory | None = None,
    ):
        self.configuration, self.card, self.backend = configuration, card, backend
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
        self.predictor = predictor.Predictor(configuration, card, backend, Explainer(card, backend))
        model = {"engine": backend.name, "precision": backend.precision, "graph_sha256": card.graph_sha256}
        self.metrics = ServiceMetrics(self.admission, lambda: self.ready, model, backend.telemetry)
        self._healthy = self._stopping = False
        self._warm_up_lock = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether a request that is sent now is likely to get a result."""
        return self._healthy and not self._stopping

    def warm_up(self) -> None:
        """Run inferences, and become ready if they succeed.

        Raises:
          EngineError: the device failed.
        """
        with self._warm_up_lock:
            self.predictor.warm_up()
            self._healthy = True

    def stop(self) -> None:
        """Stop being ready for good; requests are still answered."""
        self._stopping = True

    def probe_backend(self) -> None:
        """If the backend has failed, run an inference, and become ready again if it succeeds.

        A load balancer sends no requests to a server that is not ready, so nothing else would detect the recovery.
        """
        if not self._healthy and not self._stopping:
            with contextlib.suppress(EngineError, ApiError), self.admission.admit() as ticket:
                ticket.run(self.warm_up)

    def predict(self, ticket: Ticket, content: bytes, heat_map: bool = False) -> PredictionResult:
        """Classify the image in the bytes of a file in a worker thread.

        Raises:
          ApiError: the image is unusable, the device failed, or the time is over.
        """
        try:
            result = ticket.run(self.predictor.predict, content, heat_map)
        except ALLError as error:
            raise self._api_error(error) from error
        self._healthy = True
        return result

    def render_heat_map(self, ticket: Ticket, content: bytes) -> HeatMap:
        """Return the heat map of the image in the bytes of a file, made in a worker thread.

        Raises:
          ApiError: as `predict`, or the model has no heat maps.
        """
        try:
            return ticket.run(self.predictor.render_heat_map, content)
        except ALLError as error:
            raise self._api_error(error) from error

    def predict_batch(self, ticket: Ticket, contents: list[bytes]) -> list[PredictionResult | ApiError]:
        """Classify several images in a worker thread; an unusable image yields an ApiError in its place.

        Raises:
          ApiError: the device failed, or the time is over.
        """
        return ticket.run(self._predict_each, ticket, contents)

    def record(self, result: PredictionResult, request_id: str, key_name: str = "") -> None:
        """Count a result, and store and publish it if that is configured.

        Args:
          result: the result of one image.
          request_id: as in the access log.
          key_name: name of the client's API key, or "".
        """
        self.metrics.observe_result(result)
        if self.upload_store is not None:
            self.upload_store.add(result, self.card.graph_sha256, request_id)
        if self.history is not None:
            self.history.add(result, self.card.graph_sha256, request_id, key_name)
        if self.publisher is not None:
            self.publisher.publish({**response_schemas.to_json(result), **self.provenance(request_id, result)})

    def provenance(self, request_id: str, *results: PredictionResult) -> dict[str, Any]:
        """Return the JSON fields that identify model and device; without results, those of the next result."""
        sources = [(result.backend, result.precision) for result in results]
        return response_schemas.provenance_fields(
            self.card, sources or [(self.backend.name, self.backend.precision)], request_id
        )

    def close(self) -> None:
        """Accept no more work, and close everything that results are recorded in."""
        self.admission.close()
        self.heat_map_admission.close()
        for each in (self.access_log, self.upload_store, self.publisher, self.history):
            if each is not None:
                each.close()

    def card_json(self) -> dict[str, Any]:
        """Return the model card as JSON, without its path on this machine."""
        fields = dataclasses.asdict(self.card)
        return {key: value for key, value in fields.items() if key != "path"}

    def _predict_each(self, ticket: Ticket, contents: list[bytes]) -> list[PredictionResult | ApiError]:
        results: list[PredictionResult | ApiError] = []
        for content in contents:
            ticket.check_deadline()
            try:
                results.append(self.predictor.predict(content) if content else ApiError("empty", "The file is empty."))
            except ImageError as error:
                results.append(api_errors.api_error_from_exception(error))
            except ALLError as error:
                raise self._api_error(error) from error
        return results

    def _api_error(self, error: ALLError) -> ApiError:
        api_error = api_errors.api_error_from_exception(error)
        if api_error.code == "engine_failed":
            log.error("%s", error)
            self._healthy = False
        return api_error
