"""What the attributes of an array say about its numbers, after the CF conventions that netCDF and xarray write.

    attribute                        effect
    scale_factor, add_offset         an entry is ``number * scale_factor + add_offset``, in double precision
    _FillValue, missing_value        such a number stands for a missing entry, which becomes NaN
    _Unsigned                        whether integers are to be read with or without sign
    units "... since ...", dtype     times, which are no entries of a matrix, and are refused
    valid_min, valid_max, and range  nothing: xarray ignores them too

In version 2 of Zarr, xarray keeps ``_FillValue`` as the fill value of the array; the attribute ``_ARRAY_DIMENSIONS``
tells an array that was written so. Rules and dtypes are those of ``xarray.open_zarr``; only factors that are integers
give float64 here, where xarray cuts floating entries to integers.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError

__all__ = ["Packing", "find_packing", "is_time"]

MISSING = ("_FillValue", "missing_value")
"""Attributes whose values stand for missing entries."""

_SINCE = re.compile(r"^\s*\w+\s+since\s+\S", re.IGNORECASE)


@dataclass(frozen=True)
class Packing:
    """How stored numbers become entries.

    Attributes
    ----------
    stored, dtype : numpy.dtype
        Of the numbers as stored, and of the entries.
    view : numpy.dtype
        As which the bits of the numbers are read: that of ``stored`` but for its sign.
    missing : tuple of scalar
        Numbers of dtype ``view`` that stand for missing entries.
    scale, offset : float or None
        What they are multiplied by, and what is added then.
    truth : bool
        Whether they are truth values: anything but zero is one.
    """

    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    view: np.dtype[Any]
    missing: tuple[Any, ...] = ()
    scale: float | None = None
    offset: float | None = None
    truth: bool = False

    def decode(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Entries of some stored numbers, NaN where one is missing: a new array of the same shape."""
        seen = numbers.view(self.view.newbyteorder(numbers.dtype.byteorder))
        absent = self.is_missing(seen)
        entries = (seen != 0).astype(self.dtype) if self.truth else seen.astype(self.dtype)
        with np.errstate(all="ignore"):  # what overflows is named where entries are looked at
            if self.scale is not None:
                entries *= self.scale
            if self.offset is not None:
                entries += self.offset
        if absent is not None:
            entries[absent] = np.nan
        return entries

    def is_missing(self, seen: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Whether numbers of dtype ``view`` stand for missing entries; None if none can."""
        found = None
        for value in self.missing:
            here = seen == value
            found = here if found is None else np.logical_or(found, here, out=found)
        return found

    @property
    def bytes_per_entry(self) -> int:
        """Bytes held for an entry while it is decoded: as stored, as decoded, and whether it is missing."""
        return self.stored.itemsize + self.dtype.itemsize + 2 * bool(self.missing)

    def __str__(self) -> str:
        words = [self.view.name]
        if self.scale is not None:
            words.append(f"* {self.scale!r}")
        if self.offset is not None:
            words.append(f"+ {self.offset!r}" if self.offset >= 0 else f"- {-self.offset!r}")
        if self.truth:
            words.append("as truth values")
        values = ", ".join(str(value) for value in self.missing)
        return " ".join(words) + (f", {values} (_FillValue) for missing entries" if values else "")


def find_packing(array: Any, name: str) -> Packing | None:
    """Read the attributes of a Zarr array; None if its numbers are its entries.

    Parameters
    ----------
    array : zarr.Array
        The array.
    name : str
        What error messages call it.

    Raises
    ------
    SourceError
        If its numbers are times, or an attribute is not understood; the message names the attribute.
    """
    attributes, stored = dict(array.attrs), np.dtype(array.dtype)
    refuse_times(attributes, stored, name)
    if stored.kind not in "biufc":
        return None  # refused by its dtype
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attributes and array.fill_value is not None:
        attributes["_FillValue"] = array.fill_value
    view = _signed_or_not(attributes, stored, name)
    missing = _missing_numbers(attributes, stored, view, name)
    scale, offset = (_factor(attributes, key, name) for key in ("scale_factor", "add_offset"))
    truth = attributes.get("dtype") == "bool" and stored.kind in "iu"
    only_nan = not missing and any(attributes.get(key) is not None for key in MISSING)
    keeps = only_nan and view.kind == "f"  # floating numbers, which xarray writes with NaN as their _FillValue
    is_scaled = not keeps and (scale is not None or offset is not None)
    dtype = _decoded_dtype(view, is_scaled=is_scaled, is_masked=bool(missing))
    if not (missing or truth or view != stored) and scale is None and offset is None:
        return None
    return Packing(stored, dtype, view, missing, scale, offset, truth)


def is_time(attributes: Mapping[str, Any]) -> str | None:
    """The attribute that makes numbers times, as text; None if there is none."""
    units = attributes.get("units")
    if isinstance(units, str) and _SINCE.match(units):
        return f"units={units!r}"
    kind = attributes.get("dtype")
    if isinstance(kind, str) and kind.lstrip("<>=|").startswith(("datetime64", "timedelta64")):
        return f"dtype={kind!r}"
    return None


def refuse_times(attributes: Mapping[str, Any], stored: np.dtype[Any], name: str) -> None:
    """Refuse an array of times.

    Raises
    ------
    SourceError
        If the attributes make its numbers times.
    """
    found = is_time(attributes)
    if found is not None and stored.kind in "biuf":
        raise SourceError(
            f"{name} has the attribute {found}: its entries are times, which cannot be factorized; pass numbers, or "
            "decode=False to take the numbers that are stored"
        )


def _signed_or_not(attributes: Mapping[str, Any], stored: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Dtype as which integers are read, in the native byte order."""
    flag = attributes.get("_Unsigned")
    native = stored.newbyteorder("=")
    if flag is None or stored.kind not in "iu":
        return native
    said = str(flag).lower()
    if said not in ("true", "false"):
        raise _not_understood(name, "_Unsigned", flag, "'true' or 'false'")
    return np.dtype(f"{'u' if said == 'true' else 'i'}{stored.itemsize}")


def _missing_numbers(
    attributes: Mapping[str, Any], stored: np.dtype[Any], view: np.dtype[Any], name: str
) -> tuple[Any, ...]:
    """Distinct numbers of dtype ``view`` that stand for missing entries; a NaN needs no word."""
    found: list[Any] = []
    for key in MISSING:
        if attributes.get(key) is None:
            continue
        for value in _numbers(attributes[key], stored, key, name):
            number = _as_stored(value, stored, view)
            if number is not None and not np.isnan(number) and number not in found:
                found.append(number)
    return tuple(found)


def _numbers(given: Any, stored: np.dtype[Any], key: str, name: str) -> list[Any]:
    """Numbers of an attribute: plain, in a list, by name such as "NaN", or as xarray writes floating ones to Zarr 3."""
    if stored.kind == "c" and isinstance(given, (list, tuple)) and len(given) == 2:
        parts = [_numbers(part, np.dtype(np.float64), key, name)[0] for part in given]
        return [complex(*parts)]
    if isinstance(given, (list, tuple, np.ndarray)):
        return [number for part in given for number in _numbers(part, stored, key, name)]
    if isinstance(given, (str, bytes)):
        try:
            return [float(given)]
        except ValueError:
            pass
        try:
            return list(struct.unpack("<d", base64.b64decode(given, validate=True)))
        except (binascii.Error, struct.error, ValueError):
            raise _not_understood(name, key, given, "a number") from None
    if isinstance(given, (bool, int, float, complex, np.number, np.bool_)):
        return [given]
    raise _not_understood(name, key, given, "a number")


def _as_stored(value: Any, stored: np.dtype[Any], view: np.dtype[Any]) -> Any:
    """A number as the array can hold it; None where it cannot."""
    if view.kind in "fc":
        with np.errstate(all="ignore"):
            return view.type(value)
    if isinstance(value, (complex, np.complexfloating)) or not math.isfinite(value) or value != int(value):
        return None
    number = int(value)
    if view != stored.newbyteorder("="):  # its bits, whichever sign they were written with
        number &= (1 << 8 * view.itemsize) - 1
        if view.kind == "i" and number >> (8 * view.itemsize - 1):
            number -= 1 << 8 * view.itemsize
    limits = (0, 1) if view.kind == "b" else (int(np.iinfo(view).min), int(np.iinfo(view).max))
    return view.type(number) if limits[0] <= number <= limits[1] else None


def _factor(attributes: Mapping[str, Any], key: str, name: str) -> float | None:
    """The number of an attribute that entries are multiplied by, or that is added."""
    given = attributes.get(key)
    if given is None:
        return None
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if len(values) != 1 or isinstance(values[0], bool) or not isinstance(values[0], (int, float)):
        raise _not_understood(name, key, given, "a number")
    return float(values[0])


def _decoded_dtype(view: np.dtype[Any], *, is_scaled: bool, is_masked: bool) -> np.dtype[Any]:
    """Dtype of the entries: the one that xarray chooses."""
    if is_scaled:
        return np.dtype(np.complex128 if view.kind == "c" else np.float64)
    if is_masked and view.kind in "biu":
        return np.dtype(np.float32 if view.itemsize <= 2 else np.float64)
    return view


def _not_understood(name: str, key: str, given: Any, wanted: str) -> SourceError:
    return SourceError(
        f"{name} has the attribute {key}={given!r}, which is not understood: {wanted} is expected, by which stored "
        "numbers become entries; correct it, or pass decode=False to take the numbers that are stored"
    )
