"""Read API keys and passwords from the environment or from files that only their owner can read."""

import os

from Classes.common.errors import ConfigurationError

KEY_VARIABLE = "ALL_API_KEY"


# A key is meant to be made, as by `openssl rand -hex 32`, not remembered.
MIN_KEY_LENGTH = 16


def read_key(configuration, environment=os.environ):
    """The API key, for a server or a client.

    Args:
      configuration: Configuration; `ApiKeyFile` is used.
      environment: mapping; ALL_API_KEY comes before the file.
    Returns:
      bytes, or None where there is none.
    Raises:
      ConfigurationError: what is there is no key.
    """
    key, source = environment.get(KEY_VARIABLE), KEY_VARIABLE
    if key is None and configuration["ApiKeyFile"]:
        source = configuration.path("ApiKeyFile")
        key = read_secret(configuration, "ApiKeyFile", "API key")
    if key is None:
        return None
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{source}: the API key must have {MIN_KEY_LENGTH} visible ASCII characters or more", code="invalid_api_key"
        )
    return key.encode()


def read_secret(configuration, key, name):
    """The first line of a file that nobody but its owner may read.

    Args:
      configuration: Configuration.
      key: the key of `configuration` that names the file.
      name: what it is, for messages.
    Raises:
      ConfigurationError: the file cannot be read, or others can read it too.
    """
    path = configuration.path(key)
    try:
        # Windows has no such permissions, and shows what it has as readable by all.
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
