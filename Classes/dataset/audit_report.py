"""The audit as one page with pictures."""

import datetime
import io

import PIL.Image

from Classes.common import errors, html
from Classes.imaging import decode

# Pictures a section shows at most; Data.json lists everything.
MAX_SHOWN = 40
SAMPLES_PER_CLASS = 6
MAX_SWATCHES = 120
THUMBNAIL_SIDE = 120


def render_audit(configuration, findings, looks):
    """The whole page.

    Args:
      configuration: Configuration.
      findings: from audit.summarize, with `problems`, `unreadable`, `ignored` and `notice`.
      looks: list of audit.AuditRecord.
    Returns:
      HTML text; every picture is inside of it.
    """
    by_name = {look.filename: look for look in looks}
    thumbnails = _Thumbnails(configuration, by_name)
    originals = [look for look in looks if look.class_name != "Test"]
    sections = [
        _problems(findings),
        _classes(findings, originals, thumbnails),
        _probes(findings, originals),
        _colours(findings),
        _duplicates("Copies: one content under several names", findings["exact"], thumbnails),
        _duplicates("Pairs that look like one picture, however turned or mirrored", findings["alike"], thumbnails),
        _duplicates("Shifted or overlapping crops of one picture", findings["crops"], thumbnails),
        f"<p>{html.escape_html(findings['not_found'])}</p>",
        _outliers(findings, thumbnails),
        _left_out(findings),
    ]
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    where = html.escape_html(configuration.path("DatasetDir"))
    under = (
        f"{where}, {made}: {findings['images']} images, {findings['tests']} test images. "
        f"{html.escape_html(findings['notice'])}"
    )
    return html.html_document("Data audit", under, "".join(sections))


def _problems(findings):
    if not findings["problems"]:
        return '<p class="fine">Nothing was found that a person has to look at.</p>'
    return "".join(
        f'<p class="problem"><b>{html.escape_html(each["title"])}</b>: {html.escape_html(each["text"])}.</p>'
        for each in findings["problems"]
    )


