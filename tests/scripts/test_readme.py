"""README and docs agree with the code: links, commands, names, quoted output, settings."""

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys

import pytest

from Classes.Helpers import PROJECT
from Classes.serving import response_schemas
from tests.support import waiting

README = PROJECT / "README.md"
DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [README, PROJECT / "CONTRIBUTING.md", PROJECT / "SECURITY.md", *DOCS]
SCHEMA = json.loads((PROJECT / "Required" / "confs.schema.json").read_text(encoding="utf-8"))["properties"]
KEYS = {key for group in SCHEMA.values() if not group.get("deprecated") for key in group["properties"]}

# Names that look like a key of the configuration and are something else.
NO_KEYS = {"InceptionV3", "AllCNN", "ImageError", "ValueError", "ALLError"}


def text_of(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), re.MULTILINE | re.DOTALL)


def prose(path):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def string_constants():
    """All texts in the code, also the parts of f-strings."""
    found = []
    for path in (PROJECT / "Classes").rglob("*.py"):
        found += [node.value for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.Constant)]
    return [value for value in found if isinstance(value, str)]


def load_script(name):
    """A script of docs/ as a module."""
    specification = importlib.util.spec_from_file_location(name, PROJECT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_readme_is_short():
    lines = text_of(README).splitlines()

    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


def test_configuration_page_is_current():
    page = load_script("configuration_table").page()

    assert text_of(PROJECT / "docs" / "configuration.md") == page, "run python3 docs/configuration_table.py"
    assert all(f"| `{key}` |" in page for key in KEYS)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_anchors_have_targets(path):
    text = prose(path)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path

        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_script_is_named_and_every_named_file_exists():
    scripts = {path.name for path in PROJECT.glob("*.py")} | {"Setup.sh"}
    pattern = r"((?:Classes|benchmarks|docs|tests|Required)/[\w./@-]+\w|\b[A-Z]\w+\.(?:py|sh|ipynb))\b"

    assert scripts <= set(re.findall(r"\w+\.(?:py|sh)", text_of(README)))
    for path in PAGES:
        missing = {name for name in re.findall(pattern, text_of(path)) if not (PROJECT / name).exists()}
        assert missing <= {"Report.html", "Data.html", "Required/container/keys.txt"}, path


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_named_settings_exist(path):
    names = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][A-Za-z0-9]+)+)`", text_of(path)))

    assert names - KEYS - NO_KEYS == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_quoted_output_is_in_the_code(path):
    """A line matches a text with placeholders. Results of images, JSON and metrics have only words of the code."""
    texts = string_constants()
    words = {word for text in texts for word in re.findall(r"[A-Za-z]{3,}", text)}
    # A text with fewer than two words, such as "%s: %s", would match everything.
    formats = [text for text in texts if len(re.findall(r"[A-Za-z]{3,}", text)) > 1]
    patterns = [".+".join(map(re.escape, re.split(r"%[-.\d]*[a-z]", text))) for text in formats]
    for block in blocks(path, "text"):
        for line in block.splitlines():
            if re.match(r"ALL |[A-Z]\w+ +\d\.\d+ |[{ ]", line):
                quoted = set(re.findall(r"[A-Za-z]{3,}", re.sub(r"Model/\S+", "", line)))
                assert quoted <= words, line
            else:
                assert line in texts or any(re.fullmatch(pattern, line) for pattern in patterns), line


def test_quoted_answer_has_the_fields_of_the_api():
    answer = next(block for block in blocks(README, "text") if '"Response"' in block)
    fields = set(re.findall(r'"(\w+)":', answer))

    assert len(fields) > 8
    assert fields <= set(response_schemas.SCHEMAS["Inference"]["properties"])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_examples_use_what_exists(path):
    for block in blocks(path, "python"):
        imported = {}
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                imported |= {alias.asname or alias.name: _imported(node.module, alias.name) for alias in node.names}
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
                assert hasattr(imported[node.value.id], node.attr), ast.unparse(node)


def _imported(module, name):
    loaded = importlib.import_module(module)
    return getattr(loaded, name) if hasattr(loaded, name) else importlib.import_module(f"{module}.{name}")


def test_results_of_the_readme_are_among_the_benchmarks():
    table = text_of(README).partition("## Results")[2].partition("\n## ")[0]
    values = re.findall(r"\| ([\d./ ]+(?:\(\S+\)|ms))", table)

    assert len(values) == 5
    assert all(value in text_of(PROJECT / "docs" / "benchmarks.md") for value in values)


@pytest.mark.parametrize("name", ["README.md", "docs/index.md", "docs/serving.md"])
def test_results_come_with_the_notice(name):
    assert "Research use only" in text_of(PROJECT / name)


def test_pictures_are_small_and_used():
    pictures = list((PROJECT / "docs" / "images").iterdir())
    text = "".join(map(text_of, PAGES))

    assert [picture.name for picture in pictures if picture.stat().st_size >= 150_000] == []
    assert sum(picture.stat().st_size for picture in pictures) < 1_500_000
    assert [picture.name for picture in pictures if f"images/{picture.name}" not in text] == []


def test_website_builds_and_loads_nothing_from_the_internet(tmp_path):
    pytest.importorskip("material", reason="pip install -r Required/requirements-docs.txt")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=waiting.LIMIT)

    assert done.returncode == 0, done.stderr
    for page in tmp_path.glob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?([^\s\">]+)", text_of(page))
        assert loaded
        assert [address for address in loaded if address.startswith(("http", "//"))] == [], page.name
