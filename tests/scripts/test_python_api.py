import pathlib
import re

from Classes.common.paths import PROJECT
from Classes.inference.model import load_model
from tests.support import graphs, processes, smears


def test_the_example_in_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition("\n## Python\n")[2]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    graphs.write(tmp_path / "Model")
    pathlib.Path("smear.jpg").write_bytes(smears.png(smears.cell(1, 3, size=299)))

    exec(compile(example, "README.md", "exec"), {})

    assert capsys.readouterr().out.strip()


def test_a_model_predicts_from_bytes_and_files(tmp_path):
    graphs.write(tmp_path / "Model")
    content = smears.png(smears.cell(1, 3, size=299))
    (tmp_path / "cell.png").write_bytes(content)

    with load_model(tmp_path / "Model" / "ALLGraph.pb", device="CPU", precision="f32") as model:
        from_bytes, from_file = model.predict(content), model.predict(tmp_path / "cell.png")

    assert from_bytes == from_file
    assert set(from_file.probabilities) == set(model.card.classes)
    assert from_file.label == max(from_file.probabilities, key=from_file.probabilities.get)


def test_importing_the_api_loads_no_heavy_package():
    script = """
import sys
import Classes.inference.model
print([name for name in ("tensorflow", "openvino", "sklearn", "matplotlib") if name in sys.modules])
"""
    assert processes.python(script).stdout == "[]\n"
