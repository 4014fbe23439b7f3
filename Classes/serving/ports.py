"""Bind the server's port before anything slow is done, and close it without resetting a connection."""

import contextlib
import ctypes
import socket
import struct
import sys

from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.translation import Message

# Linux's socket option for a classic BPF program, and one that drops packets with the flag SYN, which begin a
# connection: load the flags of the TCP header; if SYN is among them, keep nothing of the packet, otherwise all of it.
_SO_ATTACH_FILTER = 26
_SYN_FILTER = [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]


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


def ignore_new_connections(listening: socket.socket) -> None:
    """Let the system ignore attempts to connect to a port that is about to be closed; only Linux can.

    Otherwise it accepts a connection between the last `accept` and `close`, and resets it, and the client cannot know
    whether its request was processed. The client tries again within about a second, and is refused by then. A client
    far away that the system has answered, but whose confirmation is still on its way, is reset all the same.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _SYN_FILTER))
        option = struct.pack("HP", len(_SYN_FILTER), ctypes.addressof(program))
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


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
