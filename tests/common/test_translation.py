import json
import pickle
import threading

import numpy
import pytest

from Classes.common import translation
from Classes.common.errors import DataError
from Classes.common.translation import Message
from tests.support import catalogue


@pytest.fixture(scope="module")
def messages():
    return catalogue.extract_messages()


@pytest.fixture(params=catalogue.languages())
def language(request):
    return request.param


# Catalogues


def test_every_message_of_the_code_is_translated(messages, language):
    found = catalogue.read(language)
    wanted = {(message.id, message.context) for message in messages if message.id}

    assert wanted - {(message.id, message.context) for message in found if message.id} == set()
    assert [message.id for message in found if not catalogue.is_translated(message)] == []
    # What the code no longer has is removed.
    assert {(message.id, message.context) for message in found if message.id} - wanted == set()


def test_translations_have_the_placeholders_of_the_message(language):
    for message in catalogue.read(language):
        if message.id:
            ids, texts = catalogue.forms(message.id), catalogue.forms(message.string)
            allowed = set.union(*map(catalogue.placeholders, ids))
            for text in texts:
                assert catalogue.placeholders(text) <= allowed, message.id
            # The last form is the general one; a singular may say "one" instead of the number.
            assert catalogue.placeholders(texts[-1]) == catalogue.placeholders(ids[-1]), message.id


def test_compiled_catalogues_are_current(language):
    for path, content in catalogue.compiled(language).items():
        assert path.read_bytes() == content, "run python3 -m tests.support.catalogue"


def test_plural_forms_of_the_page_are_those_of_gettext(language):
    found = catalogue.page_messages(catalogue.read(language))
    gettext_ = translation.catalogues.translation(translation.DOMAIN, translation.FOLDER, [language])

    assert len(found["plural"]) == 200
    assert gettext_.info()["language"] == language
    if language == "es":
        assert [found["plural"][count] for count in (0, 1, 2, 101)] == ["1", "0", "1", "1"]


def test_a_new_language_needs_only_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "FOLDER", tmp_path)
    messages = catalogue.Catalogue()
    messages.add("Close", locations=[("page.js", None)])
    catalogue.update("fr", messages)
    path = catalogue.po_path("fr")
    path.write_text(
        path.read_text(encoding="utf-8").replace('"Close"\nmsgstr ""', '"Close"\nmsgstr "Fermer"'), encoding="utf-8"
    )
    for compiled, content in catalogue.compiled("fr").items():
        compiled.write_bytes(content)
    translation.languages.cache_clear()
    try:
        assert translation.languages() == ("en", "fr")
        with translation.use_language("fr_CA"):
            assert translation.gettext("Close") == "Fermer"
            assert translation.gettext("Open") == "Open"
    finally:
        translation.languages.cache_clear()
        translation._catalogue.cache_clear()


# Choosing a language


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "es_ES.UTF-8"}, "es"),
        ({"LANG": "es"}, "es"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "C", "LANG": "es_ES.UTF-8"}, "en"),
        ({"LC_ALL": "es_MX.UTF-8", "LANG": "en_US.UTF-8"}, "es"),
        ({"LC_MESSAGES": "es_AR@euro", "LANG": "en_US.UTF-8"}, "es"),
        # As in GNU gettext: a list of preferences, ignored in the C locale.
        ({"LANGUAGE": "de:es", "LANG": "en_US.UTF-8"}, "es"),
        ({"LANGUAGE": "es", "LANG": "C"}, "en"),
    ],
)
def test_language_of_the_system(environment, expected):
    assert translation.language_from_environment(environment) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "en"),
        ("", "en"),
        ("es", "es"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("en-US,en;q=0.9,es;q=0.8", "en"),
        ("en;q=0.3, es;q=0.7", "es"),
        ("de,es;q=0.5", "es"),
        ("es;q=0, en", "en"),
        ("*", "en"),
        ("es;q=high", "en"),
        (";;,=,q=", "en"),
    ],
)
def test_language_of_a_browser(header, expected):
    assert translation.language_for_request(header) == expected


def test_each_thread_has_its_own_language():
    seen = []
    with translation.use_language("es"):
        thread = threading.Thread(target=lambda: seen.append(translation.gettext("Close")))
        thread.start()
        thread.join()
        seen.append(translation.gettext("Close"))

    assert seen == ["Close", "Cerrar"]
    assert translation.gettext("Close") == "Close"


def test_the_language_of_the_process_applies_to_all_threads():
    seen = []
    translation.set_language("es-ES")
    try:
        thread = threading.Thread(target=lambda: seen.append(translation.current_language()))
        thread.start()
        thread.join()
        with translation.use_language("en"):
            seen.append(translation.current_language())
    finally:
        translation.set_language("en")

    assert seen == ["es", "en"]


# Messages for programs and people


def test_a_message_is_english_and_can_be_translated(monkeypatch):
    monkeypatch.setattr(translation, "gettext", {"{a} and {b:.1f}": "{b:.1f} y {a}", "one": "uno"}.get)
    message = Message("{a} and {b:.1f}", a=Message("one"), b=2.25)

    assert message == "one and 2.2"
    assert translation.localize(message) == "2.2 y uno"
    assert translation.localize("plain {a}") == "plain {a}"


def test_numbers_of_numpy_can_have_a_format():
    assert Message("{value:.1f} of {count}", value=numpy.float32(2.25), count=numpy.int64(3)) == "2.2 of 3"


def test_values_are_not_placeholders():
    assert Message("{name}: missing", name="{x}") == "{x}: missing"
    assert translation.localize(Message("{name}: missing", name="{x}")) == "{x}: missing"


def test_a_message_keeps_its_translation_when_it_goes_to_another_process():
    error = DataError(Message("{name}: missing", name="a.png"), code="left_out")
    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == "a.png: missing"
    assert copy.code == "left_out"
    assert copy.args[0].template == "{name}: missing"


def test_an_error_in_a_message_is_translated_too(monkeypatch):
    monkeypatch.setattr(translation, "gettext", {"inside": "dentro", "{name}: {error}": "{name}: {error}"}.get)

    text = Message("{name}: {error}", name="a.png", error=DataError(Message("inside")))

    assert (text, translation.localize(text)) == ("a.png: inside", "a.png: dentro")


def test_a_message_survives_json():
    text = Message("{name}: {reason}", name="a.png", reason=Message("Permission denied"))
    found = translation.from_json(json.loads(json.dumps(translation.to_json(text))))
    assert str(found) == str(text)
    with translation.use_language("es"):
        assert translation.localize(found) == translation.localize(text) != str(text)
    for plain in (None, "text", 1.5):
        assert translation.from_json(translation.to_json(plain)) == plain