def _classes(findings, looks, thumbnails):
    rows, samples = [], ""
    for name, counts in findings["classes"].items():
        if name == "Test":
            continue
        splits = (
            ", ".join(f"{count} {html.escape_html(split)}" for split, count in counts["splits"].items())
            or "not split yet"
        )
        rows.append((html.escape_html(name), counts["images"], counts["originals"], counts["groups"], splits))
        mine = [look.filename for look in looks if look.class_name == name]
        chosen = mine[:: max(1, len(mine) // SAMPLES_PER_CLASS)][:SAMPLES_PER_CLASS]
        samples += f"<p>Class {html.escape_html(name)}</p>{''.join(map(thumbnails.figure, chosen))}"
    stored = "; ".join(
        f"{what}: "
        + ", ".join(f"{html.escape_html(value)} ({count})" for value, count in list(findings[key].items())[:8])
        for what, key in (("sizes", "sizes"), ("modes", "modes"), ("formats", "formats"))
    )
    head = ("class", "images", "originals", "originals or patients", "split")
    return f"<h2>Classes</h2>{html.html_table(head, rows)}<p>Stored as {stored}.</p>{samples}"


def _probes(findings, looks):
    rows = []
    for name, probe in findings["probes"].items():
        if probe["interval"] is None:
            value = "unknown" if probe["auc"] is None else f"{probe['auc']:.3f}"
            rows.append((html.escape_html(name), value, html.escape_html(probe["note"]), ""))
        else:
            low, high = probe["interval"]
            rows.append(
                (
                    html.escape_html(name),
                    f"{probe['auc']:.3f}",
                    f"{low:.3f} to {high:.3f}",
                    _bar(low, probe["auc"], high),
                )
            )
    swatches = ""
    for name in sorted({look.class_name for look in looks}):
        mine = [look for look in looks if look.class_name == name]
        shown = mine[:: max(1, len(mine) // MAX_SWATCHES)][:MAX_SWATCHES]
        row = "".join(
            '<span class="swatch" style="background:rgb({},{},{})"></span>'.format(*look.background) for look in shown
        )
        swatches += f"<p>Background colours of class {html.escape_html(name)}<br>{row}</p>"
    return (
        "<h2>Leak probe</h2><p>How well each of these tells the classes apart, without a look at the cell: area under "
        "the ROC curve on images of other originals or patients, 0.5 is chance, 1 is perfect. A network would learn "
        "what stands out here. Bytes per pixel follow from the picture, so they may differ with the cells.</p>"
        f"{html.html_table(('guessed from', 'ROC AUC', '95 % interval', ''), rows)}{swatches}"
    )


def _bar(low, value, high):
    """The interval on a line from 0 to 1, with the limit of chance."""
    left, middle, right = (round(10 + 200 * each, 1) for each in (low, value, high))
    return (
        '<svg class="wide" viewBox="0 0 220 20" role="img"><line x1="10" x2="210" y1="10" y2="10" stroke="#bbb"/>'
        '<line x1="110" x2="110" y1="3" y2="17" stroke="#888"/>'
        f'<line x1="{left}" x2="{right}" y1="10" y2="10" stroke="#1565c0" stroke-width="4"/>'
        f'<circle cx="{middle}" cy="10" r="5" fill="#1565c0"/></svg>'
    )


def _colours(findings):
    names = [name for name in findings["colours"] if name != "Test"]
    if not names:
        return ""
    rows = []
    for figure in findings["colours"][names[0]]:
        cells = ("{1} ({0} to {2})".format(*findings["colours"][name][figure]) for name in names)
        rows.append((html.escape_html(figure), *cells))
    head = ("levels of 0 to 255", *(f"class {html.escape_html(name)}" for name in names))
    return f"<h2>Colours</h2><p>Middle, and from 5 % to 95 % of the originals.</p>{html.html_table(head, rows)}"


def _duplicates(title, found, thumbnails):
    if not found:
        return f"<h2>{title}</h2><p>None.</p>"
    borders = {"across_classes": "classes", "across_splits": "splits", "across_test": "test images"}
    # Those that cross a border first, whatever their likeness.
    found = sorted(found, key=lambda each: not any(each[key] for key in borders))
    blocks = ""
    for each in found[:MAX_SHOWN]:
        words = [f'<span class="tag">across {border}</span>' for key, border in borders.items() if each[key]]
        if "similarity" in each:
            words.append(f"similarity {each['similarity']:.3f}")
        blocks += (
            f"<div>{' '.join(words)}<br>{''.join(map(thumbnails.figure, each['files'][:SAMPLES_PER_CLASS]))}</div>"
        )
    return f"<h2>{title}</h2><p>{len(found)} in all{_more(found)}.</p>{blocks}"


def _outliers(findings, thumbnails):
    found = [(each["file"], f"{each['size']}: {', '.join(each['reasons'])}") for each in findings["odd_sizes"]]
    found += [(each["file"], f"mode {each['mode']}") for each in findings["odd_modes"]]
    figures = "".join(thumbnails.figure(name, words) for name, words in found[:MAX_SHOWN])
    return f"<h2>Odd sizes and modes</h2><p>{len(found) or 'None'}{_more(found)}.</p>{figures}"


def _left_out(findings):
    rows = [(html.escape_html(each["file"]), html.escape_html(each["reason"])) for each in findings["unreadable"]]
    rows += [
        (html.escape_html(name), "skipped: no image by its extension (ValidIType), hidden, or not in a class folder")
        for name in findings["ignored"]
    ]
    table = html.html_table(("file", "reason"), rows[:MAX_SHOWN]) if rows else ""
    return f"<h2>Unreadable and ignored</h2><p>{len(rows) or 'None'}{_more(rows)}.</p>{table}"


def _more(found):
    return f", the first {MAX_SHOWN} are shown, Data.json has all" if len(found) > MAX_SHOWN else ""


class _Thumbnails:
    """Small pictures of files, each made once."""

    def __init__(self, configuration, looks):
        self._limits = decode.decode_limits(configuration)
        self._looks = looks
        self._made = {}

    def figure(self, filename, words=""):
        """One picture with its name under it."""
        if filename not in self._made:
            self._made[filename] = self._picture(filename)
        look = self._looks.get(filename)
        size = f"{look.width}x{look.height}" if look else ""
        caption = f"{html.escape_html(filename)}<br>{html.escape_html(words) or size}"
        return f"<figure>{self._made[filename]}<figcaption>{caption}</figcaption></figure>"

    def _picture(self, filename):
        try:
            image = PIL.Image.fromarray(
                decode.decode_image(self._looks[filename].path, self._limits, at_least=THUMBNAIL_SIDE)
            )
        except (errors.ImageError, KeyError):
            return "<p>gone meanwhile</p>"
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        src = html.data_uri(file.getvalue(), "jpeg")
        return f'<img alt="" width="{image.width}" height="{image.height}" src="{src}">'
