"""Update the message catalogues in Classes/common/locale from the texts in the code.

python3 -m tests.support.catalogue          # after a change of a text: add and remove messages, compile
python3 -m tests.support.catalogue fr       # add a language: an empty catalogue to translate

Translate the new and the "fuzzy" entries of `all.po`, delete the word "fuzzy", and run the first command again.
"""

import gettext
import io
import json
import pathlib
import re
import string
import sys
from collections.abc import Collection, Iterator
from typing import BinaryIO

from babel.messages import catalog, extract, mofile, pofile

from Classes.common import translation
from Classes.common.paths import PROJECT

PYTHON = "python"
JAVASCRIPT = "javascript"
TEMPLATE = "jinja2"
SHELL = "shell"
# Files by their extractor. The model card and its table are English: they are published with the model.
FILES = {
    PYTHON: ("*.py", "Classes/**/*.py"),
    JAVASCRIPT: ("Classes/serving/static/**/*.js",),
    SHELL: ("Setup.sh",),
    TEMPLATE: ("Classes/*/templates/*.html", "Classes/serving/static/*.html"),
}
OPTIONS = {TEMPLATE: {"trimmed": "true", "trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}}
LOOKUPS = {"_": None, "gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}
KEYWORDS = {
    PYTHON: {
        **LOOKUPS,
        "Message": None,
        "mark": None,
        # Lines of the log that a terminal shows, see logs.py.
        "warning": None,
        "error": None,
    },
    TEMPLATE: LOOKUPS,
    SHELL: {"tell": None, "fail": None},
    # See translation.js.
    JAVASCRIPT: {"t": None, "tn": (1, 2)},
}
# A placeholder of templates, argparse and log lines.
PERCENT = r"%(?:\(\w+\))?[-+.0-9]*[srdgef](?!\w)"

# A comment in the code that begins so is shown to translators.
COMMENTS = ("Translators:",)


class Catalogue(catalog.Catalog):
    """A catalogue whose header has no dates, names and versions, so that it changes only with its messages."""

    plural_rule = ""

    @property
    def num_plurals(self) -> int:
        """Number of plural forms: that of the file, which can have fewer than Babel's rule of the language."""
        found = re.match(r"nplurals=(\d+)", self.plural_rule)
        return int(found[1]) if found else super().num_plurals

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        headers = {
            "Language": self.locale_identifier,
            "Plural-Forms": self.plural_rule or self.plural_forms,
            "MIME-Version": "1.0",
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Transfer-Encoding": "8bit",
        }
        return [(name, value) for name, value in headers.items() if value]


def extract_messages() -> Catalogue:
    """Return the messages of the code."""
    found = Catalogue(fuzzy=False)
    for method, patterns in FILES.items():
        for path in sorted(path for pattern in patterns for path in PROJECT.glob(pattern)):
            name = path.relative_to(PROJECT).as_posix()
            for _, message, comments, context in _messages(path, method):
                found.add(message, locations=[(name, None)], auto_comments=comments, context=context)
    return found


def _messages(path: pathlib.Path, method: str) -> Iterator[tuple]:
    options = OPTIONS.get(method, {})
    with open(path, "rb") as file:
        extractor = _extract_shell if method == SHELL else method
        for found in extract.extract(extractor, file, KEYWORDS[method], COMMENTS, options, strip_comment_tags=True):
            # Such as "%s: %s", which has no words.
            if not all(re.fullmatch(r"\W*", re.sub(PERCENT, "", text)) and "%" in text for text in forms(found[1])):
                yield found


def _extract_shell(file: BinaryIO, keywords: Collection[str], *_: object, **__: object) -> Iterator[tuple]:
    """Extract the first argument of some functions of a shell script, as Babel's own extractors do."""
    for number, line in enumerate(file, 1):
        for function, text in re.findall(r'\b(\w+) "([^"$]*)"', line.decode()):
            if function in keywords:
                yield number, function, text, []


def po_path(language: str) -> pathlib.Path:
    return translation.FOLDER / language / "LC_MESSAGES" / f"{translation.DOMAIN}.po"


def languages() -> list[str]:
    """Return the languages that have a catalogue; English needs none."""
    return sorted(path.parts[-3] for path in translation.FOLDER.glob(f"*/LC_MESSAGES/{translation.DOMAIN}.po"))


def read(language: str) -> Catalogue:
    """Return the catalogue of a language as it is in its file."""
    with open(po_path(language), "rb") as file:
        source = pofile.read_po(file, locale=language, abort_invalid=True)
    found = Catalogue(language, fuzzy=False)
    # That of the file: a translator can choose one that is simpler than that of Babel.
    found.plural_rule = source.plural_forms
    for message in source:
        if message.id:
            found[message.id] = message
    return found


def compiled(language: str) -> dict[pathlib.Path, bytes]:
    """Return the files that the catalogue of a language is compiled to: for Python, and for the page."""
    found = read(language)
    binary = io.BytesIO()
    mofile.write_mo(binary, found)
    page = json.dumps(page_messages(found), ensure_ascii=False, indent=0, sort_keys=True)
    return {
        po_path(language).with_suffix(".mo"): binary.getvalue(),
        po_path(language).with_name("page.json"): f"{page}\n".encode(),
    }


def page_messages(found: catalog.Catalog) -> dict:
    """Return the messages of the JavaScript files, and the index of the plural form of each count.

    A gettext rule is an expression of C, which a page cannot evaluate under its content security policy. All rules
    depend on the last two digits, or on a number below 100.
    """
    texts = {}
    for message in found:
        if message.id and message.string and any(name.endswith(".js") for name, _ in message.locations):
            key = message.id if isinstance(message.id, str) else message.id[0]
            texts[key] = message.string
    rule = gettext.c2py(found.plural_rule.partition("plural=")[2].rstrip(";"))
    return {"texts": texts, "plural": "".join(str(rule(count)) for count in range(200))}


def placeholders(text: str) -> set[str]:
    """Return the placeholders of a text: `{name}`, and `%(name)s` or `%s` of templates and argparse."""
    in_template = re.findall(PERCENT, text.replace("%%", ""))
    # Those without a name are filled in by their order.
    return {f"{index} {each}" if "(" not in each else each for index, each in enumerate(in_template)} | {
        f"{{{name}{':' if layout else ''}{layout}}}"
        for _, name, layout, _ in string.Formatter().parse(text)
        if name is not None
    }


def update(language: str, messages: Catalogue) -> None:
    """Add new messages to the catalogue of a language, or make it, and remove those that the code no longer has."""
    path = po_path(language)
    if path.exists():
        found = read(language)
    else:
        path.parent.mkdir(parents=True)
        found = Catalogue(language, fuzzy=False)
    found.update(messages)
    found.obsolete.clear()
    header = "\n".join(f'"{name}: {value}\\n"' for name, value in found.mime_headers)
    with open(path, "wb") as file:
        file.write(f'msgid ""\nmsgstr ""\n{header}\n\n'.encode())
        pofile.write_po(file, found, width=110, sort_by_file=True, include_lineno=False, omit_header=True)


def main(arguments: list[str]) -> int:
    messages = extract_messages()
    for language in sorted({*languages(), *arguments}):
        update(language, messages)
        for path, content in compiled(language).items():
            path.write_bytes(content)
        missing = [message.id for message in read(language) if not is_translated(message)]
        print(f"{po_path(language)}: {len(missing)} of {len(messages)} messages to translate")
    return 0


def forms(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the singular and plural forms of an id or a translation."""
    return (text,) if isinstance(text, str) else tuple(text)


def is_translated(message: catalog.Message) -> bool:
    return not message.id or (all(forms(message.string)) and not message.fuzzy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
