import contextlib
import datetime
import errno
import io
import json
import os
import re
import sqlite3
import types

import pytest

from Classes.common.errors import ConfigurationError
from Classes.serving import access_control, history
from tests.support import folders, services
from tests.support.errors import raises

FILE = "Logs/History.sqlite3"
ALL_KEY, WARD_KEY, LAB_KEY = "0" * 20, "1" * 20, "2" * 20


@pytest.fixture
def client(tmp_path):
    keys = {"": ALL_KEY.encode(), "ward-3": WARD_KEY.encode(), "lab": LAB_KEY.encode()}
    found = services.client(
        tmp_path,
        "HistoryDays=30",
        keys=access_control.ApiKeys(keys),
        history=history.ResultHistory(tmp_path / FILE, 30),
    )
    yield found
    found.service.close()


def classify(client, red, key):
    return client.post("/v1/classify", data=services.image(red), headers={"X-API-Key": key}).json


def rows(client, key, query=""):
    return client.get(f"/v1/history{query}", headers={"X-API-Key": key}).json["results"]


def test_results_newest_first(client):
    answers = [classify(client, red, WARD_KEY) for red in (220, 30)]

    found = rows(client, WARD_KEY)

    assert [row["sha256"] for row in found] == [answers[1]["sha256"], answers[0]["sha256"]]
    assert [row["verdict"] for row in found] == ["ALL not detected", "ALL detected"]
    assert [row["request_id"] for row in found] == [answers[1]["request_id"], answers[0]["request_id"]]
    assert [(row["outcome"], row["reasons"]) for row in found] == [
        (answer["outcome"], answer["reasons"]) for answer in reversed(answers)
    ]
    assert found[0]["confidence"] == answers[1]["confidence"]
    assert {row["key"] for row in found} == {"ward-3"}


def test_a_key_with_a_name_reads_its_own_results_and_the_one_without_a_name_reads_all(client):
    for key in (WARD_KEY, LAB_KEY, ALL_KEY):
        classify(client, 220, key)

    assert [row["key"] for row in rows(client, LAB_KEY)] == ["lab"]
    assert [row["key"] for row in rows(client, ALL_KEY)] == ["", "lab", "ward-3"]


def test_pages(client):
    for _ in range(5):
        classify(client, 220, WARD_KEY)

    first = rows(client, WARD_KEY, "?limit=2")
    second = rows(client, WARD_KEY, f"?limit=2&before={first[-1]['id']}")
    third = rows(client, WARD_KEY, f"?limit=2&before={second[-1]['id']}")

    ids = [row["id"] for page in (first, second, third) for row in page]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 5


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "before=-1", "before=0", f"before={'9' * 30}"])
def test_invalid_queries(client, query):
    response = client.get(f"/v1/history?{query}", headers={"X-API-Key": WARD_KEY})

    assert (response.status_code, response.json["code"]) == (400, "bad_request")


def test_heat_maps_and_errors_are_no_results(client):
    headers = {"X-API-Key": WARD_KEY}
    client.post("/v1/heatmap", data=services.image(220), headers=headers)
    client.post("/v1/classify", data=b"no image", headers=headers)

    assert rows(client, WARD_KEY) == []


def test_every_image_of_a_batch_is_a_row(client):

    files = [(io.BytesIO(services.image(red)), f"{red}.png") for red in (30, 220)]
    client.post("/v1/batch", data={"file": files}, headers={"X-API-Key": WARD_KEY})

    assert [row["verdict"] for row in rows(client, WARD_KEY)] == ["ALL detected", "ALL not detected"]


def test_without_a_history(tmp_path):
    client = services.client(tmp_path)

    response = client.get("/v1/history")

    assert (response.status_code, response.json["code"]) == (404, "no_history")
    client.service.close()


def test_the_key_is_needed(client):
    assert client.get("/v1/history").status_code == 401


def test_old_rows_are_deleted(client, tmp_path):
    classify(client, 220, WARD_KEY)
    classify(client, 30, WARD_KEY)
    client.service.history.close()
    old = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=31)).isoformat()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        database.execute("UPDATE results SET time = ? WHERE id = 1", (old,))

    kept = history.ResultHistory(tmp_path / FILE, 30)

    assert [row["id"] for row in kept.read(10)] == [2]
    kept.close()


