"""Who calls: the API key, and how much one caller may ask for."""

import collections
import ipaddress
import math
import os
import secrets
import threading
import time

from Classes.common import secret_files
from Classes.common.errors import ConfigurationError
from Classes.serving import request_origin
from Classes.serving.api_errors import ApiError

# Callers remembered at once. One whose bucket is full again is forgotten; while all places are taken, new callers share
# one bucket, so that a flood of addresses can neither fill the memory nor empty the bucket of a known caller.
MAX_CLIENTS = 10_000
_OTHERS = "others"

# An IPv6 customer has at least a /64, and thus any number of addresses.
_PREFIX = 64


def load_key(configuration, environment=os.environ):
    """The API key that callers must send.

    Args:
      configuration: Configuration; `ApiKeyFile`, `AllowWithoutApiKey` and `IP` are used.
      environment: mapping; ALL_API_KEY comes before the file.
    Returns:
      bytes, or None where no key is needed.
    Raises:
      ConfigurationError: no key, though the address can be reached from other machines; or one that is no key.
    """
    key = secret_files.read_key(configuration, environment)
    if key or request_origin.is_loopback(configuration.address) or configuration["AllowWithoutApiKey"]:
        return key
    raise ConfigurationError(
        f"IP={configuration.address}: reachable from other machines and no API key; set {secret_files.KEY_VARIABLE} or ApiKeyFile, or "
        "say AllowWithoutApiKey=true"
    )


def check_key(key, headers):
    """Let only those in who know the key.

    Args:
      key: bytes, or None where everybody may come in.
      headers: mapping; `X-API-Key: KEY` or `Authorization: Bearer KEY`.
    Raises:
      Refusal: no key, or a wrong one.
    """
    if key is None:
        return
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    sent = headers.get("X-API-Key") or (bearer.strip() if scheme.lower() == "bearer" else "")
    # As bytes, since compare_digest refuses texts that are not ASCII.
    if not secrets.compare_digest(sent.encode("utf-8", "surrogateescape"), key):
        raise ApiError("unauthorized", "the API key is missing or wrong; send it as X-API-Key or as a Bearer token")


def network(caller: str) -> str:
    """The network that counts as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    found = request_origin.address(caller)
    if found is None or found.version == 4 or found.is_link_local:
        # All machines of a local network share the link-local /64.
        return caller if found is None else str(found)
    return str(ipaddress.IPv6Network((int(found), _PREFIX), strict=False))


class TokenBucketLimiter:
    """Limit the images per caller: a bucket of `per_minute` images that refills evenly within a minute.

    Args:
      per_minute: images; 0 means no limit.
      clock: callable, seconds.
    """

    def __init__(self, per_minute, clock=time.monotonic):
        self._size = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        # {network: (images left, when that was)}, the one not heard of for longest first.
        self._left = collections.OrderedDict()

    def take(self, caller, images=1, counted=0):
        """Count images of a caller.

        Args:
          caller: IP address.
          images: number of images.
          counted: how many of them an earlier call has counted.
        Raises:
          Refusal: there were too many in the last minute; none of these is counted.
        """
        if not self._size:
            return
        with self._lock:
            now = self._clock()
            key = self._place(network(caller), now)
            # More than a whole bucket is never there: such a request empties it.
            wanted, left = min(images, self._size), self._filled(key, now) + counted
            granted = left >= wanted
            self._left[key] = (min(self._size, left - wanted if granted else left), now)
            self._left.move_to_end(key)
        if not granted:
            wait = math.ceil((wanted - left) * 60 / self._size)
            raise ApiError("too_many_requests", f"more than {self._size} images a minute; wait {wait} s", wait)

    def _place(self, key, now):
        """The bucket of a caller; that of all new callers while there is no place left."""
        if key in self._left:
            return key
        while len(self._left) >= MAX_CLIENTS and self._filled(next(iter(self._left)), now) >= self._size:
            self._left.popitem(last=False)
        return key if len(self._left) < MAX_CLIENTS else _OTHERS

    def _filled(self, key, now):
        left, since = self._left.get(key, (self._size, now))
        return min(self._size, left + (now - since) * self._size / 60)
