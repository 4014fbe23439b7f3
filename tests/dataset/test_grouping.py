"""Groups and patients of images, compared with expectations written by hand."""

import unicodedata

import pytest

from Classes import Helpers
from Classes.common.errors import DataError
from Classes.dataset import grouping


@pytest.fixture
def pattern():
    return Helpers.load_config()["GroupPattern"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Im006_1.jpg", "im006_1"),
        ("IM006_1.JPG", "im006_1"),
        ("Im006_1__rotated.png", "im006_1"),
        ("flip_Im006_1.jpg", "im006_1"),
        ("1/Im006_1.jpg", "im006_1"),
        ("Im006_1-blur.jpg", "im006_1"),
        ("Im006_12.jpg", "im006_12"),
        ("slim006_1.jpg", "slim006_1"),
        ("LY_819068.jpg", "ly_819068"),
        ("LY_819068__blur__3.jpg", "ly_819068"),
        ("a.b.jpg", "a.b"),
        ("noending", "noending"),
        (".jpg", ".jpg"),
    ],
)
def test_the_shipped_pattern(pattern, name, expected):
    assert grouping.source_image_key(name, pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^(x)|(P\d+)", "p17"),  # the first bracket is empty
        (r"nowhere(.)", "p17_cell3"),
        (r"P\d+", "p17_cell3"),  # no bracket at all
    ],
)
def test_other_patterns(pattern, expected):
    assert grouping.source_image_key("P17_Cell3.png", pattern) == expected


def test_patients_of_a_csv(tmp_path):
    assert grouping.load_patient_map(tmp_path) == {}

    text = '\ufeffFile, patient\r\n1/a.jpg,7\r\n\r\n"b, or c.jpg", eight \r\n1/a.jpg,7\r\n'
    (tmp_path / "groups.csv").write_bytes(text.encode())

    assert grouping.load_patient_map(tmp_path) == {"1/a.jpg": "7", "b, or c.jpg": "eight"}


TABLE = {"Pérez_01_0.png": "P1", "b 2.png": "Müller"}


def written(header="file,patient", separator=",", end="\r\n", rows=None):
    lines = [header, *(f"{file},{patient}" for file, patient in rows or TABLE.items())]
    return end.join(line.replace(",", separator) for line in lines) + end


@pytest.mark.parametrize(
    "content",
    [
        written().encode(),
        written().encode("utf-8-sig"),
        written().encode("utf-16"),
        written().encode("utf-16-le"),
        written().encode("utf-16-be"),
        written(separator=";").encode("cp1252"),
        written(separator="\t").encode("utf-16"),
        written(separator="|", end="\n").encode(),
        written(end="\r").encode(),
        ("sep=,\r\n" + written()).encode("cp1252"),
        ("sep=;\r\n" + written(separator=";")).encode("utf-8-sig"),
        ("\r\n,,\r\n" + written() + ",,\r\n,,\r\n").encode(),
        written("Filename,Patient ID").encode(),
        written("image_name,Subject").encode(),
        written("Datei;Patientennummer", ";").encode("cp1252"),
        written('"file","patient"').encode(),
        b'label,patient_id,comment,file\r\n1,P1,"a, b",P\xe9rez_01_0.png\r\n0,M\xfcller,,b 2.png\r\n',
        unicodedata.normalize("NFD", written()).encode(),
        written(rows=[(file, f" {patient}\xa0") for file, patient in TABLE.items()]).encode(),
    ],
)
def test_a_table_as_spreadsheets_write_it(tmp_path, content):
    (tmp_path / "groups.csv").write_bytes(content)

    assert grouping.load_patient_map(tmp_path) == TABLE


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "groups_table"),
        (b"a.jpg,1\n", "groups_table"),
        (b"file\na.jpg\n", "groups_table"),
        (b"filename,image,patient\na.jpg,b.jpg,1\n", "groups_table"),
        (b"file,patient\na.jpg\n", "groups_table"),
        (b"file,patient\na.jpg,1\nb.jpg,\n", "groups_table"),
        (b"file,patient\na.jpg,1\nb.jpg,unknown\n", "groups_table"),
        (b"file,patient\n,1\n", "groups_table"),
        (b"file,patient\na.jpg,1,2\n", "groups_table"),
        (b"file,patient\na.jpg,1\na.jpg,2\n", "two_patients"),
        (b"file,patient\n\x81\x8d.jpg,1\n", "groups_table"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0", "groups_table"),
        (b'file,patient\n"a.jpg,1\n', "groups_table"),
    ],
)
def test_a_malformed_csv(tmp_path, content, code):
    (tmp_path / "groups.csv").write_bytes(content)

    with pytest.raises(DataError) as caught:
        grouping.load_patient_map(tmp_path)
    assert caught.value.code == code
    assert str(tmp_path / "groups.csv") in str(caught.value)


