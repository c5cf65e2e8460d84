"""Write small GGUF files, good and bad ones."""

import struct
from collections.abc import Mapping
from pathlib import Path

F32 = 0


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item: object) -> bytes:
    match item:
        case bool():
            return struct.pack("<I?", 7, item)
        case int():
            return struct.pack("<II", 4, item)
        case float():
            return struct.pack("<If", 6, item)
        case str():
            return struct.pack("<I", 8) + text(item)
        case list():
            return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(text(str(one)) for one in item)
    raise TypeError(type(item))


def gguf(metadata: Mapping[str, object] | None = None, tensors: Mapping[str, tuple[int, ...]] | None = None) -> bytes:
    """A GGUF of version 3 with F32 tensors of zeros."""
    metadata = {"general.architecture": "test"} if metadata is None else metadata
    tensors = {"w": (4, 2)} if tensors is None else tensors
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + value(item) for key, item in metadata.items())
    offset = 0
    for name, shape in tensors.items():
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", F32, offset)
        size = 4
        for side in shape:
            size *= side
        offset += (size + 31) // 32 * 32
    return head + b"\0" * (-len(head) % 32) + b"\0" * offset


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
