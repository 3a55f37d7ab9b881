"""Known transforms, kernels and random butterflies, whose chain and orderings come with them.

Every matrix here is an entry function. A block costs what its entries cost, wherever it lies; nothing of shape
``(M, N)`` is held, and :func:`write` streams a matrix into a Zarr array. Tests and benchmarks factorize these matrices.

- Butterflies of rank one, exactly: :func:`dft`, :func:`hadamard`, :func:`orthogonal_butterfly`,
  :func:`gaussian_butterfly`, and :func:`butterfly` for given factors of any rank.
- Butterflies of a higher rank, to a tolerance: :func:`helmholtz`, :func:`nudft`, :func:`fourier_integral`,
  :func:`hankel`, :func:`legendre`, :func:`cauchy`. Each is in standard order once its rows are bit-reversed, and its
  ``chain`` has the rank that was measured for the ``tol`` asked for.
- Kernels of one set of points with itself, which are no butterflies: :func:`covariance`, :func:`laplace`,
  :func:`helmholtz` on one circle, sphere or cloud, :func:`graph_kernel`, and :func:`cauchy` of interlaced points. Their
  ``points`` are those of the rows and columns.
- :func:`dct2`, of rank two in an order of its own.
- Of any of them, :func:`noisy` and :func:`shuffled` versions.

``factorize(Z, Z.chain, orderings=Z.orderings)`` is the factorization that fits a known matrix ``Z``.
"""

from .butterflies import butterfly, gaussian_butterfly, orthogonal_butterfly
from .kernels_of_points import covariance, graph_kernel, laplace
from .known import KnownMatrix
from .noise import noisy
from .oscillatory import fourier_integral, nudft
from .pairwise import cauchy, helmholtz
from .permutations import shuffled
from .special import hankel, legendre
from .transforms import dct2, dft, hadamard
from .writing import default_chunks, write

__all__ = [
    "KnownMatrix",
    "butterfly",
    "cauchy",
    "covariance",
    "dct2",
    "default_chunks",
    "dft",
    "fourier_integral",
    "gaussian_butterfly",
    "graph_kernel",
    "hadamard",
    "hankel",
    "helmholtz",
    "laplace",
    "legendre",
    "noisy",
    "nudft",
    "orthogonal_butterfly",
    "shuffled",
    "write",
]
