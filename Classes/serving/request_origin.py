"""Where a request comes from: the proxy in front of the server, the host it names, and the web page that sends it."""

import ipaddress
import re
import socket

from Classes.common.errors import ConfigurationError
from Classes.serving.api_errors import ApiError

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/?#@,\\]+)(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def address(text: str):
    """The IP address in a text, with or without a port; an IPv4 address that is written as IPv6 is IPv4.

    Returns:
      ipaddress.IPv4Address or IPv6Address, or None if there is none.
    """
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
    """Whether a host is this machine and nothing else: a loopback address, or localhost."""
    found = address(host)
    return _name(host) == "localhost" if found is None else found.is_loopback


class Proxies:
    """The reverse proxies whose X-Forwarded headers are believed.

    Args:
      text: `TrustedProxy`: addresses and networks such as 10.0.0.0/8, separated by commas.
    Raises:
      ConfigurationError: a part is neither, or is every address there is.
    """

    def __init__(self, text: str):
        self._networks = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            try:
                network = ipaddress.ip_network(part, strict=False)
            except ValueError as error:
                raise ConfigurationError(
                    f"TrustedProxy={part}: not an IP address or network; write it like 10.0.0.1 or 10.0.0.0/8",
                    code="trusted_proxy",
                ) from error
            if not network.prefixlen:
                raise ConfigurationError(
                    f"TrustedProxy={part}: trusts every caller; name the addresses of your proxies",
                    code="trusted_proxy",
                )
            self._networks.append(network)

    def forward(self, environ: dict) -> None:
        """Put what a trusted proxy says of caller, host and scheme into a WSGI environment.

        The caller is the last address in X-Forwarded-For that is not a trusted proxy itself: whatever stands before
        it was written by the caller.
        """
        caller = address(environ.get("REMOTE_ADDR", ""))
        if caller is None:
            return
        if caller in self:
            for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
                found = address(hop)
                if found is None:
                    break
                caller = found
                if caller not in self:
                    break
            scheme = _last(environ, "HTTP_X_FORWARDED_PROTO").lower()
            if scheme in _DEFAULT_PORTS:
                environ["wsgi.url_scheme"] = scheme
            host = _last(environ, "HTTP_X_FORWARDED_HOST")
            if host:
                environ["HTTP_HOST"] = host
        environ["REMOTE_ADDR"] = str(caller)

    def __contains__(self, found) -> bool:
        return any(found in network for network in self._networks)


class Hosts:
    """The host names under which the server may be addressed.

    A page of another site can make a browser ask this machine under the site's own name (DNS rebinding), and then
    reads the answers; the name is what gives it away.

    Args:
      configuration: Configuration; `IP`, `Domain` and `AllowedHosts` are used.
    """

    def __init__(self, configuration):
        domain = configuration["Domain"].rpartition("://")[2].partition("/")[0]
        own = [configuration.address, domain, *configuration["AllowedHosts"]]
        bound = address(configuration.address)
        # Nobody can make an address, or one of the machine's own names, another site's.
        self._any_address = not is_loopback(configuration.address) if bound is None else bound.is_unspecified
        if self._any_address:
            machine = socket.gethostname()
            short = machine.partition(".")[0]
            own += [machine, short, f"{short}.local"]
        self._known = {_host(name) for name in own if name}

    def check(self, header: str | None) -> None:
        """Refuse a Host header that names another server; programs may leave it out, browsers cannot.

        Raises:
          Refusal: `host_not_allowed`.
        """
        if header is None:
            return
        match = _HOST.fullmatch(header)
        host = match and _host(match[1])
        if host and (is_loopback(match[1]) or host in self._known or (self._any_address and address(match[1]))):
            return
        raise ApiError(
            "host_not_allowed",
            f"This server does not answer as {header[:255] or 'a host without a name'}. Use its IP address, "
            "or add the name to AllowedHosts.",
        )


def check_page(headers, host: str | None, allowed, opens_page: bool) -> None:
    """Refuse what a web page of another origin sends; programs such as curl send none of these headers.

    Args:
      headers: mapping with `Origin` and the `Sec-Fetch-…` headers.
      host: the Host header.
      allowed: `AllowedOrigins`.
      opens_page: whether the request is for one of the server's own pages, which a link on another site may open.
    Raises:
      Refusal: `origin_not_allowed`.
    """
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none").strip().lower()
    if origin in allowed:
        return
    followed = (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) == ("navigate", "document")
    if origin is None:
        foreign = site not in ("none", "same-origin") and not (opens_page and followed)
    else:
        foreign = site not in ("none", "same-origin") or not _same(origin, host)
    if foreign:
        raise ApiError(
            "origin_not_allowed",
            f"A page of {(origin or 'another site')[:255]} may not use this server. If it should, add its origin to "
            "AllowedOrigins.",
        )


def _same(origin, host):
    """Whether an origin such as http://127.0.0.1:8080 is that of a Host header."""
    scheme, _, place = origin.partition("://")
    ours, theirs = _HOST.fullmatch(host or ""), _HOST.fullmatch(place)
    if not ours or not theirs or scheme.lower() not in _DEFAULT_PORTS:
        return False
    # Without a port the scheme decides, and a proxy may have taken the encryption off.
    default = _DEFAULT_PORTS[scheme.lower()]
    ports = [int(match[2] or default) for match in (ours, theirs)]
    return _host(ours[1]) == _host(theirs[1]) and ports[0] == ports[1]


def _host(text):
    """A host in the form in which two spellings of the same one are equal."""
    found = address(text)
    return _name(text) if found is None else str(found)


def _name(text):
    match = _HOST.fullmatch(text)
    name = (match[1] if match else text).lower()
    name = name[:-1] if name.endswith(".") else name
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name


def _last(environ, name):
    return environ.get(name, "").rpartition(",")[2].strip().strip('"')
