"""Server.py: load everything that can fail, open the port, serve requests, and stop in order."""

import contextlib
import logging
import os
import signal
import sys
import threading
import types
import webbrowser

from Classes import Helpers
from Classes.common import stderr_capture, terminal, translation
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.serving import access_control, allocator, app, http_server, model_loading, mqtt, ports, request_origin
from Classes.serving.access_log import AccessLog
from Classes.serving.history import open_history
from Classes.serving.prediction_service import PredictionService
from Classes.serving.upload_store import UploadStore

# Seconds after which a thread that computes in Python gives way to another one. With the 5 ms of Python, a request for
# a single cell waits that long several times while a field is counted.
SWITCH_INTERVAL = 0.0005

log = logging.getLogger("ClassifierServer")


def serve(configuration: Configuration, open_page: bool = False) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code 0.

    Args:
      configuration: Configuration.
      open_page: open the page in the browser of this machine when the server is ready.
    Raises:
      ALLError: before the port opens, if the API key, the port, the model or the device is missing or unusable.
    """
    # The API is English, whichever thread answers; this thread prints in the language of the reader.
    with translation.use_language(configuration.language):
        translation.set_language(translation.ENGLISH)
        try:
            return _serve(configuration, open_page)
        finally:
            translation.set_language(configuration.language)


def _serve(configuration: Configuration, open_page: bool) -> int:
    keys = access_control.load_keys(configuration)
    sys.setswitchinterval(SWITCH_INTERVAL)
    allocator.keep_freed_memory()
    with (
        stderr_capture.logged(),
        ports.bind_port(configuration.address, configuration["Port"]) as bound,
        contextlib.ExitStack() as opened,
    ):
        service = PredictionService(
            configuration,
            model_loading.open_models(configuration, opened),
            keys,
            _open_access_log(configuration),
            _open_upload_store(configuration),
            mqtt.open_publisher(configuration),
            open_history(configuration),
        )
        service.warm_up()
        _run_until_stopped(
            service, http_server.GracefulServer(app.create_app(service), bound, configuration), open_page
        )
    return 0


def _run_until_stopped(service: PredictionService, server: http_server.GracefulServer, open_page: bool) -> None:
    def stop(number: int, frame: types.FrameType | None) -> None:
        if server.stopping:
            # The second signal ends the process at once.
            os._exit(128 + number)
        service.stop()
        server.stop()

    timeout = service.configuration["ShutdownTimeout"]
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.listen()
        _print_banner(service, server)
        if open_page:
            _open_in_browser(_page_address(server))
        server.serve()
        log.info("Stopping: no new connections; accepted requests are answered within %g s", timeout)
        unanswered = server.drain(timeout)
        if unanswered:
            log.warning("%d requests were not answered within ShutdownTimeout", unanswered)
            if service.upload_store is not None:
                service.upload_store.close()
            logging.shutdown()
            # A regular exit would wait for the threads of these requests, which cannot be stopped.
            os._exit(0)
        log.info("All accepted requests are answered. Stopped.")
        terminal.say(_("Stopped."))
    finally:
        service.close()
        server.close()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _print_banner(service: PredictionService, server: http_server.GracefulServer) -> None:
    log.info("Classifier server class initialization complete.")
    log.info("Models: %s", ", ".join(service.models.names))
    log.info(Helpers.DISCLAIMER)
    if any(model.card.synthetic for model in service.models):
        log.warning(Helpers.SYNTHETIC)
    if not service.keys and not request_origin.is_loopback(service.configuration.address):
        log.warning("AllowWithoutApiKey: everybody who can reach this port can use the server.")
    lines = (
        ' * Serving Flask app "Server"',
        " * Environment: production",
        " * Debug mode: off",
        f" * Running on {_address(server.effective_host, server)} (Press CTRL+C to quit)",
    )
    if terminal.is_active():
        page = _page_address(server)
        models = (_("Models"), ", ".join(service.models.names))
        rows = [(_("Page"), page), (_("API"), f"{page}docs"), models, (_("Stop"), "Ctrl-C")]
        terminal.show_rows(_("The server is ready."), rows)
    else:
        print("\n".join(lines), flush=True)


def _page_address(server: http_server.GracefulServer) -> str:
    # A browser cannot open the address that stands for all addresses of this machine.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(server.effective_host), str(server.effective_host))
    return _address(host, server)


def _address(host: object, server: http_server.GracefulServer) -> str:
    return f"http://{f'[{host}]' if ':' in str(host) else host}:{server.effective_port}/"


def _open_in_browser(address: str) -> None:
    """Open a page in another thread, because a text browser would not return; without a display, do nothing."""

    def run() -> None:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)

    if os.name == "nt" or sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(os.environ):
        threading.Thread(target=run, name="browser", daemon=True).start()


def _open_access_log(configuration: Configuration) -> AccessLog | None:
    try:
        return AccessLog(configuration.logs)
    except OSError as error:
        log.warning("%s: %s; requests are not logged", configuration.logs, system_reason(error))
        return None


def _open_upload_store(configuration: Configuration) -> UploadStore | None:
    if not configuration["Capture"]:
        return None
    folder = configuration.path("CaptureDir")
    log.info("Capture: every classified image is stored in %s", folder)
    try:
        return UploadStore(folder, configuration["CaptureMaxBytes"])
    except OSError as error:
        raise ConfigurationError(
            Message("{folder}: {reason}; set CaptureDir, or Capture=false", folder=folder, reason=system_reason(error))
        ) from error
