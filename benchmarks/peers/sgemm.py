"""How fast a BLAS multiplies float32 matrices on these cores: the best over many shapes.

The shapes are the exercise's own three products of each layer and squares. A turn goes once
through all of them, several times each, and reports the best rate of each, in GFLOP/s.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import turns

SQUARES = (512, 1024, 1536, 2048, 3072, 4096)
LEAST_SECONDS = 0.15
LEAST_CALLS = 3
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # of cblas.h

Matrix = npt.NDArray[np.float32]
Multiply = Callable[[Matrix, Matrix, Matrix], None]


def mkl(threads: int) -> Multiply:
    """Give MKL's sgemm, c = a b; a or b may be a transposed view."""
    [path] = Path(sys.prefix, "lib").glob("libmkl_rt.so.*")
    library = ctypes.CDLL(str(path))
    library.MKL_Set_Num_Threads(ctypes.c_int(threads))
    sgemm = library.cblas_sgemm
    sgemm.restype = None
    whole, pointer, number = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
    sgemm.argtypes = [
        *([whole] * 6),
        number,
        *(pointer, whole) * 2,
        number,
        *(pointer, whole),
    ]

    def multiply(a: Matrix, b: Matrix, c: Matrix) -> None:
        (flag_a, step_a), (flag_b, step_b) = layout(a), layout(b)
        sgemm(
            ROW_MAJOR, flag_a, flag_b, *c.shape, a.shape[1],
            1.0, a.ctypes.data, step_a, b.ctypes.data, step_b,
            0.0, c.ctypes.data, c.shape[1],
        )  # fmt: skip

    return multiply


def layout(matrix: Matrix) -> tuple[int, int]:
    """Say whether a matrix is transposed, and how far its stored rows lie apart."""
    if matrix.flags.c_contiguous:
        return PLAIN, matrix.shape[1]
    return TRANSPOSED, matrix.shape[0]


def openblas(threads: int) -> Multiply:
    """Give NumPy's, which takes all cores by itself."""
    del threads

    def multiply(a: Matrix, b: Matrix, c: Matrix) -> None:
        np.matmul(a, b, out=c)

    return multiply


def problems(sizes: list[int], batch: int) -> dict[str, tuple[Matrix, Matrix, Matrix]]:
    """Give a, b and room for the product, by name."""
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> Matrix:
        return rng.uniform(-1, 1, (rows, columns)).astype(np.float32)

    found = {}
    for inputs, units in itertools.pairwise(sizes):
        x, kernel, error = matrix(batch, inputs), matrix(inputs, units), matrix(batch, units)
        products = {"forward": (x, kernel), "weights": (x.T, error), "inputs": (error, kernel.T)}
        for use, (a, b) in products.items():
            name = f"{use}: {a.shape[0]} x {a.shape[1]} x {b.shape[1]}"
            found[name] = (a, b, matrix(a.shape[0], b.shape[1]))
    for side in SQUARES:
        a, b, c = (matrix(side, side) for _ in range(3))
        found[f"square: {side}"] = (a, b, c)
    return found


def check(multiply: Multiply, found: dict[str, tuple[Matrix, Matrix, Matrix]]) -> None:
    """Hold some numbers of each product against float64."""
    for name, (a, b, c) in found.items():
        multiply(a, b, c)
        wanted = a[:3].astype(np.float64) @ b.astype(np.float64)
        if np.abs(c[:3] - wanted).max() > 1e-3:
            raise SystemExit(f"wrong product for {name}")


def rate(multiply: Multiply, a: Matrix, b: Matrix, c: Matrix) -> float:
    """Give the best rate of several calls, GFLOP/s."""
    shortest, total, calls = float("inf"), 0.0, 0
    while total < LEAST_SECONDS or calls < LEAST_CALLS:
        began = time.perf_counter()
        multiply(a, b, c)
        took = time.perf_counter() - began
        shortest, total, calls = min(shortest, took), total + took, calls + 1
    return 2 * a.shape[0] * a.shape[1] * b.shape[1] / shortest / 1e9


def main() -> None:
    given = turns.arguments(__doc__)
    talk = turns.Turns()
    multiply = {"mkl": mkl, "openblas": openblas}[given.library](given.threads)
    features = turns.load(given.data).train.shape[1]
    found = problems([features, *given.units], given.batch_size)
    check(multiply, found)
    for operands in found.values():
        rate(multiply, *operands)
    package = {"mkl": "mkl", "openblas": "numpy"}[given.library]
    talk.ready(versions={package: version(package)}, threads=given.threads)
    while True:
        talk.wait()
        rates = {name: rate(multiply, *operands) for name, operands in found.items()}
        talk.done(gflops=max(rates.values()), gflops_by_shape=rates)


if __name__ == "__main__":
    main()