@pytest.mark.parametrize("name", ["groups.csv.txt", "groups.xlsx", "groups.CSV.csv", "group.csv", "Groups (1).csv"])
def test_a_table_under_another_name_is_not_passed_over(tmp_path, name):
    (tmp_path / name).write_text("file,patient\na.jpg,1\n")

    with pytest.raises(DataError) as caught:
        grouping.load_patient_map(tmp_path)
    assert caught.value.code == "groups_table"


def test_the_case_of_the_tables_name_and_copies_of_it_do_not_matter(tmp_path):
    (tmp_path / "Groups.CSV").write_text("file,patient\na.jpg,1\n")
    (tmp_path / "groups.csv.bak").write_text("file,patient\na.jpg,2\n")

    assert grouping.load_patient_map(tmp_path) == {"a.jpg": "1"}


@pytest.mark.parametrize(
    "row",
    [
        "Pérez_ä01_0.png",
        unicodedata.normalize("NFD", "Pérez_ä01_0.png"),
        "0/pérez_Ä01_0.PNG",
        "0\\Pérez_ä01_0.png",
        r"C:\Users\lab\Data\0\Pérez_ä01_0.png",
        r"\\server\share\0\Pérez_ä01_0.png",
        "/home/lab/Model/Data/0/Pérez_ä01_0.png",
        "./0/Pérez_ä01_0.png",
        "Pérez_ä01_0",
        "Model/Data/0/Pérez_ä01_0",
        "Pérez_ä01_0.tif",
        "old/place/Pérez_ä01_0.png",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_row_finds_its_image(pattern, row, form):
    name = unicodedata.normalize(form, "0/Pérez_ä01_0.png")

    found = grouping.assign_groups([name, "0/other.png"], pattern, {row: "7"})

    assert found.patients == {name: "7"}
    assert found.groups[name] == "patient 7"
    assert (found.unlisted, found.unmatched) == (["0/other.png"], [])


def test_the_closest_row_counts(pattern):
    names = ["0/1.jpg", "1/1.jpg", "0/a.png", "0/a.jpg", "/Test/cohort/x.png", "/Test/y.png"]
    table = {
        "1.jpg": "bare", r"D:\x\1\1.jpg": "one", "a.png": "png", "a.jpg": "jpg", "nowhere.png": "z",
        "Model/Test/cohort": "folder", "Test\\Y.PNG": "y",
    }  # fmt: skip

    found = grouping.assign_groups(names, pattern, table)

    assert found.patients == dict(zip(names, ("bare", "one", "png", "jpg", "folder", "y"), strict=True))
    assert found.unmatched == ["nowhere.png"]


def test_rows_that_match_equally_well_and_contradict_each_other(pattern):
    with pytest.raises(DataError) as caught:
        grouping.assign_groups(["0/1.jpg"], pattern, {"P1/1.jpg": "P1", "P2/1.jpg": "P2"})
    assert caught.value.code == "two_patients"


def test_spellings_of_one_patient(pattern):
    spelled = ["P01", "p01", "P1", "P-01", "P 1", "P02", "1", "01", "1.0", "10", "H10", "1-1", "11"]
    names = [f"0/{letter}.png" for letter in "abcdefghijklm"]

    found = grouping.assign_groups(names, pattern, dict(zip(names, spelled, strict=True)))

    groups = [found.groups[name] for name in names]
    assert len(set(groups[:5])) == len(set(groups[6:9])) == 1
    assert len(set(groups)) == 7
    assert [sorted(each) for each in found.spellings] == [["01", "1", "1.0"], sorted(spelled[:5])]


def test_patients_in_the_names_of_c_nmc(pattern):
    names = {
        "1/UID_1_2_1_all.bmp": "1",
        "1/UID_1_14_3_all__rotated_02.jpg": "1",
        "0/UID_H10_1_1_hem.bmp": "H10",
        "0/uid_h10_7_2_HEM.BMP": "H10",
        "/Test/UID_H10_3_1_hem_0.png": "H10",
        "1/UID_10_1_1_all.bmp": "10",
        "1/fluid_10_1_1.bmp": None,
        "1/UID_12.bmp": None,
    }

    found = grouping.assign_groups(names, pattern, {})

    assert found.patients == {name: patient for name, patient in names.items() if patient}
    assert found.unlisted == ["1/fluid_10_1_1.bmp", "1/UID_12.bmp"]


def test_the_table_and_c_nmc_names_are_one(pattern):
    """The table of C-NMC's test phase gives old names as patients; one of a user may give patients other names."""
    names = ["1/1.bmp", "1/UID_57_1_1_all.bmp", "1/UID_57_1_2_all.bmp", "0/UID_H4_1_1_hem.bmp"]
    table = {"1.bmp": "57", "UID_57_1_2_all.bmp": "Anna"}

    groups = grouping.assign_groups(names, pattern, table).groups

    assert len({groups[name] for name in names[:3]}) == 1
    assert groups["0/UID_H4_1_1_hem.bmp"] == "patient H4"


def test_the_labels_of_c_nmcs_test_phase(tmp_path):
    (tmp_path / "groups.csv").write_text("Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\n")

    assert grouping.load_patient_map(tmp_path) == {"1.bmp": "57"}


def test_without_patients_originals_of_all_classes_share_a_group(pattern):
    found = grouping.assign_groups(["0/a.jpg", "1/a__blur.jpg", "1/b.jpg"], pattern, {})

    assert found.groups == {"0/a.jpg": "original a", "1/a__blur.jpg": "original a", "1/b.jpg": "original b"}
    assert found.unlisted == []


def test_views_that_the_csv_leaves_out_follow_their_original(pattern):
    names = ["1/a.jpg", "1/a__blur.jpg", "0/a__flip.jpg", "0/z.jpg", "1/b.jpg"]

    found = grouping.assign_groups(names, pattern, {"a.jpg": "7", "1/b.jpg": "7"})

    assert found.groups == {
        "1/a.jpg": "patient 7", "1/a__blur.jpg": "patient 7", "0/a__flip.jpg": "patient 7", "1/b.jpg": "patient 7",
        "0/z.jpg": "original z",
    }  # fmt: skip
    assert found.unlisted == ["0/z.jpg"]


def test_file_numbers_that_restart_in_each_class(pattern):
    patient = {"0/1.jpg": "A", "1/1.jpg": "B"}

    groups = grouping.assign_groups(
        ["0/1.jpg", "1/1.jpg", "0/1__x.jpg", "1/1__x.jpg", "2/1__x.jpg"], pattern, patient
    ).groups

    assert groups["0/1__x.jpg"] == "patient A"
    assert groups["1/1__x.jpg"] == "patient B"
    # Of two possible patients neither is taken.
    assert groups["2/1__x.jpg"] == "original 1"


def test_merged_groups():
    joined = grouping.merge_groups([{"a"}, {"c", "b"}, {"d", "c"}, {"e", "f"}])

    assert joined == {"a": "a", "b": "b", "c": "b", "d": "b", "e": "e", "f": "e"}


def test_a_merged_group_keeps_the_name_it_had_before_the_copy():
    joined = grouping.merge_groups([
        {"original backup", "patient 13"},
        {"original cell01", "original cell02", "original backup 2"},
        *({f"original cell{number}"} for number in range(10, 20)),
        {"original cell10", "original a copy of cell10"},
    ])  # fmt: skip

    assert joined["original backup"] == "patient 13"
    assert joined["original backup 2"] == "original cell01"
    assert joined["original a copy of cell10"] == "original cell10"
