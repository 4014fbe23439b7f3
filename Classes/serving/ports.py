"""Bind the server's port before anything slow is done."""

import socket

from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.translation import Message


def bind_port(address: str, port: int) -> socket.socket:
    """Reserve a port without accepting connections yet; port 0 reserves any free port.

    Raises:
      ConfigurationError: `port` if the port is taken or not allowed, or the address is not one of this machine.
    """
    bound = None
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        # Allow a port whose previous connections are still in TIME_WAIT.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(target)
    except (OSError, UnicodeError) as error:
        if bound is not None:
            bound.close()
        raise port_error(address, port, error) from error
    return bound


def port_error(address: str, port: int | str, error: OSError | UnicodeError) -> ConfigurationError:
    """Return the error for an address and port that cannot be opened."""
    # getaddrinfo raises UnicodeError for names such as a..b.
    reason = Message("not a host name") if isinstance(error, UnicodeError) else system_reason(error)
    return ConfigurationError(
        Message(
            "{address}:{port}: {reason}; stop the program that uses it, or set another IP or Port",
            address=address,
            port=port,
            reason=reason,
        ),
        code="port",
    )
