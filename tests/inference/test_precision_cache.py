"""The precision of the CPU is found once per machine, and again after anything that could change it."""

import importlib.metadata

import pytest

from Classes.inference import openvino_devices, precision_cache

INTEL = "processor\t: {}\nmodel name\t: Xeon\nflags\t\t: fpu avx512_bf16\ncpu MHz\t\t: {}\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n\n"


@pytest.fixture
def asked(monkeypatch):
    """List of the questions to OpenVINO; the answers are bf16, f32, bf16, ..."""
    questions = []

    def answer(wanted):
        questions.append(wanted)
        return ("bf16", "f32")[len(questions) % 2 - 1]

    monkeypatch.setattr(openvino_devices, "cpu_precision", answer)
    return questions


@pytest.fixture
def cores(tmp_path, monkeypatch):
    """What Linux says of the cores, as a file."""
    path = tmp_path / "cpuinfo"
    path.write_text(INTEL.format(0, 2600) + INTEL.format(1, 2600))
    monkeypatch.setattr(precision_cache, "CORES", path)
    return path


def test_openvino_is_asked_each_time_if_its_version_is_not_known(asked, cores, tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    assert [precision_cache.find_precision(tmp_path) for _ in range(2)] == ["bf16", "f32"]


def test_openvino_is_asked_once(asked, cores, tmp_path):
    assert [precision_cache.find_precision(tmp_path / "Cache") for _ in range(3)] == 3 * ["bf16"]
    # A core changes its speed all the time.
    cores.write_text(INTEL.format(0, 800))
    assert precision_cache.find_precision(tmp_path / "Cache") == "bf16"
    assert asked == ["AUTO"]


@pytest.mark.parametrize(
    "text", [INTEL.format(0, 2600).replace(" avx512_bf16", ""), INTEL.replace("Xeon", "EPYC"), ARM]
)
def test_openvino_is_asked_again_on_another_processor(asked, cores, tmp_path, text):
    before = cores.read_text()
    assert precision_cache.find_precision(tmp_path) == "bf16"
    cores.write_text(text)
    assert [precision_cache.find_precision(tmp_path) for _ in range(2)] == ["f32", "f32"]
    # Machines that share the folder each have their own answer.
    cores.write_text(before)
    assert precision_cache.find_precision(tmp_path) == "bf16"
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_openvino_is_asked_again_if_instructions_are_hidden(asked, cores, tmp_path, monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    assert precision_cache.find_precision(tmp_path) == "bf16"
    monkeypatch.setenv(name, "AVX2")
    assert precision_cache.find_precision(tmp_path) == "f32"


def test_openvino_is_asked_again_after_its_update(asked, cores, tmp_path, monkeypatch):
    assert precision_cache.find_precision(tmp_path) == "bf16"
    monkeypatch.setattr(precision_cache.importlib.metadata, "version", lambda name: "1.0")
    assert precision_cache.find_precision(tmp_path) == "f32"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "f99"}'])
def test_a_damaged_file_is_replaced(asked, cores, tmp_path, text):
    (tmp_path / precision_cache.FILE_NAME).write_text(text)
    assert [precision_cache.find_precision(tmp_path) for _ in range(2)] == ["bf16", "bf16"]


def test_without_a_place_to_keep_it_openvino_is_asked_each_time(asked, cores, tmp_path):
    (tmp_path / "file").touch()
    assert [precision_cache.find_precision(tmp_path / "file") for _ in range(2)] == ["bf16", "f32"]


def test_where_linux_says_nothing_openvino_is_asked_each_time(asked, cores, tmp_path):
    cores.unlink()
    assert [precision_cache.find_precision(tmp_path) for _ in range(2)] == ["bf16", "f32"]
    assert not list(tmp_path.iterdir())
