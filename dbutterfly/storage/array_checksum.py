"""The checksum of the intermediate arrays of a run: CRC-32C of a chunk and of the name of the array that it is of.

A chunk that comes from another array, of this run or of another one, has a right checksum of its own. It is told by
this one, which begins with a number made of the place of the array, and so of the run. The compiled codec pipeline
does not know it, and leaves such arrays to Zarr's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import google_crc32c
import numpy as np
from zarr.abc.codec import BytesBytesCodec
from zarr.registry import register_codec

__all__ = ["ArrayChecksum"]

NAME = "dbutterfly.array_checksum"
"""Name of the codec in the metadata of arrays."""


@dataclass(frozen=True)
class ArrayChecksum(BytesBytesCodec):
    """Codec that appends four bytes: the CRC-32C of the chunk after that of the array's place.

    Parameters
    ----------
    seed : int
        CRC-32C of the place.
    """

    seed: int
    is_fixed_size = True

    @classmethod
    def of(cls, place: str) -> Self:
        """Codec of the array at a place in the store of a run."""
        return cls(google_crc32c.value(place.encode()))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Codec that metadata describe."""
        seed = data["configuration"]["seed"]
        if data["name"] != NAME or not isinstance(seed, int) or not 0 <= seed < 1 << 32:
            raise ValueError(f"{data} is no {NAME}")
        return cls(seed)

    def to_dict(self) -> dict[str, Any]:
        """Description for the metadata."""
        return {"name": NAME, "configuration": {"seed": self.seed}}

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: Any) -> int:
        """Bytes of a chunk with its checksum."""
        return input_byte_length + 4

    async def _encode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        data = chunk_bytes.as_numpy_array()
        return chunk_spec.prototype.buffer.from_array_like(np.append(data, self._checksum(data)))

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        data = chunk_bytes.as_numpy_array()
        inner = data[:-4]
        if not np.array_equal(data[-4:], self._checksum(inner)):
            raise ValueError("the checksum is not that of the chunk in this array")
        return chunk_spec.prototype.buffer.from_array_like(inner)

    def _checksum(self, data: Any) -> Any:
        value = google_crc32c.extend(self.seed, np.ascontiguousarray(data))
        return np.array([value], "<u4").view("B")


register_codec(NAME, ArrayChecksum)
