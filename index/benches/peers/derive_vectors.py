"""Vectors derived from real proteins, as many as asked for.

Encoder rows of real proteins (an .npz of `protext embed`) are centred, reduced to 128 dimensions by PCA and
normalized. A vector is then a convex mix of a protein and two of its 16 nearest neighbours, with weights drawn
evenly from the simplex, plus Gaussian noise of norm 0.3, normalized. Base and queries are drawn alike; the seed
is fixed. Writes base.npy and queries.npy.
"""

import argparse
import pathlib

import numpy as np

DIM, N_NEIGHBOURS, NOISE = 128, 16, 0.3

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("rows", type=pathlib.Path)
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--n", type=int, default=200_000)
parser.add_argument("--n-queries", type=int, default=2_000)
args = parser.parse_args()

arrays = np.load(args.rows, allow_pickle=False)
rows = next(arrays[name] for name in arrays.files if arrays[name].dtype.kind == "f" and arrays[name].ndim == 2)
rows = rows.astype(np.float64)
rows -= rows.mean(axis=0)
components = np.linalg.svd(rows, full_matrices=False)[2][:DIM]
rows = rows @ components.T
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
cosines = rows @ rows.T
np.fill_diagonal(cosines, -2.0)
neighbours = np.argsort(-cosines, axis=1)[:, :N_NEIGHBOURS]
rng = np.random.default_rng(1)


def derive(n):
    protein = rng.integers(0, len(rows), n)
    first, second = (neighbours[protein, rng.integers(0, N_NEIGHBOURS, n)] for _ in range(2))
    weights = rng.dirichlet([1.0, 1.0, 1.0], n)
    mixed = sum(weights[:, i : i + 1] * rows[of] for i, of in enumerate([protein, first, second]))
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    mixed += NOISE * rng.standard_normal(mixed.shape) / np.sqrt(DIM)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


args.folder.mkdir(parents=True, exist_ok=True)
np.save(args.folder / "base.npy", derive(args.n))
np.save(args.folder / "queries.npy", derive(args.n_queries))
