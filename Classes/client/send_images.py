"""Images to the API and verdicts back: retried until they are there, and nothing left out of the summary."""

import collections
import concurrent.futures
import contextlib
import json
import logging
import math
import os
import socket
import threading
import time

import requests
import urllib3

from Classes import Helpers
from Classes.common import input_files, result_table, secret_files
from Classes.common.errors import ALLError, escape_control_chars

ENDPOINT = "/Inference"

# Inference changes nothing on the server, so whatever these mean, sending again is safe.
RETRY_STATUS = (429, 502, 503, 504)

# Seconds on the way, beside those that the server has for its answer.
TIMEOUT_MARGIN = 5

# Seconds: the wait doubles from the first to the longest, and varies so that many clients do not come back at once.
FIRST_WAIT, LONGEST_WAIT, JITTER = 0.2, 5, 0.3

# Seconds that a server may ask for with Retry-After; a wrong header must not hold a run for hours.
LONGEST_RETRY_AFTER = 60

# Bytes of an answer, and in it characters of a text and classes: far more than this API sends.
LARGEST, LONGEST_TEXT, MOST_CLASSES = 1 << 20, 2000, 1000

log = logging.getLogger("ClassifierServerClient")


def send_images(
    configuration, sources=(), *, server=None, concurrency=4, timeout=None, retries=12, csv_path=None, json_path=None
):
    """Send images and say how many verdicts are right.

    Args:
      configuration: Configuration.
      sources: files and folders; none means `TestImagePath`.
      server: the API's address, such as https://lab.example.org; None: `Domain`, or `IP` and `Port`.
      concurrency: images on their way at once.
      timeout: seconds to wait for an answer before sending again; None: a little more than `RequestTimeout`.
      retries: times that one image is sent again.
      csv_path, json_path: where one row an image is written, or None.
    Returns:
      exit code: 0, or 1 when an image has no verdict.
    Raises:
      ALLError: nothing to send, or nobody there to send it to.
    """
    result_table.check_writable(csv_path, json_path)
    files = input_files.resolve_inputs(configuration, sources)
    timeout = timeout or configuration["RequestTimeout"] + TIMEOUT_MARGIN
    sender = _Sender(configuration, server or server_url(configuration), timeout, retries)
    log.info("Classifier class initialization complete.")
    log.info(Helpers.DISCLAIMER)
    # Its remark on every retry would bury the verdicts.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    with contextlib.closing(sender):
        sender.reach()
        answers, stopped = _send_all(sender, files, concurrency)
    rows = _rows(configuration, answers)
    if any(answer.get("synthetic") for _, answer in answers):
        log.warning(Helpers.SYNTHETIC)
    result_table.write_tables(rows, _model(answers), csv_path, json_path, log)
    result_table.log_summary(rows, log)
    if stopped:
        # Told before this run ends as every interrupted one does.
        log.warning("%d of %d images were not sent", len(files) - len(answers), len(files))
        raise stopped
    return 1 if any(row["error"] for row in rows) else 0


def server_url(configuration):
    """Where the configuration says that the API is, without a slash at its end."""
    domain = configuration["Domain"].rstrip("/")
    if domain:
        return domain if "://" in domain else f"https://{domain}"
    # A server that listens everywhere is reached on this machine too.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(configuration.address, configuration.address)
    return f"http://{f'[{host}]' if ':' in host else host}:{configuration['Port']}"


