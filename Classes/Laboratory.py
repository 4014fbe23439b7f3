"""What the addresses of the service work with: the engine, the room before it, and who is told of a verdict."""

import contextlib
import dataclasses
import logging
import threading

from Classes import Answers, Callers, Examination, Refusals
from Classes.Errors import ALLError, EngineError, ImageError
from Classes.Explanation import Explainer
from Classes.Refusals import Refusal
from Classes.Telemetry import Telemetry
from Classes.WaitingRoom import WaitingRoom

log = logging.getLogger("ClassifierServer")


class Laboratory:
    """What the addresses work with; one per process, used from many threads.

    Args:
      configuration: Configuration.
      card: Card.Card.
      engine: see Engine.open_engine.
      key: the API key as bytes, or None.
      access: AccessLog.AccessLog, or None.
      captured: Captured.Captured, or None.
      events: object with `publish(dict)`, which never blocks, or None.
    """

    def __init__(self, configuration, card, engine, key=None, access=None, captured=None, events=None):
        self.configuration, self.card, self.engine, self.key = configuration, card, engine, key
        self.access, self.captured, self.events = access, captured, events
        workers, places = configuration.server_workers, configuration["WaitingRoom"]
        self.room = WaitingRoom(workers, places, configuration["Deadline"])
        self.rate = Callers.Rate(configuration["CallerRate"])
        self.examiner = Examination.Examiner(configuration, card, engine, Explainer(card))
        origin = {"engine": engine.name, "precision": engine.precision, "graph_sha256": card.graph_sha256}
        sticks = getattr(engine, "telemetry", list)
        self.telemetry = Telemetry(self.room, lambda: self.ready, origin, sticks)
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
            with contextlib.suppress(EngineError, Refusal), self.room.place() as place:
                place.run(self.warm_up)

    def examine(self, place, content, heat_map=False):
        """One image's Finding, made in a worker.

        Args:
          place: WaitingRoom.Place.
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
            self.events.publish({**Answers.verdict(finding), **self.origin(request_id, finding)})

    def origin(self, request_id, *findings):
        """The part of an answer that says where it comes from; without findings, where the next would come from."""
        engines = [(each.engine, each.precision) for each in findings] or [(self.engine.name, self.engine.precision)]
        return Answers.origin(self.card, engines, request_id)

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
                found.append(self.examiner.examine(content) if content else Refusal("empty", "the file is empty"))
            except ImageError as error:
                found.append(Refusals.of(error))
            except ALLError as error:
                raise self._refused(error) from error
        return found

    def _refused(self, error):
        refusal = Refusals.of(error)
        if refusal.code == "engine_failed":
            log.error("%s", error)
            self._sound = False
        return refusal
