"""The drawings of the site.

``python docs/_extensions/drawings.py`` draws the picture of the README. All others are drawn when the site is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from canvas import STATIC, Canvas, Palette, write
from numpy.typing import NDArray

import dbutterfly as dbf

FRONT = "butterfly"
"""Drawing of the README, which is kept in the repository."""


def support(pattern: Iterable[int]) -> NDArray[np.float64]:
    """Support of a factor, as ones in a matrix."""
    a, b, c, d = pattern
    return np.kron(np.eye(a), np.kron(np.ones((b, c)), np.eye(d)))


def shades(z: NDArray[Any]) -> NDArray[np.float64]:
    """Real parts, from 0 to 1."""
    real = np.real(z)
    return np.asarray((real - real.min()) / np.ptp(real) * 0.92 + 0.05)


# ---- the pictures


def butterfly(palette: Palette) -> str:
    """Draw a dense matrix beside its sparse factors."""
    chain, side, gap, top = dbf.Chain.square_dyadic(16), 132, 24, 8
    canvas = Canvas(5 * side + 4 * gap + 54, side + 48, palette, "A dense matrix and its four sparse factors")
    canvas.cells(4, top, side, shades(np.asarray(dbf.matrices.dft(16))))
    canvas.frame(4, top, side, side)
    canvas.text(4, top + side + 30, "256 numbers", 20, anchor="start")
    x = side + gap + 50.0
    canvas.text(x - 36, top + side / 2 + 12, "≈", 38)
    canvas.text(x + 2 * side + 1.5 * gap, top + side + 30, "4 times 32 numbers", 20)
    for number, pattern in enumerate(chain):
        canvas.cells(x, top, side, support(pattern) * 0.9, palette.marks[number])
        canvas.frame(x, top, side, side)
        x += side + gap
    return canvas.svg()


def supports(palette: Palette) -> str:
    """Draw the supports of the dyadic chain of size 8, with their patterns."""
    side, gap, top = 150, 46, 34
    canvas = Canvas(3 * side + 2 * gap + 8, side + 70, palette, "Supports of the three factors of size 8")
    for number, pattern in enumerate(dbf.Chain.square_dyadic(8)):
        x = 4.0 + number * (side + gap)
        canvas.text(x + side / 2, 20, f"{tuple(pattern)}", 17)
        canvas.cells(x, top, side, support(pattern) * 0.85, palette.marks[number])
        for index in range(1, 8):
            canvas.line(x, top + index * side / 8, x + side, top + index * side / 8, palette.soft, 0.3)
            canvas.line(x + index * side / 8, top, x + index * side / 8, top + side, palette.soft, 0.3)
        canvas.frame(x, top, side, side)
        a, _, _, d = pattern
        words = f"{a} block{'s' * (a > 1)}, stride {d}"
        canvas.text(x + side / 2, top + side + 24, words, 15, palette.soft)
    return canvas.svg()


def cut(palette: Palette) -> str:
    """Draw the blocks of one cut of a matrix of size 8, and one of them taken out."""
    side, top = 224, 34
    step = side / 8
    canvas = Canvas(540, side + 66, palette, "The blocks of one cut: rows a stride apart, neighbouring columns")
    canvas.text(4 + side / 2, 22, "Z, 8 x 8: 8 blocks of 4 x 2", 16)
    for row in range(8):
        for group in range(4):
            colour = palette.marks[group]
            opacity = 0.85 if row % 2 == 0 else 0.28
            canvas.box(4 + group * 2 * step, top + row * step, 2 * step, step, colour, fill_opacity=opacity)
    for row in range(9):
        canvas.line(4, top + row * step, 4 + side, top + row * step, palette.paper, 1.5)
    for group in range(5):
        canvas.line(4 + group * 2 * step, top, 4 + group * 2 * step, top + side, palette.paper, 1.5)
    canvas.text(4, top + side + 26, "one colour and shade: one block", 17, palette.soft, "start")
    x, y = 330.0, top + 2 * step
    canvas.arrow(4 + side + 16, top + side / 2, x - 20)
    canvas.box(x, y, 2 * step, 4 * step, palette.marks[1], fill_opacity=0.85)
    canvas.text(x + 2 * step + 24, top + side / 2 + 8, "≈", 28)
    canvas.box(x + 2 * step + 48, y, step, 4 * step, palette.marks[1], fill_opacity=0.85)
    canvas.box(x + 3 * step + 62, y, 2 * step, step, palette.marks[1], fill_opacity=0.85)
    canvas.text(x + 90, y + 4 * step + 28, "each block has rank one", 17, palette.soft)
    return canvas.svg()


def tree(palette: Palette) -> str:
    """Draw the balanced tree over eight factors."""
    canvas = Canvas(620, 300, palette, "A balanced tree over a chain of eight factors")
    places = {(0, 8): (300.0, 40.0)}
    for level, size in ((1, 4), (2, 2), (3, 1)):
        for start in range(0, 8, size):
            places[start, start + size] = (46 + 72 * (start + (size - 1) / 2), 40 + 76.0 * level)
    for (start, stop), (x, y) in places.items():
        if stop - start > 1:
            middle = (start + stop) // 2
            for child in ((start, middle), (middle, stop)):
                cx, cy = places[child]
                canvas.line(x, y + 14, cx, cy - 14)
    for (start, stop), (x, y) in places.items():
        is_root, is_leaf = stop - start == 8, stop - start == 1
        words = f"X{'₁₂₃₄₅₆₇₈'[start]}" if is_leaf else f"X{'₁₂₃₄₅₆₇₈'[start]} … X{'₁₂₃₄₅₆₇₈'[stop - 1]}"
        width = 40 if is_leaf else 104
        colour = palette.second if is_root else palette.accent
        canvas.box(x - width / 2, y - 15, width, 30, palette.paper, rx=6, stroke=colour, stroke_width=2 - is_leaf)
        canvas.text(x, y + 5, words, 15)
    canvas.text(372, 36, "the root cut reads Z", 15, palette.second, "start")
    canvas.text(372, 56, "all below works on N√N numbers", 15, palette.soft, "start")
    return canvas.svg()


def ordering(palette: Palette) -> str:
    """Draw a block of a Fourier matrix in the order of storage, and in the order that its chain needs."""
    z, side, height = np.asarray(dbf.matrices.dft(16)), 192, 246
    canvas = Canvas(420, 2 * height - 10, palette, "A block of a Fourier matrix in two orders of the columns")
    step, rows = side / 16, np.arange(1, 16, 4)
    for number, (words, cols) in enumerate((("as stored", range(4)), ("columns bit-reversed", range(0, 16, 4)))):
        top = 34 + number * height
        canvas.text(4, top - 11, words, 17, anchor="start")
        canvas.cells(4, top, side, shades(z) * 0.35, palette.soft)
        for row in rows:
            for col in cols:
                place = (4 + col * step, top + row * step, step, step)
                canvas.box(*place, palette.accent, stroke=palette.paper, stroke_width=0.8)
        canvas.frame(4, top, side, side)
        block = z[np.ix_(rows, cols)]
        rank = int(np.linalg.matrix_rank(block, tol=1e-9))
        canvas.arrow(side + 18, top + side / 2, side + 68)
        canvas.cells(side + 84, top + side / 2 - 44, 88, shades(block))
        canvas.frame(side + 84, top + side / 2 - 44, 88, 88)
        canvas.text(side + 128, top + side / 2 + 70, f"rank {rank}", 18, palette.second if rank > 1 else palette.accent)
    return canvas.svg()


def tiles(palette: Palette) -> str:
    """Draw the chunks of a stored matrix, and those that one tile reads."""
    side, top, chunks = 224, 34, 8
    step, middle = side / chunks, top + side / 2
    canvas = Canvas(560, side + 74, palette, "Chunks of a stored matrix, and one tile of it")
    canvas.text(4 + side / 2, 22, "Z in 64 chunks", 18)
    for row in range(chunks):
        for col in range(chunks):
            is_read = row % 4 == 1 and col // 2 == 2
            colour, opacity = (palette.second, 0.9) if is_read else (palette.accent, 0.16)
            canvas.box(4 + col * step + 1, top + row * step + 1, step - 2, step - 2, colour, fill_opacity=opacity)
    canvas.text(4, top + side + 28, "one tile: four chunks, read once", 18, palette.second, "start")
    canvas.arrow(side + 16, middle, side + 58)
    x = side + 72.0
    for row, col in np.ndindex(2, 2):
        canvas.box(x + col * step, middle - step + row * step, step - 2, step - 2, palette.second)
    canvas.text(x + step - 1, middle + step + 28, "rank r", 18, palette.soft)
    canvas.arrow(x + 2 * step + 14, middle, x + 2 * step + 56)
    left = x + 2 * step + 70
    for number in range(4):
        canvas.box(left + number * 10, middle - 42, 6, 84, palette.marks[number])
        canvas.box(left + 52, middle - 20 + number * 10, 84, 6, palette.marks[number])
    canvas.text(left + 18, middle + 66, "A", 18)
    canvas.text(left + 94, middle + 66, "B", 18)
    canvas.text(left + 60, middle + 94, "kept in the store", 18, palette.soft)
    return canvas.svg()


def certificate(palette: Palette) -> str:
    """Draw the certificate of a run as a bar."""
    canvas = Canvas(560, 150, palette, "The certificate: what is impossible, and what was reached")
    left, right, y, height = 10.0, 550.0, 54.0, 34.0
    lower, bound = 270.0, 320.0
    canvas.box(left, y, lower - left, height, palette.soft, fill_opacity=0.28)
    canvas.box(lower, y, bound - lower, height, palette.accent)
    canvas.frame(left, y, right - left, height)
    for x in (lower, bound):
        canvas.line(x, y - 8, x, y + height + 8, palette.ink)
    canvas.text((left + lower) / 2, y + 23, "no product of this chain", 18)
    canvas.text(lower - 6, y - 16, "lower bound 0.00964", 18, anchor="end")
    canvas.text(bound + 6, y - 16, "error bound 0.00997", 18, anchor="start")
    canvas.text((lower + bound) / 2, y + height + 30, "the error lies here", 18, palette.accent)
    canvas.text(left, y + height + 30, "0", 18, palette.soft, "start")
    canvas.text(right, y + height + 30, "1: the zero matrix", 18, palette.soft, "end")
    return canvas.svg()


def hidden(palette: Palette) -> str:
    """Draw a wave kernel with its points shuffled, and in order."""
    z, side, top = np.asarray(dbf.matrices.helmholtz(32)), 208, 34
    rng = np.random.default_rng(0)
    mixed = z[rng.permutation(32)][:, rng.permutation(32)]
    canvas = Canvas(2 * side + 108, side + 44, palette, "A matrix whose order was lost, and the same in order")
    for number, (words, matrix) in enumerate((("as it came", mixed), ("in the order that was found", z))):
        x = 4.0 + number * (side + 96)
        canvas.text(x + side / 2, 22, words, 16)
        canvas.cells(x, top, side, shades(matrix))
        canvas.frame(x, top, side, side)
    canvas.arrow(side + 22, top + side / 2, side + 84)
    return canvas.svg()


DRAWN: dict[str, Callable[[Palette], str]] = {
    "butterfly": butterfly,
    "supports": supports,
    "cut": cut,
    "tree": tree,
    "ordering": ordering,
    "tiles": tiles,
    "certificate": certificate,
    "hidden": hidden,
}

WORDS = {
    "butterfly": "A full matrix of 16 x 16 numbers, and four sparse factors of 32 numbers each that multiply to it.",
    "supports": "Supports of the three factors of size 8. From left to right, there are one, two and four diagonal "
    "blocks, in which the entries of a row are four, two and one columns apart.",
    "cut": "An 8 x 8 matrix cut into eight blocks of every second row and two neighbouring columns. One block is taken "
    "out, and is a column times a row.",
    "tree": "A balanced binary tree over eight factors. Its root cuts them into halves, these into quarters, and these "
    "into single factors.",
    "ordering": "A 16 x 16 Fourier matrix. Every fourth row and the first four columns meet in a block of full rank; "
    "every fourth row and every fourth column meet in a block of rank one.",
    "tiles": "A matrix in 64 chunks. One tile reads four of them, approximates the blocks in them, and keeps two thin "
    "parts, A and B.",
    "certificate": "A bar from 0 to 1. No product of the chain has an error below 0.00964, and the error of the result "
    "is at most 0.00997, so that it lies in the narrow stretch between the two.",
    "hidden": "A wave kernel with its rows and columns shuffled, which looks like noise, and in order, with stripes.",
}
"""What the drawings show, for those who do not see them."""


if __name__ == "__main__":
    write(FRONT, DRAWN[FRONT], STATIC)
