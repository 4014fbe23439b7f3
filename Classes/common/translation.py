"""Texts in the language of the reader, from the gettext catalogues in `locale/<language>/LC_MESSAGES/all.mo`.

A text in the code is English, a whole sentence with named placeholders, and is looked up when it is shown:

    _("{name}: not a readable image").format(name=name)

A text that both a person and a program read, such as an error, is a `Message`: it is English, and `localize` returns it
in the language of the reader. Log files, the API, error codes and JSON keys stay English.

`python3 -m tests.support.catalogue` updates the catalogues; see CONTRIBUTING.md. Imports only the standard library.
"""

import contextlib
import contextvars
import functools
import gettext as catalogues
import numbers
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

FOLDER = pathlib.Path(__file__).with_name("locale")
DOMAIN = "all"

# The language of the texts in the code.
ENGLISH = "en"

# The language of this thread or request; None: the language of the process.
_language: contextvars.ContextVar[str | None] = contextvars.ContextVar("language", default=None)
_process_language = ENGLISH


def gettext(message: str) -> str:
    """Return a text in the current language; in English, if the catalogue lacks it."""
    return _catalogue(current_language()).gettext(message) if message else ""


def ngettext(singular: str, plural: str, count: int) -> str:
    """Return a text in the current language, in the form for a count; placeholders are not filled in."""
    return _catalogue(current_language()).ngettext(singular, plural, count)


def pgettext(context: str, message: str) -> str:
    """Return a text in the current language, if one English word has several translations.

    Args:
      context: which of them, for translators only.
    """
    return _catalogue(current_language()).pgettext(context, message)


def mark(template: str) -> str:
    """Return a template unchanged, so that it gets into the catalogue; a Message is made of it later."""
    return template


class Message(str):
    """An English text that `localize` translates.

    Args:
      template: the text, with named placeholders.
      values: numbers, texts or other messages; anything else is converted to a text.
    """

    def __new__(cls, template: str, /, **values: Any) -> "Message":
        # A number keeps its type, because a placeholder can have a format.
        kept = {
            name: value if isinstance(value, (numbers.Number, str)) else text_of(value)
            for name, value in values.items()
        }
        made = super().__new__(cls, template.format(**kept) if kept else template)
        made.template, made.values = template, kept
        return made

    template: str
    values: dict[str, Any]
    # Texts by language that the catalogue does not have.
    own: Mapping[str, str] = {}

    def __reduce__(self) -> Any:
        return functools.partial(_restore, self.template, self.values, self.own), ()


def _restore(template: str, values: dict[str, Any], own: Mapping[str, str]) -> Message:
    message = Message(template, **values)
    message.own = own
    return message


def to_json(text: Any) -> Any:
    """Return a text as JSON from which `from_json` restores a Message that can be translated; other values as is."""
    if not isinstance(text, Message):
        return text
    content: dict[str, Any] = {"message": text.template}
    if text.values:
        content["values"] = {name: to_json(value) for name, value in text.values.items()}
    if text.own:
        content["own"] = dict(text.own)
    return content


def from_json(content: Any) -> Any:
    """Return the text of `to_json`."""
    if not isinstance(content, dict):
        return content
    values = {name: from_json(value) for name, value in content.get("values", {}).items()}
    return _restore(content["message"], values, content.get("own", {}))


def with_translations(text: str, own: Mapping[str, str]) -> Message:
    """Return a text as a Message with translations of its own; the catalogue has the other languages.

    Args:
      own: {language: text}, such as those that a configuration gives.
    """
    return _restore(text, {}, own)


def join(separator: str, parts: Iterable[str]) -> Message:
    """Return several texts as one message."""
    values = {f"part{index}": part for index, part in enumerate(parts)}
    return Message(separator.join(f"{{{name}}}" for name in values), **values)


def localize(text: Any) -> str:
    """Return a Message, or an exception with one, in the current language; anything else as a text."""
    text = text_of(text)
    if not isinstance(text, Message):
        return str(text)
    values = {name: localize(value) if isinstance(value, str) else value for name, value in text.values.items()}
    translated = text.own.get(current_language()) or gettext(text.template)
    return translated.format(**values) if values else translated


def current_language() -> str:
    """Return the language of this thread, "en", "es", …"""
    return _language.get() or _process_language


def set_language(language: str) -> None:
    """Set the language of this process, for all threads without one of their own."""
    global _process_language
    _process_language = best_language([language])


@contextlib.contextmanager
def use_language(language: str) -> Iterator[None]:
    """Use a language in this thread, such as the one of a request."""
    token = _language.set(best_language([language]))
    try:
        yield
    finally:
        _language.reset(token)


@functools.cache
def languages() -> tuple[str, ...]:
    """Return the available languages, English first."""
    return (ENGLISH, *sorted(path.parts[-3] for path in FOLDER.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")))


def language_names() -> dict[str, str]:
    """Return {language: its name in that language}."""
    return {each: _catalogue(each).pgettext("name of this language", "English") for each in languages()}


def language_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """Return the available language that the system asks for: LC_ALL, LC_MESSAGES or LANG, refined by LANGUAGE."""
    locale = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    if locale.partition(".")[0] in ("", "C", "POSIX"):
        return ENGLISH
    return best_language([*filter(None, environment.get("LANGUAGE", "").split(":")), locale])


def language_for_request(accept_language: str | None, fallback: str = ENGLISH) -> str:
    """Return the available language that a browser prefers.

    Args:
      accept_language: header of the request, such as "es-MX,es;q=0.9,en;q=0.8".
      fallback: language if none of these is available.
    """
    preferred = []
    for entry in (accept_language or "").split(","):
        name, *parameters = entry.split(";")
        quality = next((text.strip()[2:] for text in parameters if text.strip().startswith("q=")), "1")
        with contextlib.suppress(ValueError):
            preferred.append((float(quality), name.strip()))
    # The sort is stable: equal preferences stay in the order of the header.
    ordered = sorted(preferred, key=lambda each: -each[0])
    return best_language((name for quality, name in ordered if quality > 0), fallback)


def best_language(preferred: Iterable[str], fallback: str = ENGLISH) -> str:
    """Return the first available of some languages, such as "es_MX.UTF-8" or "es-MX"; `fallback` if there is none."""
    known = {name.lower(): name for name in languages()}
    for name in preferred:
        tag = name.partition(".")[0].partition("@")[0].replace("-", "_").lower()
        for candidate in (tag, tag.partition("_")[0]):
            if candidate in known:
                return known[candidate]
    return fallback


@functools.cache
def _catalogue(language: str) -> catalogues.NullTranslations:
    return catalogues.translation(DOMAIN, FOLDER, [language], fallback=True)


def text_of(value: Any) -> str:
    """Return the Message of an exception, or a value as a text; `localize` can translate the result later."""
    if isinstance(value, BaseException) and len(value.args) == 1 and isinstance(value.args[0], Message):
        return value.args[0]
    return value if isinstance(value, str) else str(value)


def main() -> None:
    """Print a text in the language of the system, for Setup.sh."""
    set_language(language_from_environment())
    print(gettext(sys.argv[1]))


if __name__ == "__main__":
    main()
