"""Images to the API and verdicts back: retried until they are there, and nothing left out of the summary."""

import concurrent.futures
import contextlib
import logging
import os
import threading

import requests
import urllib3

from Classes import Callers, Helpers, Prediction, Rows, Sources
from Classes.Errors import ALLError

ADDRESS = "/Inference"

# Inference changes nothing on the server, so whatever these mean, sending again is safe.
AGAIN = (429, 502, 503, 504)

# Seconds on the way, beside those that the server has for its answer.
MORE = 5

# Seconds: the wait doubles from the first to the longest, and varies so that many clients do not come back at once.
FIRST_WAIT, LONGEST_WAIT, SPREAD = 0.2, 5, 0.3

log = logging.getLogger("ClassifierServerClient")


def run(
    configuration, sources=(), *, server=None, concurrency=4, timeout=None, retries=12, csv_path=None, json_path=None
):
    """Send images and say how many verdicts are right.

    Args:
      configuration: Configuration.
      sources: files and folders; none means `TestImagePath`.
      server: the API's address, such as https://lab.example.org; None: `Domain`, or `IP` and `Port`.
      concurrency: images on their way at once.
      timeout: seconds to wait for an answer before sending again; None: a little more than the server's `Deadline`.
      retries: times that one image is sent again.
      csv_path, json_path: where one row an image is written, or None.
    Returns:
      exit code: 0, or 1 when an image has no verdict.
    Raises:
      ALLError: nothing to send, or nobody there to send it to.
    """
    Rows.check(csv_path, json_path)
    files = Sources.find(configuration, sources)
    timeout = timeout or configuration["Deadline"] + MORE
    sender = _Sender(configuration, server or address(configuration), timeout, retries)
    log.info("Classifier class initialization complete.")
    log.info(Helpers.DISCLAIMER)
    # Its remark on every retry would bury the verdicts.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    with contextlib.closing(sender):
        sender.reach()
        answers, stopped = _send(sender, files, concurrency)
    rows = _rows(configuration, answers)
    if any(answer.get("synthetic") for _, answer in answers):
        log.warning(Helpers.SYNTHETIC)
    Rows.write(rows, _model(answers), csv_path, json_path, log)
    Rows.summary(rows, log)
    if stopped:
        # Told before this run ends as every interrupted one does.
        log.warning("%d of %d images were not sent", len(files) - len(answers), len(files))
        raise stopped
    return 1 if any(row["error"] for row in rows) else 0


def address(configuration):
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
        self._url = server.rstrip("/") + ADDRESS
        self._timeout = timeout
        key = Callers.read_key(configuration)
        self._headers = {"Content-Type": "application/octet-stream"} | ({"X-API-Key": key.decode()} if key else {})
        self._retry = urllib3.Retry(
            total=retries,
            status_forcelist=AGAIN,
            allowed_methods=None,
            backoff_factor=FIRST_WAIT,
            backoff_max=LONGEST_WAIT,
            backoff_jitter=SPREAD,
            redirect=0,
            raise_on_status=False,
        )
        self._threads = threading.local()
        self._sessions = []

    def reach(self):
        """Find the server before a drawer full of images waits for one that is not running.

        Raises:
          ALLError: nobody answers at its address.
        """
        few = requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(3, backoff_factor=FIRST_WAIT))
        try:
            with _new_session() as session:
                session.mount(self._url, few)
                session.get(self._url, timeout=self._timeout, allow_redirects=False)
        except requests.RequestException as error:
            raise ALLError(
                f"no answer from {self._url} ({_reason(error)}); start python3 Server.py there, or see --server"
            ) from error

    def send(self, path):
        """The API's answer to a file as a dict; where there is none, {"error": why}."""
        try:
            content = path.read_bytes()
        except OSError as error:
            return {"error": f"{path}: {error.strerror}"}
        # The library sends again for want of an answer, but not where an answer has begun and breaks off.
        for _ in range(self._retry.total + 1):
            try:
                return _answer(path, self._post(content))
            except requests.exceptions.ChunkedEncodingError as error:
                reason = _reason(error)
            except requests.RequestException as error:
                reason = _reason(error)
                break
        return {"error": f"{path}: no answer from {self._url} ({reason}); is the server running?"}

    def close(self):
        for session in self._sessions:
            session.close()

    def _post(self, content):
        return self._session().post(
            self._url, content, headers=self._headers, timeout=self._timeout, allow_redirects=False
        )

    def _session(self):
        if not hasattr(self._threads, "session"):
            session = _new_session()
            for scheme in ("http://", "https://"):
                session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=self._retry))
            self._threads.session = session
            self._sessions.append(session)
        return self._threads.session


