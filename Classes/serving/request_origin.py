"""Checks of where a request comes from: trusted proxies, the Host header, and the web page that sends it."""

import functools
import ipaddress
import re
import socket
from collections.abc import Collection, Mapping
from typing import Any

from werkzeug.datastructures import Headers

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.serving.api_errors import ApiError

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/?#@,\\]+)(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

# With brackets, interface, port and spaces around it.
MAX_IP_LENGTH = 255

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> IPAddress | None:
    """Parse an IP address with or without a port; return None if it is not one, and IPv4-mapped IPv6 as IPv4."""
    # Longer texts would fill the memory of the cache.
    return _parse_ip(text) if len(text) <= MAX_IP_LENGTH else None


@functools.lru_cache(256)
def _parse_ip(text: str) -> IPAddress | None:
    text = text.strip().strip('"').removesuffix(".")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine: a loopback address, or localhost."""
    found = parse_ip(host)
    return _normalize_name(host) == "localhost" if found is None else found.is_loopback


class TrustedProxies:
    """The reverse proxies whose X-Forwarded headers are trusted.

    Args:
      text: `TrustedProxy`: addresses and networks such as 10.0.0.0/8, separated by commas.
    Raises:
      ConfigurationError: `trusted_proxy` if a part is neither, or includes every address.
    """

    def __init__(self, text: str):
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            try:
                network = ipaddress.ip_network(part, strict=False)
            except ValueError as error:
                raise ConfigurationError(
                    Message(
                        "TrustedProxy={part}: not an IP address or network; write it like 10.0.0.1 or 10.0.0.0/8",
                        part=part,
                    ),
                    code="trusted_proxy",
                ) from error
            if not network.prefixlen:
                raise ConfigurationError(
                    Message("TrustedProxy={part}: trusts every client; name the addresses of your proxies", part=part),
                    code="trusted_proxy",
                )
            self._networks.append(network)

    def apply_forwarded_headers(self, environ: dict[str, Any]) -> None:
        """Set client, host and scheme of a WSGI environment from the headers of a trusted proxy.

        The client is the last address in X-Forwarded-For that is not a trusted proxy; the client itself may have
        written everything before it.
        """
        client = parse_ip(environ.get("REMOTE_ADDR", ""))
        if client is None:
            return
        if client in self:
            for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
                found = parse_ip(hop)
                if found is None:
                    break
                client = found
                if client not in self:
                    break
            scheme = _last_value(environ, "HTTP_X_FORWARDED_PROTO").lower()
            if scheme in _DEFAULT_PORTS:
                environ["wsgi.url_scheme"] = scheme
            host = _last_value(environ, "HTTP_X_FORWARDED_HOST")
            if host:
                environ["HTTP_HOST"] = host
        environ["REMOTE_ADDR"] = str(client)

    def __contains__(self, address: IPAddress) -> bool:
        return any(address in network for network in self._networks)


class HostCheck:
    """The host names that the server answers to, from `IP`, `Domain` and `AllowedHosts`.

    With DNS rebinding, a web page makes a browser resolve the page's own host name to this machine and can then read
    the responses. The Host header still contains that foreign name.
    """

    def __init__(self, configuration: Configuration):
        domain = configuration["Domain"].rpartition("://")[2].partition("/")[0]
        names = [configuration.address, domain, *configuration["AllowedHosts"]]
        bound = parse_ip(configuration.address)
        # IP addresses and the machine's own names cannot be names of another site.
        self._any_address = not is_loopback(configuration.address) if bound is None else bound.is_unspecified
        if self._any_address:
            machine = socket.gethostname()
            short = machine.partition(".")[0]
            names += [machine, short, f"{short}.local"]
        self._allowed = {_normalize_host(name) for name in names if name}

    def check(self, header: str | None) -> None:
        """Check a Host header; None is allowed, since only programs can leave the header out.

        Raises:
          ApiError: `host_not_allowed` if it names another server.
        """
        if header is None:
            return
        match = _HOST.fullmatch(header)
        host = match and _normalize_host(match[1])
        if match and host and (is_loopback(match[1]) or host in self._allowed):
            return
        if match and host and self._any_address and parse_ip(match[1]):
            return
        raise ApiError(
            "host_not_allowed",
            f"This server does not answer to the host name {header[:255] or '(empty)'}. Use its IP address, or add "
            "the name to AllowedHosts.",
        )


def check_origin(
    headers: Headers | Mapping[str, str], host: str | None, allowed: Collection[str], opens_page: bool
) -> None:
    """Reject requests that a browser sends for a web page of another origin; programs send no such headers.

    Args:
      headers: request headers, of which `Origin` and `Sec-Fetch-…` are used.
      host: the Host header.
      allowed: `AllowedOrigins`.
      opens_page: whether the request is for a page of this server, to which other sites may link.
    Raises:
      ApiError: `origin_not_allowed`.
    """
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none").strip().lower()
    if origin in allowed:
        return
    followed = (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) == ("navigate", "document")
    if origin is None:
        foreign = site not in ("none", "same-origin") and not (opens_page and followed)
    else:
        foreign = site not in ("none", "same-origin") or not _same_origin(origin, host)
    if foreign:
        raise ApiError(
            "origin_not_allowed",
            f"Pages of {(origin or 'another site')[:255]} may not use this server. To allow it, add the origin to "
            "AllowedOrigins.",
        )


def _same_origin(origin: str, host: str | None) -> bool:
    """Return whether an origin such as http://127.0.0.1:8080 belongs to a Host header."""
    scheme, _, sender = origin.partition("://")
    ours, theirs = _HOST.fullmatch(host or ""), _HOST.fullmatch(sender)
    if not ours or not theirs or scheme.lower() not in _DEFAULT_PORTS:
        return False
    # The origin's scheme gives the default port of both, because a proxy may have terminated TLS.
    default = _DEFAULT_PORTS[scheme.lower()]
    ports = [int(match[2] or default) for match in (ours, theirs)]
    return _normalize_host(ours[1]) == _normalize_host(theirs[1]) and ports[0] == ports[1]


def _normalize_host(text: str) -> str:
    """Return a host in a form in which all spellings of it are equal."""
    found = parse_ip(text)
    return _normalize_name(text) if found is None else str(found)


def _normalize_name(text: str) -> str:
    match = _HOST.fullmatch(text)
    name = (match[1] if match else text).lower()
    name = name[:-1] if name.endswith(".") else name
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name


def _last_value(environ: Mapping[str, Any], name: str) -> str:
    return environ.get(name, "").rpartition(",")[2].strip().strip('"')
