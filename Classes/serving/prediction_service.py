"""What the addresses of the service work with: the engine, the room before it, and who is told of a verdict."""

import contextlib
import dataclasses
import logging
import threading

from Classes.common.errors import ALLError, EngineError, ImageError
from Classes.inference.class_activation import Explainer
from Classes.serving import access_control, api_errors, predictor, response_schemas
from Classes.serving.admission import AdmissionController
from Classes.serving.api_errors import ApiError
from Classes.serving.prometheus import ServiceMetrics

log = logging.getLogger("ClassifierServer")


class PredictionService:
    """What the addresses work with; one per process, used from many threads.

    Args:
      configuration: Configuration.
      card: model_card.ModelCard.
      engine: see backend.open_engine.
      key: the API key as bytes, or None.
      access: access_log.AccessLog, or None.
      captured: upload_store.UploadStore, or None.
      events: object with `publish(dict)`, which never blocks, or None.
    """

    def __init__(self, configuration, card, engine, key=None, access=None, captured=None, events=None):
        self.configuration, self.card, self.engine, self.key = configuration, card, engine, key
        self.access, self.captured, self.events = access, captured, events
        workers, places = configuration.server_workers, configuration["MaxQueued"]
        self.room = AdmissionController(workers, places, configuration["RequestTimeout"])
        self.rate = access_control.TokenBucketLimiter(configuration["RateLimitPerMinute"])
        self.examiner = predictor.Predictor(configuration, card, engine, Explainer(card))
        origin = {"engine": engine.name, "precision": engine.precision, "graph_sha256": card.graph_sha256}
        sticks = getattr(engine, "telemetry", list)
        self.telemetry = ServiceMetrics(self.room, lambda: self.ready, origin, sticks)
        self._sound = self._stopping = False
        self._warming = threading.Lock()

    @property
    def ready(self):
        """Whether a request sent now can be expected to be answered."""
        return self._sound and not self._stopping

    def warm_up(self):
        """Make the service ready by one inference.

        Raises:
          EngineError: the device gives no sound answer.
        """
        with self._warming:
            self.examiner.warm_up()
            self._sound = True

    def stop(self):
        """Never be ready again; what comes all the same is still answered."""
        self._stopping = True

    def look(self):
        """Be ready again where a device that had failed answers now: nobody else would send it anything to try."""
        if not self._sound and not self._stopping:
            with contextlib.suppress(EngineError, ApiError), self.room.place() as place:
                place.run(self.warm_up)

    def examine(self, place, content, heat_map=False):
        """One image's Finding, made in a worker.

        Args:
          place: admission.Ticket.
          content: the bytes of an image file.
          heat_map: whether to draw what the verdict rests on.
        Raises:
          Refusal: the image is refused, the device failed, or the deadline has passed.
        """
        try:
            finding = place.run(self.examiner.examine, content, heat_map)
        except ALLError as error:
            raise self._refused(error) from error
        self._sound = True
        return finding

    def examine_all(self, place, contents):
        """[Finding, or the Refusal in its place] of several images; a device that fails refuses them all."""
        return place.run(self._examine_each, place, contents)

    def note(self, finding, request_id):
        """Count a verdict; keep its image and tell the network of it, where that is configured."""
        self.telemetry.found(finding)
        if self.captured is not None:
            self.captured.keep(finding, self.card.graph_sha256, request_id)
        if self.events is not None:
            self.events.publish({**response_schemas.to_json(finding), **self.origin(request_id, finding)})

    def origin(self, request_id, *findings):
        """The part of an answer that says where it comes from; without findings, where the next would come from."""
        engines = [(each.engine, each.precision) for each in findings] or [(self.engine.name, self.engine.precision)]
        return response_schemas.provenance_fields(self.card, engines, request_id)

    def close(self):
        """Let go of what it works with, but not of the engine, which is its owner's."""
        self.room.close()
        for each in (self.access, self.captured, self.events):
            if each is not None:
                each.close()

    def card_fields(self):
        """The model card as JSON has it, without where it lies on this machine."""
        fields = dataclasses.asdict(self.card)
        return {key: value for key, value in fields.items() if key != "path"}

    def _examine_each(self, place, contents):
        found = []
        for content in contents:
            place.check()
            try:
                found.append(self.examiner.examine(content) if content else ApiError("empty", "the file is empty"))
            except ImageError as error:
                found.append(api_errors.api_error_from_exception(error))
            except ALLError as error:
                raise self._refused(error) from error
        return found

    def _refused(self, error):
        refusal = api_errors.api_error_from_exception(error)
        if refusal.code == "engine_failed":
            log.error("%s", error)
            self._sound = False
        return refusal