def _new_session():
    session = requests.Session()
    # A proxy of the environment would see a ward's images.
    session.trust_env = False
    # As everywhere else, the certificates of those whom a site trusts beside, or instead of, the public ones.
    session.verify = os.environ.get("SSL_CERT_FILE") or True
    return session


def _answer(path, response):
    """What a response says; whatever a server or something in front of it sends, never an exception."""
    try:
        answer = response.json()
        message = answer.get("message")
        if response.status_code == 200:
            return {**answer, "Message": str(answer["Message"]), "Confidence": float(answer["Confidence"])}
    except (ValueError, LookupError, TypeError, AttributeError):
        message = None
    return {"error": f"{path}: {message or 'the answer is not that of this API'} (HTTP {response.status_code})"}


def _reason(error):
    """The innermost cause in a few words, not the library's nesting of it."""
    while error.args and isinstance(getattr(error.args[0], "reason", error.args[0]), Exception):
        error = getattr(error.args[0], "reason", error.args[0])
    return str(error).rpartition(": ")[2] or type(error).__name__


def _send(sender, files, concurrency):
    """([(path, answer)] in the order of the files, None); after Ctrl-C those that were answered, and the exception."""
    found, stopped = {}, None
    pool = concurrent.futures.ThreadPoolExecutor(concurrency)
    try:
        futures = {pool.submit(sender.send, path): path for path in files}
        with Helpers.progress(total=len(files), desc="Sending", unit="image") as bar:
            for future in concurrent.futures.as_completed(futures):
                path, answer = futures[future], future.result()
                found[path] = answer
                bar.update()
                if "error" in answer:
                    log.error("%s", answer["error"])
                else:
                    log.info("%s: %s", Sources.shown(path), answer["Message"])
    except KeyboardInterrupt as stop:
        stopped = stop
        log.warning("Stopped; waiting for the images that are on their way.")
    finally:
        pool.shutdown(cancel_futures=True)
    return [(path, found[path]) for path in files if path in found], stopped


def _rows(configuration, answers):
    told = [list(answer["probabilities"]) for _, answer in answers if answer.get("probabilities")]
    classes = told[0] if told else ["0", "1"]
    rows = [_row(configuration, classes, path, answer) for path, answer in answers]
    for row in rows:
        Rows.warn(row, log)
    return rows


def _row(configuration, classes, path, answer):
    truth = Prediction.truth(path, classes)
    row = Rows.empty(Sources.shown(path), truth, classes)
    if "error" in answer:
        return row | {"error": answer["error"]}
    detected = answer.get("aClassification") == configuration["PositiveClass"]
    return row | {
        "class": answer.get("aClassification"),
        "verdict": answer.get("Classification"),
        "confidence": answer["Confidence"],
        "low": " LOW " in answer["Message"],
        "uncertain": answer.get("uncertain"),
        **{f"probability_{name}": (answer.get("probabilities") or {}).get(name) for name in classes},
        "correct": None if truth is None else detected == (truth == configuration["PositiveClass"]),
        "seconds": answer.get("seconds"),
        "engine": answer.get("engine"),
        "precision": answer.get("precision"),
        "remark": answer.get("remark"),
    }


def _model(answers):
    """Which model spoke, as the server says; None where no answer does."""
    keys = ("model", "synthetic")
    told = ({key: answer.get(key) for key in keys} for _, answer in answers if "error" not in answer)
    return next(told, None)
