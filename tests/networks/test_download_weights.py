import functools
import hashlib
import http.server
import inspect
import pathlib
import socket
import threading

import pytest

from Classes import Helpers
from Classes.networks import download_weights
from tests.support import processes

CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 100


@pytest.fixture
def server(tmp_path):
    """What Keras's server has, on this machine: its folder and its address."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def weights(server, monkeypatch):
    """The address answers with CONTENT, and its sum is known."""
    folder, address = server
    (folder / download_weights.WEIGHTS_FILE).write_bytes(CONTENT)
    monkeypatch.setattr(download_weights, "WEIGHTS_URL", address + download_weights.WEIGHTS_FILE)
    monkeypatch.setattr(download_weights, "MD5", hashlib.md5(CONTENT).hexdigest())
    return folder / download_weights.WEIGHTS_FILE


@pytest.fixture
def no_network(monkeypatch):
    """Nobody listens at the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(download_weights, "WEIGHTS_URL", f"http://127.0.0.1:{port}/" + download_weights.WEIGHTS_FILE)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir() if entry.name != ".lock")


def test_the_weights_arrive_whole(weights, tmp_path, capsys):
    folder = tmp_path / "Model" / "Pretrained"
    assert download_weights.download_weights(folder) == 0
    assert names(folder) == [download_weights.WEIGHTS_FILE]
    assert (folder / download_weights.WEIGHTS_FILE).read_bytes() == CONTENT
    assert str(folder / download_weights.WEIGHTS_FILE) in capsys.readouterr().out


def test_they_are_not_fetched_twice(weights, tmp_path, capsys):
    download_weights.download_weights(tmp_path / "Pretrained")
    weights.unlink()
    capsys.readouterr()
    assert download_weights.download_weights(tmp_path / "Pretrained") == 0
    assert capsys.readouterr().out == ""


def test_damaged_ones_are_downloaded_again(weights, tmp_path):
    (tmp_path / "Pretrained").mkdir()
    (tmp_path / "Pretrained" / download_weights.WEIGHTS_FILE).write_bytes(CONTENT[:-1])
    assert download_weights.download_weights(tmp_path / "Pretrained") == 0
    assert (tmp_path / "Pretrained" / download_weights.WEIGHTS_FILE).read_bytes() == CONTENT


def test_what_arrives_damaged_is_not_kept(weights, tmp_path, capsys):
    weights.write_bytes(CONTENT[:-1])
    assert download_weights.download_weights(tmp_path / "Pretrained") == 1
    assert names(tmp_path / "Pretrained") == []
    [line] = capsys.readouterr().out.splitlines()
    assert "damaged" in line


def test_an_address_without_them_is_one_line(weights, tmp_path, capsys):
    weights.unlink()
    assert download_weights.download_weights(tmp_path / "Pretrained") == 1
    [line] = capsys.readouterr().out.splitlines()
    assert "404" in line


def test_an_error_without_a_reason_is_one_line(tmp_path, monkeypatch, capsys):
    class Refusing(QuietHandler):
        def do_GET(self):
            self.wfile.write(b"HTTP/1.0 503 \r\n\r\n")

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request).start()
        monkeypatch.setattr(
            download_weights, "WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/" + download_weights.WEIGHTS_FILE
        )
        assert download_weights.download_weights(tmp_path / "Pretrained") == 1
    assert "503" in capsys.readouterr().out


def test_no_network_is_one_line(no_network, tmp_path, capsys):
    assert download_weights.download_weights(tmp_path / "Pretrained") == 1
    captured = capsys.readouterr()
    assert "Connection refused" in captured.out
    assert len((captured.out + captured.err).splitlines()) == 1
    assert names(tmp_path / "Pretrained") == []


def test_damaged_ones_and_no_network_say_what_to_remove(no_network, tmp_path, capsys):
    path = tmp_path / download_weights.WEIGHTS_FILE
    path.write_bytes(b"half")
    assert download_weights.download_weights(tmp_path) == 1
    assert str(path) in capsys.readouterr().out
    assert path.read_bytes() == b"half"


def test_a_server_that_never_answers_does_not_block_the_setup(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download_weights, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            download_weights,
            "WEIGHTS_URL",
            f"http://127.0.0.1:{silent.getsockname()[1]}/{download_weights.WEIGHTS_FILE}",
        )
        assert download_weights.download_weights(tmp_path / "Pretrained") == 1
    assert "timed out" in capsys.readouterr().out


def test_weights_of_the_users_own_are_enough(no_network, tmp_path, capsys):
    (tmp_path / "inception_v3.ckpt").touch()
    assert download_weights.download_weights(tmp_path) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("value", "code"), [("none", 1), ("Model/mine.ckpt", 0)])
def test_the_key_pretrained_leaves_nothing_to_fetch(monkeypatch, value, code):
    configuration = Helpers.load_config(None, [f"Pretrained={value}"])
    monkeypatch.setattr(Helpers, "load_config", lambda: configuration)
    monkeypatch.setattr(download_weights, "download_weights", lambda folder: pytest.fail("was fetched"))
    assert download_weights.main() == code


def test_training_looks_where_they_are_put(weights, configuration):
    from Classes.networks import weight_files

    folder = configuration.root / download_weights.WEIGHTS_FOLDER
    download_weights.download_weights(folder)
    assert weight_files.resolve_weights(configuration) == folder / download_weights.WEIGHTS_FILE


def test_address_and_sum_are_kerass_own():
    from keras.src.applications import inception_v3

    assert inception_v3.WEIGHTS_PATH_NO_TOP == download_weights.WEIGHTS_URL
    source = pathlib.Path(inspect.getfile(inception_v3)).read_text()
    assert source[source.index(f'"{download_weights.WEIGHTS_FILE}",\n                WEIGHTS_PATH_NO_TOP') :].find(
        f'"{download_weights.MD5}"'
    ) in range(200)


def test_the_download_imports_no_tensorflow():
    script = (
        "import sys; from Classes.networks import download_weights; print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    assert processes.python(script).stdout.strip() == "set()"
