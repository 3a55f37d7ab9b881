"""Known transforms and random butterflies, whose true chain and orderings come with them.

Every matrix here is an entry function: any block of any size costs what the block costs, nothing of shape ``(M, N)`` is
held, and :func:`write` streams it into a Zarr array. They are what the factorization is tried and tested on.
"""

from .butterflies import butterfly, gaussian_butterfly, orthogonal_butterfly
from .known import KnownMatrix
from .noise import noisy
from .permutations import shuffled
from .transforms import dct2, dft, hadamard
from .writing import default_chunks, write

__all__ = [
    "KnownMatrix",
    "butterfly",
    "dct2",
    "default_chunks",
    "dft",
    "gaussian_butterfly",
    "hadamard",
    "noisy",
    "orthogonal_butterfly",
    "shuffled",
    "write",
]