class _Sender:
    """Sends one file at a time from each thread, over a connection of the thread's own that stays open."""

    def __init__(self, configuration, server, timeout, retries):
        self._url = server.rstrip("/") + ENDPOINT
        self._timeout = timeout
        self._low_below = configuration["InceptionThreshold"]
        key = secret_files.read_key(configuration)
        self._headers = {"Content-Type": "application/octet-stream"} | ({"X-API-Key": key.decode()} if key else {})
        self._retry = urllib3.Retry(
            total=retries,
            status_forcelist=RETRY_STATUS,
            allowed_methods=None,
            backoff_factor=FIRST_WAIT,
            backoff_max=LONGEST_WAIT,
            backoff_jitter=JITTER,
            retry_after_max=LONGEST_RETRY_AFTER,
        )
        self._threads = threading.local()
        self._sessions = []

    def reach(self):
        """Find the server before a drawer full of images waits for one that is not running.

        Raises:
          ALLError: nobody answers at its address.
        """
        try:
            with _Session(urllib3.Retry(3, backoff_factor=FIRST_WAIT, respect_retry_after_header=False)) as session:
                session.get(self._url, timeout=self._timeout, stream=True).close()
        except requests.RequestException as error:
            if _broken_off(error):
                # Somebody is there; what is wrong with its answers is reported for each image.
                return
            raise ALLError(
                f"no answer from {self._url} ({_root_cause(error)}); start python3 Server.py there, or see --server"
            ) from error

    def send(self, path):
        """The API's answer to a file as `read_answer` returns it; if there is none, {"error": why}."""
        try:
            content = path.read_bytes()
        except OSError as error:
            return {"error": f"{path}: {error.strerror}"}
        retry = self._retry
        while True:
            response = None
            try:
                status, headers, body = self._post(content)
                if status not in RETRY_STATUS:
                    return read_answer(path, status, body, self._low_below)
                error, response = None, urllib3.HTTPResponse(headers=headers, status=status)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as lost:
                error = lost
            except _AnswerError as answer:
                return {"error": f"{path}: {answer}"}
            try:
                retry = retry.increment("POST", ENDPOINT, response, urllib3.exceptions.ProtocolError(error))
            except urllib3.exceptions.HTTPError:
                if error is None:
                    return read_answer(path, status, body, self._low_below)
                return {"error": f"{path}: no answer from {self._url} ({_root_cause(error)}); is the server running?"}
            try:
                retry.sleep(response)
            except urllib3.exceptions.InvalidHeader:
                retry.sleep()

    def close(self):
        for session in self._sessions:
            session.close()

    def _post(self, content):
        """(status, headers, body) of one answer."""
        until = time.monotonic() + self._timeout
        with self._session().post(
            self._url, content, headers=self._headers, timeout=self._timeout, stream=True
        ) as response:
            body = bytearray()
            # A step per packet: each has a timeout of its own, and an answer may come as any number of them.
            while block := response.raw.read1(1 << 16, decode_content=True):
                body += block
                if len(body) > LARGEST:
                    raise _AnswerError(f"the answer is larger than {LARGEST} bytes (HTTP {response.status_code})")
                if time.monotonic() > until:
                    raise _AnswerError(f"the answer did not end within {self._timeout:g} s")
            return response.status_code, response.headers, bytes(body)

    def _session(self):
        if not hasattr(self._threads, "session"):
            self._threads.session = _Session(0)
            self._sessions.append(self._threads.session)
        return self._threads.session


class _AnswerError(Exception):
    """An answer that is not worth reading on, and not worth asking for again."""


class _Head:
    """A connection whose answers' heads are not waited for longer than its timeout, however slowly they come."""

    def getresponse(self):
        timer = threading.Timer(self.timeout or 3600, self._end)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()
        finally:
            timer.cancel()

    def _end(self):
        with contextlib.suppress(OSError, AttributeError):
            # Of the socket itself: that of TLS would take its state from under the reading thread.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Connection(_Head, urllib3.connection.HTTPConnection):
    pass


class _SecureConnection(_Head, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Session(requests.Session):
    """A session that follows no redirection: the key and the image are for the server that the user named."""

    def __init__(self, retries):
        super().__init__()
        # A proxy of the environment would see a ward's images.
        self.trust_env = False
        # As everywhere else, the certificates of those whom a site trusts beside, or instead of, the public ones.
        self.verify = os.environ.get("SSL_CERT_FILE") or True
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(max_retries=retries))

    def get_redirect_target(self, response):
        return None


def read_answer(path, status, body, low_below):
    """What an answer says; whatever a server, or something in front of it, sends, never an exception.

    Args:
      path: the image, for messages.
      status: HTTP status.
      body: bytes.
      low_below: confidence below which a result is low, for servers that do not say so.
    Returns:
      dict with `message`, `class`, `verdict` (texts), `confidence` (0..1), `low` (bool), `probabilities`
      ({class: 0..1}, may be empty), and `uncertain`, `seconds`, `engine`, `precision`, `remark`, `model` and
      `synthetic`, each of which may be None; or {"error": text}.
    """
    try:
        answer = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else None
    if status == 200 and isinstance(answer, dict):
        try:
            return _checked(answer, low_below)
        except (ValueError, LookupError, TypeError, OverflowError):
            message = None
    words = _text(message) if isinstance(message, str) and message else "the answer is not that of this API"
    return {"error": f"{path}: {words} (HTTP {status})"}


