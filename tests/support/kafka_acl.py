"""Gives the test broker's user `limited` rights, in Kafka's own protocol (CreateAcls, key 30, version 1)."""

from __future__ import annotations

import socket
import struct
import time

RESOURCES = {"topic": 2, "cluster": 4, "transactional id": 5}
OPERATIONS = {"read": 3, "write": 4, "create": 5, "describe": 8}
LITERAL = ALLOW = 3


def allow(bootstrap: str, resource: str, name: str, *operations: str) -> None:
    """Let `limited` do `operations` on a topic or transactional id."""
    entries = [
        struct.pack(">b", RESOURCES[resource])
        + _text(name)
        + struct.pack(">b", LITERAL)
        + _text("User:limited")
        + _text("*")
        + struct.pack(">bb", OPERATIONS[operation], ALLOW)
        for operation in operations
    ]
    body = struct.pack(">hhih", 30, 1, 7, -1) + struct.pack(">i", len(entries)) + b"".join(entries)
    host, _, port = bootstrap.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as wire,
        wire.makefile("rb") as answer,
    ):
        wire.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", answer.read(4))
        _, _, count, *codes = struct.unpack_from(">iii" + "hh" * len(entries), answer.read(size))
    time.sleep(0.2)  # until the broker, too, has read what its controller wrote
    assert (count, codes) == (len(entries), [0, 0] * len(entries)), codes


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()
