"""Read API keys and passwords from the environment or from files that only their owner can read."""

import os
import pathlib
import re
from collections.abc import Mapping

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError, error_reason
from Classes.common.translation import Message

KEY_VARIABLE = "ALL_API_KEY"

# Names of keys appear in the access log and in the history.
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")

# Keys are generated, for example with `openssl rand -hex 32`, not remembered.
MIN_KEY_LENGTH = 16


def read_key(configuration: Configuration, environment: Mapping[str, str] = os.environ) -> bytes | None:
    """Return the API key for a server or a client, or None.

    Args:
      configuration: `ApiKeyFile` is used.
      environment: ALL_API_KEY takes precedence over the file.
    Raises:
      ConfigurationError: the key is too short or has other characters than visible ASCII, or see `read_secret`.
    """
    key, source = environment.get(KEY_VARIABLE), KEY_VARIABLE
    if key is None and configuration["ApiKeyFile"]:
        source = str(configuration.path("ApiKeyFile"))
        key = read_secret(configuration, "ApiKeyFile", Message("API key"))
    if key is None:
        return None
    return _validate_key(key, source)


def read_named_keys(configuration: Configuration) -> dict[str, bytes]:
    """Return {name: API key} from `ApiKeysFile`, which has one `NAME KEY` per line; empty if it is not configured.

    Empty lines and lines that start with # are skipped.

    Raises:
      ConfigurationError: a line is not a name and a key, a name or key occurs twice, the file has no key, or see
        `read_secret`.
    """
    if not configuration["ApiKeysFile"]:
        return {}
    path = configuration.path("ApiKeysFile")
    found: dict[str, bytes] = {}
    for number, line in enumerate(_read_lines(path, "ApiKeysFile", "list of API keys"), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) != 2 or not _KEY_NAME.fullmatch(fields[0]):
            raise ConfigurationError(
                Message(
                    "{path}, line {number}: write a name and an API key, such as ward-3 and the output of "
                    "openssl rand -hex 32. A name has up to 64 letters, digits and - _ . @",
                    path=path,
                    number=number,
                ),
                code="invalid_api_key",
            )
        name, key = fields[0], _validate_key(fields[1], f"{path}, line {number}")
        if name in found or key in found.values():
            raise ConfigurationError(
                Message(
                    "{path}, line {number}: this name or key is in the file twice. Give each client its own.",
                    path=path,
                    number=number,
                ),
                code="invalid_api_key",
            )
        found[name] = key
    if not found:
        raise ConfigurationError(Message("{path}: there is no API key in the file.", path=path), code="invalid_api_key")
    return found


def _validate_key(key: str, source: str) -> bytes:
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            Message(
                "{source}: the API key must have {minimum} visible ASCII characters or more",
                source=source,
                minimum=MIN_KEY_LENGTH,
            ),
            code="invalid_api_key",
        )
    return key.encode()


def read_secret(configuration: Configuration, key: str, name: str) -> str:
    """Return the first line of a file that only its owner can read.

    Args:
      configuration: `key` is used.
      key: the configuration key that names the file.
      name: what the file contains, for messages.
    Raises:
      ConfigurationError: the file cannot be read, or others can read it too.
    """
    return (_read_lines(configuration.path(key), key, name) or [""])[0].strip()


def _read_lines(path: pathlib.Path, key: str, name: str) -> list[str]:
    try:
        # Windows has no such permissions and reports every file as readable by all.
        if os.name != "nt" and path.stat().st_mode & 0o077:
            raise ConfigurationError(
                Message(
                    "{path}: other users may read this {name}. Run chmod 600 {path}, and if that has no effect, "
                    "as on a network share, move the file to a local disk or use the environment variable.",
                    path=path,
                    name=name,
                ),
                code="secret_is_public",
            )
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            Message(
                "{path}: the {name} cannot be read ({reason}); see {key}",
                path=path,
                name=name,
                reason=error_reason(error),
                key=key,
            ),
            code="secret_unreadable",
        ) from error