def _checked(answer, low_below):
    confidence = answer["Confidence"]
    confidence = _share(float(confidence) if isinstance(confidence, str) else confidence)
    found = {
        "message": _text(answer["Message"]),
        "class": _text(answer["aClassification"]),
        "verdict": _text(answer["Classification"]),
        "confidence": confidence,
    }
    for name, check in _OPTIONAL.items():
        value = answer.get(name)
        found[name] = None if value is None else check(value)
    low = found.pop("low_confidence")
    found["low"] = confidence < low_below if low is None else low
    found["probabilities"] = found["probabilities"] or {}
    if found["probabilities"] and found["class"] not in found["probabilities"]:
        raise ValueError(found["class"])
    return found


def _no_number(text):
    raise ValueError(text)


def _text(value):
    """A text that can be written anywhere: of one line, of limited length, and without halves of characters."""
    if not isinstance(value, str):
        raise TypeError(value)
    return escape_control_chars(value[:LONGEST_TEXT])


def _flag(value):
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(value)
    return value


def _share(value):
    if _number(value) > 1:
        raise ValueError(value)
    return float(value)


def _shares(value):
    if not isinstance(value, dict) or len(value) > MOST_CLASSES:
        raise TypeError(value)
    return {_text(name): _share(share) for name, share in value.items()}


# What old servers do not say, and how it is checked if it is there.
_OPTIONAL = {
    "low_confidence": _flag,
    "uncertain": _flag,
    "probabilities": _shares,
    "seconds": _number,
    "engine": _text,
    "precision": _text,
    "remark": _text,
    "model": _text,
    "synthetic": _flag,
}


def _broken_off(error):
    """Whether a server was reached, and then gave no whole answer."""
    while error is not None:
        if isinstance(error, urllib3.exceptions.ProtocolError | urllib3.exceptions.InvalidHeader):
            return True
        error = getattr(error, "reason", None) or next(
            (part for part in getattr(error, "args", ()) if isinstance(part, Exception)), None
        )
    return False


def _root_cause(error):
    """The innermost cause in a few words, not the library's nesting of it."""
    while error.args and isinstance(getattr(error.args[0], "reason", error.args[0]), Exception):
        error = getattr(error.args[0], "reason", error.args[0])
    return escape_control_chars(str(error).rpartition(": ")[2][:LONGEST_TEXT]) or type(error).__name__


def _send_all(sender, files, concurrency):
    """([(path, answer)] in the order of the files, None); after Ctrl-C those that were answered, and the exception."""
    found, stopped = {}, None
    pool = concurrent.futures.ThreadPoolExecutor(concurrency)
    try:
        futures = {pool.submit(sender.send, path): path for path in files}
        with Helpers.progress(total=len(files), desc="Sending", unit="image") as bar:
            for future in concurrent.futures.as_completed(futures):
                path, answer = futures[future], _result(futures[future], future)
                found[path] = answer
                bar.update()
                if "error" in answer:
                    log.error("%s", answer["error"])
                else:
                    log.info("%s: %s", input_files.display_path(path), answer["message"])
    except KeyboardInterrupt as stop:
        stopped = stop
        log.warning("Stopped; waiting for the images that are on their way.")
    finally:
        pool.shutdown(cancel_futures=True)
    return [(path, found[path]) for path in files if path in found], stopped


def _result(path, future):
    """What a thread found; a defect costs one image, not the results of all others."""
    try:
        return future.result()
    except Exception as error:
        log.debug("%s", path, exc_info=error)
        return {"error": f"{path}: {type(error).__name__}: {escape_control_chars(error)[:LONGEST_TEXT]}"}


def _rows(configuration, answers):
    # The classes that most answers have: a single strange one must not decide the columns of all.
    told = collections.Counter(tuple(answer["probabilities"]) for _, answer in answers if answer.get("probabilities"))
    classes = list(told.most_common(1)[0][0]) if told else ["0", "1"]
    rows = [_row(configuration, classes, path, answer) for path, answer in answers]
    for row in rows:
        result_table.log_warnings(row, log)
    return rows


def _row(configuration, classes, path, answer):
    truth = input_files.label_from_filename(path, classes)
    row = result_table.new_row(input_files.display_path(path), truth, classes)
    if "error" in answer:
        return row | {"error": answer["error"]}
    detected = answer["class"] == configuration["PositiveClass"]
    same = ("class", "verdict", "confidence", "low", "uncertain", "seconds", "engine", "precision", "remark")
    return row | {
        **{name: answer[name] for name in same},
        **{f"probability_{name}": answer["probabilities"].get(name) for name in classes},
        "correct": None if truth is None else detected == (truth == configuration["PositiveClass"]),
    }


def _model(answers):
    """Which model spoke, as the server says; None where no answer does."""
    keys = ("model", "synthetic")
    told = ({key: answer.get(key) for key in keys} for _, answer in answers if "error" not in answer)
    return next(told, None)
