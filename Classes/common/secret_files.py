"""Read API keys and passwords from the environment or from files that only their owner can read."""

import os
from collections.abc import Mapping

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError

KEY_VARIABLE = "ALL_API_KEY"


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
        key = read_secret(configuration, "ApiKeyFile", "API key")
    if key is None:
        return None
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{source}: the API key must have {MIN_KEY_LENGTH} visible ASCII characters or more", code="invalid_api_key"
        )
    return key.encode()


def read_secret(configuration: Configuration, key: str, name: str) -> str:
    """Return the first line of a file that only its owner can read.

    Args:
      configuration: `key` is used.
      key: the configuration key that names the file.
      name: what the file holds, for messages.
    Raises:
      ConfigurationError: the file cannot be read, or others can read it too.
    """
    path = configuration.path(key)
    try:
        # Windows has no such permissions and reports every file as readable by all.
        if os.name != "nt" and path.stat().st_mode & 0o077:
            raise ConfigurationError(
                f"{path}: other users may read this {name}. Run chmod 600 {path}, and if that has no effect, as on a "
                "network share, move the file to a local disk or use the environment variable.",
                code="secret_is_public",
            )
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: the {name} cannot be read ({error}); see {key}", code="secret_unreadable"
        ) from error
