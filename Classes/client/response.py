"""Parse and check the API's responses: whatever a server sends may cost one image, but never the run."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

from Classes.common import conditions, outcome
from Classes.common.conditions import Condition
from Classes.common.errors import escape_control_chars

# Characters of a text, and number of classes and reasons, far above what this API sends.
MAX_TEXT_LENGTH, MAX_CLASSES, MAX_REASONS = 2000, 1000, 100


def parse_response(path: object, status: int, body: bytes, low_below: float) -> dict[str, Any]:
    """Parse the response for an image; never raise.

    Args:
      path: the image, for messages.
      status: HTTP status.
      body: the response body.
      low_below: confidence below which a result is low, for servers that do not report it.
    Returns:
      dict with `message`, `class`, `verdict` (text), `confidence` (0..1), `low` (bool), `probabilities`
      ({class: 0..1}, may be empty), `outcome` and `reasons` (see common.outcome), and `uncertain`, `seconds`, `engine`,
      `precision`, `remark`, `model`, `synthetic`, `class_confidence`, `group`, `group_confidence` and
      `positive_probability`, each of which may be None; or {"error": text}. Of a model that detects nothing, `outcome`
      is None unless the image needs review.
    """
    try:
        fields = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        fields = None
    message = fields.get("message") if isinstance(fields, dict) else None
    if status == 200 and isinstance(fields, dict):
        try:
            return _check_fields(fields, low_below)
        except (ValueError, LookupError, TypeError, OverflowError):
            message = None
    reason = parse_text(message) if isinstance(message, str) and message else "the response is not one of this API"
    return {"error": f"{path}: {reason} (HTTP {status})"}


@dataclasses.dataclass(frozen=True)
class ServerInfo:
    """What /v1/info says.

    Attributes:
      version: of the software; None if there is none.
      conditions: what its model detects; empty if it does not say so.
    """

    version: str | None = None
    conditions: tuple[Condition, ...] = ()


def parse_info(body: bytes) -> ServerInfo:
    """Parse the body of /v1/info; never raise."""
    try:
        fields = json.loads(body)
        version = parse_text(fields["version"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ServerInfo()
    condition = parse_condition(fields.get("condition"))
    return ServerInfo(version, () if condition is None else (condition,))


def parse_condition(condition: Any) -> Condition | None:
    """Parse the condition that a model detects; None if it detects nothing, or if it is not a condition."""
    try:
        texts = {name: parse_text(condition[name]) for name in ("short", "long")}
        translations = {
            parse_text(language): {parse_text(name): parse_text(text) for name, text in own.items()}
            for language, own in condition.get("translations", {}).items()
        }
        return Condition(**texts, translations=translations)
    except (LookupError, TypeError, AttributeError):
        return None


def _check_fields(fields: dict[str, Any], low_below: float) -> dict[str, Any]:
    confidence = fields["Confidence"]
    confidence = _fraction(float(confidence) if isinstance(confidence, str) else confidence)
    result: dict[str, Any] = {
        "message": parse_text(fields["Message"]),
        "class": parse_text(fields["aClassification"]),
        "verdict": parse_text(fields["Classification"]),
        "confidence": confidence,
    }
    for name, check in _OPTIONAL_FIELDS.items():
        value = fields.get(name)
        result[name] = None if value is None else check(value)
    low = result.pop("low_confidence")
    result["low"] = confidence < low_below if low is None else low
    result["probabilities"] = result["probabilities"] or {}
    # Null: the model detects nothing, so only a review has an outcome.
    detects = fields.get("detected", False) is not None
    if result["reasons"] is None or (result["outcome"] is None and detects):
        _add_outcome(result)
    if result["probabilities"] and result["class"] not in result["probabilities"]:
        raise ValueError(result["class"])
    return result


def _add_outcome(result: dict[str, Any]) -> None:
    """Derive outcome and reasons from the older fields, for servers that do not send them."""
    remark = [outcome.UNLIKE_TRAINING] if result["remark"] else []
    reasons = outcome.collect_reasons(result["low"], bool(result["uncertain"]), remark)
    detected = conditions.is_detected(result["verdict"])
    result |= {"reasons": list(reasons), "outcome": outcome.decide(detected, reasons)}


def _reject_constant(text: str) -> None:
    """Reject NaN and Infinity, which are not JSON."""
    raise ValueError(text)


def parse_text(value: Any) -> str:
    """Return a text in a form that can be logged and written: one line, of limited length, without surrogates."""
    if not isinstance(value, str):
        raise TypeError(value)
    return escape_control_chars(value[:MAX_TEXT_LENGTH])


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(value)
    return value


def _fraction(value: Any) -> float:
    if _number(value) > 1:
        raise ValueError(value)
    return float(value)


def _probabilities(value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > MAX_CLASSES:
        raise TypeError(value)
    return {parse_text(name): _fraction(probability) for name, probability in value.items()}


def _outcome(value: Any) -> str:
    if value not in outcome.OUTCOMES:
        raise ValueError(value)
    return value


def _reasons(value: Any) -> list[str]:
    """Return the codes; those of a newer server are kept."""
    if not isinstance(value, list) or len(value) > MAX_REASONS:
        raise TypeError(value)
    return [parse_text(code) for code in value]


# Fields that old servers do not send, and how each is checked.
_OPTIONAL_FIELDS: dict[str, Callable[[Any], Any]] = {
    "low_confidence": _flag,
    "uncertain": _flag,
    "probabilities": _probabilities,
    "seconds": _number,
    "engine": parse_text,
    "precision": parse_text,
    "remark": parse_text,
    "model": parse_text,
    "synthetic": _flag,
    "outcome": _outcome,
    "reasons": _reasons,
    "class_confidence": _fraction,
    "group": parse_text,
    "group_confidence": _fraction,
    "positive_probability": _fraction,
}
