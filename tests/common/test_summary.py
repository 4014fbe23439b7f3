import pytest

from Classes.common import conditions, known_classes, result_table, summary, translation
from Classes.common.class_scheme import ClassScheme


def row(name, outcome="negative", truth=None, correct=None, error=None, reasons=()):
    found = result_table.new_row(name, truth, ["0", "1"])
    found |= {"outcome": outcome, "reasons": list(reasons), "correct": correct, "error": error}
    return found | {"verdict": "ALL detected" if outcome == "positive" else "ALL not detected"}


def summarize(*arguments):
    return summary.summarize(*arguments, condition=conditions.ALL)


def text(found):
    return "\n".join(found.lines())


def test_two_hundred_images_without_known_classes():
    rows = [row(f"a{n}.png", "positive") for n in range(100)] + [row(f"b{n}.png") for n in range(87)]
    rows += [row(f"c{n}.png", "review", reasons=["low_confidence"]) for n in range(13)]

    found = summarize(rows, 200)

    assert found.counts() == [
        ("Read", 200),
        ("Signs of ALL", 100),
        ("No signs of ALL", 87),
        ("Needs review", 13),
        ("Failed", 0),
    ]
    assert found.accuracy is None and not found.stopped
    assert [name for name, _ in found.review] == [f"c{n}.png" for n in range(13)]


def test_images_without_a_result_are_failed_and_in_no_other_count():
    rows = [row("a.png", outcome=None, error="a.png: damaged"), row("b.png")]

    found = summarize(rows, 2)

    assert (found.read, list(found.failed), found.outcomes["negative"]) == (1, ["a.png"], 1)


def test_a_stopped_run_says_after_how_many_images():
    found = summarize([row("a.png")] * 14, 200)

    assert found.stopped
    assert "14" in text(found) and "200" in text(found)


def test_at_most_twenty_images_are_named():
    rows = [row(f"c{n:02}.png", "review", reasons=["uncertain"]) for n in range(25)]

    lines = list(summarize(rows, 25).review_lines())

    assert [f"c{n:02}.png" in line for n, line in enumerate(lines[:20])] == [True] * 20
    assert len(lines) == 21 and "5" in lines[20]


def test_accuracy_of_the_images_with_a_known_class():
    rows = [row("a_1.png", "positive", "1", True)] * 8 + [row("b_1.png", "negative", "1", False)] * 2
    rows += [row("c_0.png", "negative", "0", True)] * 9 + [row("d_0.png", "positive", "0", False)]
    rows += [row("e_1.png", "review", "1", False), row("f.png")]

    found = summarize(rows, len(rows)).accuracy

    counts = (found.true_positives, found.false_negatives, found.true_negatives, found.false_positives)
    assert counts == (8, 3, 9, 1)
    assert (found.correct, found.total, found.reviewed_wrong) == (17, 21, 1)
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263.
    assert summary.Accuracy(81, 182, 0, 0, 0).interval() == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_skipped_files_are_named():
    assert "notes.txt" in text(summarize([row("a.png")], 1, [("notes.txt", "with another extension")]))


def test_the_summary_is_in_the_language_of_the_reader():
    found = summarize([row("a.png", "review", reasons=["out_of_focus"])], 1)

    with translation.use_language("es"):
        assert "Requiere revisión: a.png: La imagen está desenfocada." in text(found)


def test_the_log_is_english_in_every_language(caplog):
    caplog.set_level("INFO")
    rows = [row("a.png", "review", reasons=["out_of_focus"])]

    with translation.use_language("es"):
        result_table.log_summary(rows, summarize(rows, 1), result_table.logging.getLogger("test"))

    assert "Needs review" in caplog.text and "revisión" not in caplog.text


CLASSES = {"scheme": ClassScheme(("0", "1"), ("1",)), "condition": conditions.ALL}


@pytest.mark.parametrize(
    ("names", "source", "expected", "used"),
    [
        (["Im1_0.png", "Im2_1.png"], "auto", ["0", "1"], "names"),
        (["Im1_0.png", "photo.png"], "auto", [None, None], "none"),
        (["Im1_0.png", "photo.png"], "names", ["0", None], "names"),
        (["Im1_0.png", "Im2_1.png"], "none", [None, None], "none"),
        (["healthy/a_1.png", "ALL/b.png", "c.png"], "folders", ["0", "1", None], "folders"),
        (["x/0/a.png", "x/1/b.png"], "folders", ["0", "1"], "folders"),
        (["0/a.png", "1/b.png"], "auto", [None, None], "none"),
        (["Healthy/a.png", "all/b.png"], "folders", ["0", "1"], "folders"),
    ],
)
def test_where_known_classes_come_from(tmp_path, names, source, expected, used):
    found = known_classes.find_known_classes([tmp_path / name for name in names], **CLASSES, source=source)

    assert (found.classes, found.source) == (expected, used)


def test_folders_of_a_model_with_several_classes_have_its_names(tmp_path):
    files = [tmp_path / "blast" / "a.png", tmp_path / "healthy" / "b.png"]

    found = known_classes.find_known_classes(
        files, ClassScheme(("lymphocyte", "monocyte", "blast"), ("blast",)), conditions.ALL, "folders"
    )

    assert found.classes == ["blast", None]


def test_it_is_said_why_the_accuracy_is_not_measured(tmp_path):
    files = [tmp_path / "cell_0.jpg", tmp_path / "cell_2.jpg"]

    note = known_classes.find_known_classes(files, **CLASSES).note

    assert "--labels names" in note


def test_only_counted_classes_are_counted_and_the_class_is_judged_beside_the_side():
    scheme = ClassScheme(("LY", "BNE", "SNE", "artifact"), (), {"neutrophil": ("BNE", "SNE")}, ("LY", "BNE", "SNE"))
    found = []
    for name, label, truth in (("a", "BNE", "BNE"), ("b", "SNE", "BNE"), ("c", "LY", None), ("d", "artifact", None)):
        made = result_table.new_row(name, truth, scheme.names, scheme)
        assert not {"verdict", "all_probability"} & set(made)
        right = None if truth is None else label == truth
        found.append(made | {"class": label, "group": scheme.group_of(label), "class_correct": right, "correct": right})
    about = summary.summarize(found, 4, condition=conditions.ALL, scheme=scheme)
    assert (about.read, about.accuracy, about.class_accuracy) == (4, None, (1, 2))
    assert dict(about.groups) == {"neutrophil": 2, "LY": 1}
    assert dict(about.classes) == {"BNE": 1, "SNE": 1, "LY": 1}
