"""Access control: API keys, and a rate limit per client."""

import collections
import ipaddress
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping

from werkzeug.datastructures import Headers

from Classes.common import secret_files
from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.serving import request_origin
from Classes.serving.api_errors import ApiError

# Number of clients with a bucket of their own. A client whose bucket is full again is forgotten. If there are more
# clients, the new ones share one bucket: a flood of addresses can neither fill the memory nor reset a known client.
MAX_CLIENTS = 10_000
_OTHERS = "others"

# An IPv6 customer owns at least a /64, and thus any number of addresses.
_PREFIX = 64


class ApiKeys:
    """The API keys that clients may send.

    Args:
      keys: {name: key}; the key without a name, "", is the one of ALL_API_KEY and `ApiKeyFile`. If there is none, no
        client needs a key.
    """

    def __init__(self, keys: Mapping[str, bytes] | None = None):
        self._keys = dict(keys or {})

    def __bool__(self) -> bool:
        """Return whether clients need a key."""
        return bool(self._keys)

    def identify(self, headers: Headers | Mapping[str, str]) -> str:
        """Return the name of the key in `X-API-Key: KEY` or `Authorization: Bearer KEY`; "" if it has none.

        Raises:
          ApiError: `unauthorized` if a key is needed, and it is missing or wrong.
        """
        if not self._keys:
            return ""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        sent = headers.get("X-API-Key") or (token.strip() if scheme.lower() == "bearer" else "")
        # As bytes, because compare_digest raises TypeError for non-ASCII text; with all keys, so that the time does not
        # depend on which one matches.
        encoded = sent.encode("utf-8", "surrogateescape")
        names = [name for name, key in self._keys.items() if secrets.compare_digest(encoded, key)]
        if not names:
            raise ApiError(
                "unauthorized", "The API key is missing or wrong. Send it as X-API-Key or as a Bearer token."
            )
        return names[0]


def load_keys(configuration: Configuration, environment: Mapping[str, str] = os.environ) -> ApiKeys:
    """Return the keys of `ApiKeysFile`, and the one of the environment variable ALL_API_KEY, otherwise `ApiKeyFile`.

    Raises:
      ConfigurationError: a key is unusable, or there is none although other machines can reach the server.
    """
    keys = secret_files.read_named_keys(configuration)
    unnamed = secret_files.read_key(configuration, environment)
    if unnamed is not None and unnamed not in keys.values():
        keys[""] = unnamed
    if keys or request_origin.is_loopback(configuration.address) or configuration["AllowWithoutApiKey"]:
        return ApiKeys(keys)
    raise ConfigurationError(
        Message(
            "IP={address}: reachable from other machines and no API key; set {variable}, ApiKeyFile or ApiKeysFile, or "
            "allow access without a key with AllowWithoutApiKey=true",
            address=configuration.address,
            variable=secret_files.KEY_VARIABLE,
        ),
        code="no_api_key",
    )


def client_network(client: str) -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    found = request_origin.parse_ip(client)
    if found is None or found.version == 4 or found.is_link_local:
        # All machines of a local network share the link-local /64.
        return client if found is None else str(found)
    return str(ipaddress.IPv6Network((int(found), _PREFIX), strict=False))


class TokenBucketLimiter:
    """Limits the images per client with a bucket of `per_minute` images that refills evenly within a minute.

    Args:
      per_minute: number of images; 0 means no limit.
      clock: returns seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self._size = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        # {network: (images left, at which time)}, least recently used first.
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def consume(self, client: str, images: int = 1, already_counted: int = 0) -> None:
        """Count `images` of the client with this IP address, of which `already_counted` were counted before.

        Raises:
          ApiError: `too_many_requests` if they exceed the rate limit; then none of them is counted.
        """
        if not self._size:
            return
        with self._lock:
            now = self._clock()
            key = self._bucket_key(client_network(client), now)
            # A request for more than a full bucket can never be granted in full, so it empties the bucket.
            wanted, left = min(images, self._size), self._tokens(key, now) + already_counted
            granted = left >= wanted
            self._buckets[key] = (min(self._size, left - wanted if granted else left), now)
            self._buckets.move_to_end(key)
        if not granted:
            wait = math.ceil((wanted - left) * 60 / self._size)
            raise ApiError(
                "too_many_requests", f"The rate limit is {self._size} images per minute. Wait {wait} s.", wait
            )

    def _bucket_key(self, key: str, now: float) -> str:
        if key in self._buckets:
            return key
        while len(self._buckets) >= MAX_CLIENTS and self._tokens(next(iter(self._buckets)), now) >= self._size:
            self._buckets.popitem(last=False)
        return key if len(self._buckets) < MAX_CLIENTS else _OTHERS

    def _tokens(self, key: str, now: float) -> float:
        left, since = self._buckets.get(key, (self._size, now))
        return min(self._size, left + (now - since) * self._size / 60)
