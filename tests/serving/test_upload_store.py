import dataclasses
import hashlib
import json
import os
import threading
import types

import pytest

from Classes.dataset import discovery
from Classes.serving import upload_store
from tests.support import graphs, services, waiting


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != upload_store.LOG_NAME}


def rows(folder):
    return [json.loads(line) for line in (folder / upload_store.LOG_NAME).read_text().splitlines()]


@pytest.fixture
def open_client(tmp_path):
    opened = []

    def start(most=1 << 20):
        captured = upload_store.UploadStore(tmp_path / "Captured", most)
        client = services.client(tmp_path, upload_store=captured)
        opened.append(client)
        post = client.post
        # Wait until the files are written.
        client.post = lambda *arguments, **options: (post(*arguments, **options), captured.flush())[0]
        return client

    yield start
    for client in opened:
        client.service.close()


def test_uploads_are_stored_unchanged_with_their_result(tmp_path, open_client):
    content = services.image(192, 40, "JPEG")
    client = open_client()

    answer = client.post("/v1/classify", data=content, headers={"X-Request-ID": "abc"}).get_json()

    name = hashlib.sha256(content).hexdigest() + ".jpg"
    assert kept(tmp_path / "Captured") == {name: content}
    (row,) = rows(tmp_path / "Captured")
    assert (row["file"], row["verdict"], row["class"], row["request_id"]) == (name, "ALL detected", "1", "abc")
    for key in ("probabilities", "engine", "precision"):
        assert row[key] == answer[key]
    assert row["model"] == answer["model"]


def test_each_image_is_stored_once_and_each_result_logged(tmp_path, open_client):
    requests = []
    for _ in range(2):
        client = open_client()
        for red in (64, 64, 192):
            answer = client.post("/Inference", data=services.image(red, 40)).get_json()
            requests.append((answer["sha256"], answer["request_id"]))

    assert len(kept(tmp_path / "Captured")) == 2
    assert [(row["sha256"], row["request_id"]) for row in rows(tmp_path / "Captured")] == requests


def test_the_result_of_a_new_model_is_logged_for_a_stored_image(tmp_path, open_client):
    content = services.image(64, 40)
    open_client().post("/Inference", data=content)
    client = open_client()
    model = client.service.models.default
    model.card = dataclasses.replace(model.card, graph_sha256="f" * 64)
    client.post("/Inference", data=content)

    first, second = rows(tmp_path / "Captured")
    assert first["file"] == second["file"]
    assert first["model"] != second["model"] == "f" * 64


def test_responses_do_not_wait_for_the_disk_and_a_stop_writes_the_queue(tmp_path, monkeypatch):
    captured = upload_store.UploadStore(tmp_path / "Captured", 1 << 20)
    client = services.client(tmp_path, upload_store=captured)
    free, flush = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: free.wait(waiting.LIMIT) and flush(file))

    statuses = [client.post("/Inference", data=services.image(red, 40)).status_code for red in range(20)]

    assert statuses == [200] * 20
    assert not list((tmp_path / "Captured").glob("*.png"))
    free.set()
    client.service.close()
    assert len(kept(tmp_path / "Captured")) == len(rows(tmp_path / "Captured")) == 20


def test_the_queue_for_a_slow_disk_is_bounded(tmp_path, monkeypatch, caplog):
    images = [services.image(red, 40, "BMP") for red in range(20)]
    monkeypatch.setattr(upload_store, "MAX_QUEUED_BYTES", 5 * len(images[0]))
    captured = upload_store.UploadStore(tmp_path / "Captured", 1 << 20)
    client = services.client(tmp_path, upload_store=captured)
    free, flush = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: free.wait(waiting.LIMIT) and flush(file))

    statuses = [client.post("/Inference", data=content).status_code for content in images]
    free.set()
    client.service.close()

    assert statuses == [200] * 20
    assert len(rows(tmp_path / "Captured")) == len(kept(tmp_path / "Captured")) == 5
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_the_log_is_bounded_and_keeps_the_latest_line_of_each_image(tmp_path, open_client, monkeypatch):
    monkeypatch.setattr(upload_store, "MIN_LOG_SIZE", 4000)
    monkeypatch.setattr(upload_store, "LOG_FRACTION", 0)
    client = open_client()
    for red in (64, 65):
        client.post("/Inference", data=services.image(red, 40))
    for number in range(40):
        client.post("/Inference", data=services.image(192, 40), headers={"X-Request-ID": f"n{number}"})

    found = rows(tmp_path / "Captured")
    assert (tmp_path / "Captured" / upload_store.LOG_NAME).stat().st_size < 5000
    assert {row["file"] for row in found} == set(kept(tmp_path / "Captured"))
    assert found[-1]["request_id"] == "n39"


def test_other_files_in_the_folder_are_neither_counted_nor_deleted(tmp_path):
    (tmp_path / "ALLGraph.pb").write_bytes(bytes(5000))
    (tmp_path / "Im001_1.jpg").write_bytes(bytes(5000))
    (tmp_path / f"{'0' * 64}.jpg").write_bytes(bytes(900))
    captured = upload_store.UploadStore(tmp_path, 1000)

    captured.add(finding(bytes(200)), "ALLGraph", "f" * 64, "request")
    captured.close()

    found = {path.name for path in tmp_path.iterdir()} - {upload_store.LOG_NAME}
    assert found == {"ALLGraph.pb", "Im001_1.jpg", hashlib.sha256(bytes(200)).hexdigest() + ".png"}


