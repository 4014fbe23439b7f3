"""The models that one server offers: their state, and which of them answers a request."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from Classes import Helpers
from Classes.common.conditions import Condition
from Classes.common.config import Configuration
from Classes.inference.backend import InferenceBackend, describe_source
from Classes.inference.class_activation import Explainer
from Classes.inference.model_card import ModelCard
from Classes.serving.api_errors import ApiError
from Classes.serving.predictor import PredictionResult, Predictor


class ServedModel:
    """An open model.

    Args:
      name: its name in requests, such as "ALLGraph".
      configuration: see predictor.Predictor.
      card: the model card.
      backend: runs the model; whoever opened it closes it.
    Attributes:
      healthy: whether the last inference succeeded; false before the first.
    """

    def __init__(self, name: str, configuration: Configuration, card: ModelCard, backend: InferenceBackend):
        self.name, self.card, self.backend = name, card, backend
        self.predictor = Predictor(configuration, card, backend, Explainer(card, backend))
        self.healthy = False
        self._warm_up_lock = threading.Lock()

    def warm_up(self) -> None:
        """Run inferences, and become healthy if they succeed.

        Raises:
          EngineError: the device failed.
        """
        with self._warm_up_lock:
            self.predictor.warm_up()
            self.healthy = True

    def provenance(self, request_id: str, *results: PredictionResult) -> dict[str, Any]:
        """Return the JSON fields that identify model and device; without results, those of the next result."""
        sources = [(result.backend, result.precision) for result in results]
        engine, precision = describe_source(sources or [(self.backend.name, self.backend.precision)])
        return {
            "engine": engine,
            "precision": precision,
            "model": self.card.graph_sha256,
            "model_name": self.name,
            "synthetic": self.card.synthetic,
            "request_id": request_id,
            "notice": Helpers.DISCLAIMER,
        }


class ModelRegistry:
    """The models of a server, by name.

    Args:
      models: open models, at least one.
      unavailable: {name: why it cannot be used, as a sentence} of the others.
      default: name of the model for requests that name none; by default the first open one.
    """

    def __init__(self, models: Sequence[ServedModel], unavailable: Mapping[str, str] | None = None, default: str = ""):
        self._models = {model.name: model for model in models}
        self.unavailable = dict(unavailable or {})
        self.default_name = default or models[0].name

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def default(self) -> ServedModel | None:
        """The model for requests that name none; None if it is not available."""
        return self._models.get(self.default_name)

    @property
    def first(self) -> ServedModel:
        """The default model, otherwise the first one that is open."""
        return self.default or next(iter(self))

    @property
    def condition(self) -> Condition:
        """What the first model that detects something detects; it names the server's pages and documents."""
        return next((model.card.condition for model in self if model.card.positive), self.first.card.condition)

    @property
    def names(self) -> list[str]:
        """Names of the open models."""
        return list(self._models)

    def find(self, name: str) -> ServedModel:
        """Return the model with a name; "" stands for the default one.

        Raises:
          ApiError: `unknown_model`, or `no_model` if it is not available.
        """
        wanted = name or self.default_name
        if wanted in self._models:
            return self._models[wanted]
        listed = ", ".join(self._models)
        if wanted in self.unavailable:
            raise ApiError(
                "no_model",
                f"The model {wanted} is not available. {self.unavailable[wanted]} "
                f"Or choose another model with ?model=NAME: {listed}.",
            )
        raise ApiError("unknown_model", f"There is no model with this name. The models are: {listed}. See /v1/models.")