def test_only_the_owner_can_read_the_file(client, tmp_path):
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_a_full_disk_costs_the_history_but_no_answer(client, tmp_path):
    # A trigger stands for the disk: every insertion fails as it would there.
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON results BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    assert classify(client, 220, WARD_KEY)["verdict"] == "ALL detected"
    assert classify(client, 220, WARD_KEY)["verdict"] == "ALL detected"


def test_a_file_that_is_no_database_is_a_wrong_setting(tmp_path):
    path = tmp_path / "History"
    path.write_text("no database, but long enough to have a header " * 10)
    with raises(ConfigurationError, "history_unusable") as caught:
        history.open_history(folders.configuration(tmp_path, "HistoryDays=30", f"HistoryFile={path}"))
    assert str(path) in str(caught.value)


def test_a_database_that_cannot_be_opened(tmp_path):
    path = tmp_path / "History"
    history.ResultHistory(path, 30).close()
    (tmp_path / "History-wal").mkdir()

    with raises(ConfigurationError, "history_unusable") as caught:
        history.open_history(folders.configuration(tmp_path, "HistoryDays=30", f"HistoryFile={path}"))

    assert f"{path}: cannot be opened. " in str(caught.value)


@pytest.mark.parametrize(("flags", "number"), [(os.ST_RDONLY, errno.EROFS), (0, errno.EACCES)])
def test_a_database_that_cannot_be_written(tmp_path, monkeypatch, flags, number):
    path, connect = tmp_path / "History", sqlite3.connect
    # Root may write any file.
    monkeypatch.setattr(sqlite3, "connect", lambda name, **named: connect(f"file:{name}?mode=ro", uri=True, **named))
    monkeypatch.setattr(os, "statvfs", lambda _: types.SimpleNamespace(f_flag=flags))

    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        history.ResultHistory(path, 30)

    assert caught.value.errno == number


def test_a_history_that_cannot_be_read_any_more(client, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        database.execute("DROP TABLE results")

    response = client.get("/v1/history", headers={"X-API-Key": WARD_KEY})

    assert (response.status_code, response.json["code"]) == (503, "history_unavailable")
    assert str(tmp_path) not in response.get_data(as_text=True)


def test_the_access_log_has_the_name_of_the_key(tmp_path):
    from Classes.serving.access_log import AccessLog

    keys = access_control.ApiKeys({"ward-3": WARD_KEY.encode()})
    client = services.client(tmp_path, keys=keys, access_log=AccessLog(tmp_path / "Logs"))

    classify(client, 220, WARD_KEY)
    client.post("/v1/classify", data=services.image(220))

    lines = [json.loads(line) for line in (tmp_path / "Logs" / "Access.log").read_text().splitlines()]
    assert [(line["status"], line["key"]) for line in lines] == [(200, "ward-3"), (401, None)]
    client.service.close()


def test_two_servers_share_a_file(client, tmp_path):
    other = services.client(tmp_path / "other", history=history.ResultHistory(tmp_path / FILE, 30))

    classify(client, 220, WARD_KEY)
    classify(other, 30, WARD_KEY)

    assert [row["verdict"] for row in rows(client, ALL_KEY)] == ["ALL not detected", "ALL detected"]
    other.service.close()


def test_results_name_their_model(client):
    classify(client, 220, WARD_KEY)

    assert [row["model_name"] for row in rows(client, WARD_KEY)] == ["ALLGraph"]


def test_a_file_without_the_newer_columns_keeps_its_results(tmp_path):
    path = tmp_path / FILE
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE results (id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, sha256 TEXT NOT NULL, "
            "outcome TEXT NOT NULL, reasons TEXT NOT NULL, verdict TEXT NOT NULL, class TEXT NOT NULL, "
            "confidence REAL NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, request_id TEXT NOT NULL)"
        )
        old = ("2999-01-01T00:00:00.000+00:00", "a" * 64, "positive", "", "ALL detected", "1", 0.9, "", "b" * 64, "old")
        marks = ", ".join("?" * len(old))
        database.execute(f"INSERT INTO results VALUES (NULL, {marks})", old)
    kept = history.ResultHistory(path, 30)
    client = services.client(tmp_path, history=kept)
    client.post("/v1/classify", data=services.image(220))

    found = client.get("/v1/history").json["results"]

    assert [(row["model_name"], row["request_id"] == "old") for row in found] == [("ALLGraph", False), ("", True)]
    client.service.close()