def finding(content):
    prediction = types.SimpleNamespace(
        description="ALL detected", label="1", group="1", probabilities={"0": 0.25, "1": 0.75}
    )
    return types.SimpleNamespace(
        sha256=hashlib.sha256(content).hexdigest(),
        image_info=types.SimpleNamespace(format="png"),
        content=content,
        prediction=prediction,
        backend="CPU",
        precision="f32",
    )


def test_unusable_images_are_not_stored(tmp_path, open_client):
    open_client().post("/Inference", data=b"no image")

    assert kept(tmp_path / "Captured") == {}


def test_nothing_is_stored_by_default(tmp_path):
    client = services.client(tmp_path)
    client.post("/Inference", data=services.image(64, 40))
    client.service.close()

    assert not (tmp_path / "Model/Data/Captured").exists()


def test_the_oldest_images_are_deleted_first(tmp_path, open_client):
    images = [services.image(red, 40, "BMP") for red in range(10)]
    size = len(images[0])
    client = open_client(most=3 * size)
    for content in images[:4]:
        client.post("/Inference", data=content)
    # Deletion reduces the folder to 90 % of its maximum of three images: two remain, including the new one.
    expected = [hashlib.sha256(content).hexdigest() + ".bmp" for content in images[2:4]]

    assert sorted(kept(tmp_path / "Captured")) == sorted(expected)
    assert [row["file"] for row in rows(tmp_path / "Captured")] == expected


def test_the_age_of_images_survives_a_restart(tmp_path, open_client):
    images = [services.image(red, 40, "BMP") for red in range(4)]
    client = open_client()
    for age, content in enumerate(images[:3]):
        client.post("/Inference", data=content)
        path = tmp_path / "Captured" / f"{hashlib.sha256(content).hexdigest()}.bmp"
        os.utime(path, (1000 - age, 1000 - age))

    open_client(most=3 * len(images[0])).post("/Inference", data=images[3])

    # The third image has the oldest time stamp, then the second.
    left = {hashlib.sha256(images[index]).hexdigest() + ".bmp" for index in (0, 3)}
    assert set(kept(tmp_path / "Captured")) == left


def test_an_image_larger_than_the_limit_deletes_no_others(tmp_path, open_client):
    client = open_client(most=6000)
    client.post("/Inference", data=services.image(64, 40, "BMP"))
    client.post("/Inference", data=services.image(64, 100, "BMP"))

    assert len(kept(tmp_path / "Captured")) == 1


def test_a_full_disk_is_logged_once_and_stops_no_response(tmp_path, open_client, monkeypatch, caplog):
    def full(path, content):
        raise OSError(28, "No space left on device")

    client = open_client()
    monkeypatch.setattr(upload_store.atomic_files, "write_atomic", full)

    statuses = [client.post("/Inference", data=services.image(red, 40)).status_code for red in range(3)]

    assert statuses == [200] * 3
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_an_incomplete_last_log_line_is_ignored(tmp_path, open_client):
    folder = tmp_path / "Captured"
    folder.mkdir()
    (folder / upload_store.LOG_NAME).write_text('{"file": "ab')
    images = [services.image(red, 40, "BMP") for red in range(3)]
    client = open_client(most=2 * len(images[0]))

    statuses = [client.post("/Inference", data=content).status_code for content in images]

    assert statuses == [200] * 3
    assert [row["file"] for row in rows(folder)] == list(kept(folder))


def test_an_incomplete_log_line_does_not_damage_the_next(tmp_path, open_client):
    folder = tmp_path / "Captured"
    folder.mkdir()
    (folder / upload_store.LOG_NAME).write_text('{"file": "ab')
    client = open_client()

    for red in range(2):
        client.post("/Inference", data=services.image(red, 40))

    torn, *lines = (folder / upload_store.LOG_NAME).read_text().splitlines()
    assert torn == '{"file": "ab'
    assert sorted(json.loads(line)["file"] for line in lines) == sorted(kept(folder))


def test_an_image_without_a_log_line_is_stored_the_next_time(tmp_path, open_client, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    client, image = open_client(), services.image(64, 40)
    with monkeypatch.context() as patch:
        patch.setattr(upload_store.UploadStore, "_append_to_log", full)
        assert client.post("/Inference", data=image).status_code == 200
    assert not kept(tmp_path / "Captured")

    client.post("/Inference", data=image)

    assert [row["file"] for row in rows(tmp_path / "Captured")] == list(kept(tmp_path / "Captured"))


def test_stored_uploads_are_not_training_data(tmp_path):
    for name in ("0", "1", "Captured"):
        folder = tmp_path / "Model/Data" / name
        folder.mkdir(parents=True)
        (folder / "Im001_0.png").write_bytes(services.image(64, 20))

    files, _ = discovery.find_class_images(graphs.configuration(tmp_path))

    assert list(files) == ["0", "1"]
