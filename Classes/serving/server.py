"""A server's life: everything that can fail, then the port, then requests, then an end in order."""

import functools
import logging
import os
import signal

from Classes import Helpers
from Classes.common import stderr_capture
from Classes.common.errors import ConfigurationError
from Classes.inference import backend, model_card
from Classes.serving import access_control, access_log, app, http_server, mqtt, request_origin, upload_store
from Classes.serving.prediction_service import PredictionService

log = logging.getLogger("ClassifierServer")


def serve(configuration):
    """Serve until SIGTERM or Ctrl-C.

    Args:
      configuration: Configuration.
    Returns:
      exit code 0.
    Raises:
      ALLError: no key where one is needed, a taken port, no model, no device: all before the port opens.
    """
    key = access_control.load_key(configuration)
    card = model_card.load_model_card(configuration.card)
    with (
        stderr_capture.logged(),
        http_server.bind_port(configuration.address, configuration["Port"]) as bound,
        backend.open_engine(configuration, card) as engine,
    ):
        parts = _open_access_log(configuration), _open_upload_store(configuration), mqtt.open_publisher(configuration)
        laboratory = PredictionService(configuration, card, engine, key, *parts)
        laboratory.warm_up()
        application = app.create_app(laboratory)
        judge = functools.partial(app.judge, application)
        listener = http_server.GracefulServer(application, bound, configuration, app.error_renderer(application), judge)
        _run_until_stopped(configuration, laboratory, listener)
    return 0


def _run_until_stopped(configuration, laboratory, listener):
    def stop(number, frame):
        if listener.stopping:
            # The second signal: whoever sends it does not want to wait.
            os._exit(128 + number)
        laboratory.stop()
        listener.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        listener.listen()
        _print_banner(configuration, laboratory, listener)
        listener.serve()
        limit = configuration["ShutdownTimeout"]
        log.info("Stopping: no new connections; what was accepted is answered within %g s", limit)
        unanswered = listener.drain(limit)
        if unanswered:
            log.warning("%d requests were not answered within ShutdownTimeout", unanswered)
            if laboratory.captured is not None:
                laboratory.captured.close()
            logging.shutdown()
            # Their threads cannot be stopped, and an end in order would wait for them.
            os._exit(0)
        log.info("Everything that was accepted is answered; goodbye.")
    finally:
        laboratory.close()
        listener.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_banner(configuration, laboratory, listener):
    host = listener.effective_host
    shown = f"[{host}]" if ":" in host else host
    log.info("Classifier server class initialization complete.")
    log.info(Helpers.DISCLAIMER)
    if laboratory.card.synthetic:
        log.warning(Helpers.SYNTHETIC)
    if laboratory.key is None and not request_origin.is_loopback(configuration.address):
        log.warning("AllowWithoutApiKey: whoever reaches this port may use it.")
    lines = (
        ' * Serving Flask app "Server"',
        " * Environment: production",
        " * Debug mode: off",
        f" * Running on http://{shown}:{listener.effective_port}/ (Press CTRL+C to quit)",
    )
    print("\n".join(lines), flush=True)


def _open_access_log(configuration):
    try:
        return access_log.AccessLog(configuration.logs)
    except OSError as error:
        log.warning("%s: %s; requests are not logged", configuration.logs, error.strerror)
        return None


def _open_upload_store(configuration):
    if not configuration["Capture"]:
        return None
    folder = configuration.path("CaptureDir")
    log.info("Capture: every image that is classified is kept in %s", folder)
    try:
        return upload_store.UploadStore(folder, configuration["CaptureMaxBytes"])
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}; set CaptureDir, or Capture=false") from error
