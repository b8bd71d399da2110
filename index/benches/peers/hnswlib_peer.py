"""hnswlib on the vectors of a folder, measured as `benches/graph_search.rs` measures ours."""

import os
import pathlib
import sys
import time

import hnswlib
import numpy as np

K, N_ROUNDS = 10, 3
folder = pathlib.Path(sys.argv[1])
base, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
truth = []
for start in range(0, len(queries), 200):
    cosines = queries[start : start + 200] @ base.T
    truth.extend(set(row) for row in np.argpartition(-cosines, K, axis=1)[:, :K])

index = hnswlib.Index("ip", base.shape[1])
index.init_index(len(base), M=16, ef_construction=200)
started, started_work = time.perf_counter(), time.process_time()
index.add_items(base, num_threads=os.cpu_count())
wall, work = time.perf_counter() - started, time.process_time() - started_work
print(f"hnswlib: {len(base)} x {base.shape[1]}: built in {wall:.1f} s, {work:.1f} s of processor time")
for ef in [12, 16, 20, 24, 32, 48, 64, 96, 128, 192]:
    index.set_ef(ef)
    best = float("inf")
    for _ in range(N_ROUNDS):
        started = time.process_time()
        labels, _ = index.knn_query(queries, k=K, num_threads=1)
        best = min(best, time.process_time() - started)
    recall = sum(len(right & set(found)) for right, found in zip(truth, labels)) / (K * len(queries))
    print(f"hnswlib ef {ef}: recall {recall:.4f}, {len(queries) / best:.0f} queries/s")
