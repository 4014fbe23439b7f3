import numpy
import pytest
import sklearn.metrics

from Classes.evaluation import cell_types

CLASSES = list(cell_types.NAMES)


def one_hot(*names, confidence=1.0):
    rows = numpy.full((len(names), len(CLASSES)), (1 - confidence) / (len(CLASSES) - 1))
    for row, name in enumerate(names):
        rows[row, CLASSES.index(name)] = confidence
    return rows


def test_every_type_is_in_one_group():
    listed = [name for types in cell_types.GROUPS.values() for name in types]

    assert sorted(listed) == sorted(CLASSES)
    assert cell_types.group_of("BNE") == cell_types.group_of("NEUTROPHIL") == "neutrophil"
    assert cell_types.group_of("IG") == cell_types.group_of("MMY") == "immature granulocyte"


def test_probabilities_of_a_group_add_up():
    rows = one_hot("BNE", confidence=0.55)

    found = dict(zip(cell_types.GROUPS, cell_types.group_probabilities(rows, CLASSES)[0], strict=True))

    assert found["neutrophil"] == pytest.approx(0.6)  # 0.55 + 0.05
    assert found["immature granulocyte"] == pytest.approx(0.15)
    assert sum(found.values()) == pytest.approx(1)


def test_a_coarse_label_counts_for_its_group_only():
    labels = ["BNE", "SNE", "NEUTROPHIL", "LY"]
    predicted = one_hot("SNE", "SNE", "BNE", "LY")

    found = cell_types.evaluate_cell_types(labels, predicted, CLASSES, list("abcd"))

    assert (found["groups"]["images"], found["types"]["images"]) == (4, 3)
    assert found["groups"]["classes"]["neutrophil"]["recall"]["value"] == 1
    assert found["groups"]["accuracy"]["value"] == 1
    assert found["types"]["classes"]["BNE"]["recall"]["value"] == 0
    assert found["types"]["classes"]["SNE"]["precision"]["value"] == 0.5


def test_metrics_are_those_of_scikit_learn():
    generator = numpy.random.default_rng(4)
    truths = generator.integers(0, 3, 200)
    probabilities = generator.dirichlet([1, 1, 1], 200) + 0.7 * numpy.eye(3)[truths]
    probabilities /= probabilities.sum(1, keepdims=True)
    predicted = probabilities.argmax(1)

    found = cell_types.evaluate_multiclass(truths, probabilities, ["a", "b", "c"], [str(row) for row in range(200)])

    expected = sklearn.metrics.precision_recall_fscore_support(truths, predicted)
    for number, name in enumerate("abc"):
        row = found["classes"][name]
        assert [row[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx(
            [each[number] for each in expected[:3]]
        )
        assert row["support"] == expected[3][number]
        assert row["f1"]["interval"][0] < row["f1"]["value"] < row["f1"]["interval"][1]
    assert found["macro_f1"]["value"] == pytest.approx(sklearn.metrics.f1_score(truths, predicted, average="macro"))
    assert found["confusion"] == sklearn.metrics.confusion_matrix(truths, predicted).tolist()
    low, high = found["macro_f1"]["interval"]
    assert low < found["macro_f1"]["value"] < high
    assert high - low < 0.2


def test_copies_of_one_image_do_not_make_an_interval_narrower():
    generator = numpy.random.default_rng(5)
    truths = generator.integers(0, 2, 60)
    probabilities = numpy.eye(2)[numpy.where(generator.random(60) < 0.8, truths, 1 - truths)]

    def width(copies):
        groups = numpy.repeat(numpy.arange(60), copies).astype(str).tolist()
        found = cell_types.evaluate_multiclass(
            numpy.repeat(truths, copies), numpy.repeat(probabilities, copies, 0), ["a", "b"], groups
        )
        return numpy.ptp(found["macro_f1"]["interval"])

    assert width(8) == pytest.approx(width(1), rel=0.15)


def test_the_text_names_every_class():
    found = cell_types.evaluate_multiclass([0, 1], numpy.eye(2), ["one", "two"], ["x", "y"])

    lines = cell_types.format_multiclass(found)

    assert [line.split()[0] for line in lines[1:3]] == ["one", "two"]
    assert "Macro-F1 1.000" in lines[-1]
