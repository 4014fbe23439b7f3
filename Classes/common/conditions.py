"""The condition that a model detects: its names, the texts about it, and the source of the medical terms.

A server can serve models of several conditions, so a text takes the condition as an argument. A result has the
condition of its model card; before there is a model, the configuration names it (`Condition`). See docs/conditions.md.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from Classes.common import translation
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message, localize, mark
from Classes.common.translation import gettext as _


@dataclasses.dataclass(frozen=True)
class Condition:
    """What is detected.

    Attributes:
      short: short name in English, such as "ALL"; part of log lines, API answers and file names.
      long: long name in English, such as "Acute Lymphoblastic Leukemia".
      source: where the medical terms come from.
      affected_cells, normal_cells: English words, in the plural, for the cells of the positive and of the other
        classes.
      translations: {language: {field: text}} of the four texts above; the message catalogue translates ALL and AML.
    """

    short: str
    long: str
    source: str = ""
    affected_cells: str = mark("abnormal cells")
    normal_cells: str = mark("healthy cells")
    translations: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def name(self) -> Message:
        """The short name as a part of a Message: English in logs and answers, translated for people."""
        return self._message("short")

    @property
    def long_name(self) -> Message:
        """The long name as a part of a Message."""
        return self._message("long")

    @property
    def label(self) -> str:
        """The short name in the language of the reader."""
        return localize(self.name)

    @property
    def title(self) -> str:
        """The long name in the language of the reader."""
        return localize(self.long_name)

    @property
    def file_name(self) -> str:
        """The short name for file names and topics: ASCII letters, digits, "_", "." and "-"."""
        plain = unicodedata.normalize("NFKD", self.short).encode("ascii", "ignore").decode()
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._-") or "Condition"

    def detected_text(self, detected: bool) -> str:
        """Return the result as logs, API answers and tables state it: "ALL detected" or "ALL not detected"."""
        return f"{self.short} detected" if detected else f"{self.short} not detected"

    def class_title(self, positive: bool) -> str:
        """Return the name of the positive or of another class, "ALL" or "not ALL", in the language of the reader."""
        return self.label if positive else _("not {condition}").format(condition=self.label)

    def to_json(self) -> dict[str, Any]:
        """Return the fields for a model card or an API answer."""
        return dataclasses.asdict(self)

    def _message(self, field: str) -> Message:
        own = {language: texts[field] for language, texts in self.translations.items() if field in texts}
        return translation.with_translations(getattr(self, field), own)


# Sources of the names: WHO Classification of Haematolymphoid Tumours, 5th edition, as summarized by Alaggio et al.,
# Leukemia 2022;36:1720-1748, doi:10.1038/s41375-022-01620-2 (lymphoid) and Khoury et al., Leukemia 2022;36:1703-1719,
# doi:10.1038/s41375-022-01613-1 (myeloid); the codes are from the NCI Thesaurus.
ALL = Condition(
    short=mark("ALL"),
    long=mark("Acute Lymphoblastic Leukemia"),
    source="WHO Classification of Haematolymphoid Tumours, 5th edition (doi:10.1038/s41375-022-01620-2); "
    "NCI Thesaurus C3167",
    affected_cells=mark("leukemic cells"),
)
AML = Condition(
    short=mark("AML"),
    long=mark("Acute Myeloid Leukemia"),
    source="WHO Classification of Haematolymphoid Tumours, 5th edition (doi:10.1038/s41375-022-01613-1); "
    "NCI Thesaurus C3171",
    affected_cells=mark("leukemic cells"),
)
KNOWN = {condition.short: condition for condition in (ALL, AML)}

_FIELDS = tuple(field.name for field in dataclasses.fields(Condition))


def from_configuration(value: str | Mapping[str, Any]) -> Condition:
    """Return the condition of the key `Condition`: a known short name, or the fields of a Condition.

    Raises:
      ConfigurationError: `invalid_value`: a name has a character that cannot be printed.
    """
    if isinstance(value, str):
        return KNOWN[value]
    found = from_card(value)
    for field in ("short", "long"):
        if not getattr(found, field).strip() or not getattr(found, field).isprintable():
            message = Message(
                "Condition.{field} is {value}; allowed: a text without control characters",
                field=field,
                value=ascii(getattr(found, field)),
            )
            raise ConfigurationError(message, code="invalid_value")
    return found


def from_result(text: str, described: Iterable[Condition] = ()) -> Condition:
    """Return the condition of a result such as "AML not detected".

    Args:
      described: conditions that a server describes; others are known by their short name only.
    """
    short = re.sub(r"( not)? detected$", "", text)
    return next((each for each in (*described, ALL, AML) if each.short == short), Condition(short, short))


def is_detected(text: str | None) -> bool:
    """Return whether a result such as "AML not detected" states that the condition is detected."""
    return text is not None and text.endswith(" detected") and not text.endswith(" not detected")


def from_card(value: Mapping[str, Any] | None) -> Condition:
    """Return the condition of a model card; cards before this field are of models for ALL."""
    return ALL if value is None else Condition(**{name: value[name] for name in _FIELDS if name in value})
