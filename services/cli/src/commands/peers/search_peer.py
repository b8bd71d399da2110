"""A library of nearest neighbours behind the requests of `protext bench search`: LIBRARY FOLDER N DIM THREADS.

M 16, ef_construction 200, inner product of unit vectors, as ours. Exits with 3 if the library is not installed.
"""

import importlib.metadata
import json
import pathlib
import sys
import time

try:
    import numpy as np

    library = __import__(sys.argv[1])
    if sys.argv[1] == "usearch":
        import usearch.index
except ImportError:
    sys.exit(3)

K, N_EXACT = 10, 100
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
n, dim, threads = (int(value) for value in sys.argv[3:])
base = np.memmap(folder / "base.f32", dtype="<f4", mode="r").reshape(-1, dim)[:n]
queries = np.fromfile(folder / "queries.f32", dtype="<f4").reshape(-1, dim)
truth = np.fromfile(folder / "truth.u32", dtype="<u4").reshape(-1, K)


def resident_bytes():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Hnswlib:
    variants = ["f32"]

    def build(self):
        self.index = library.Index("ip", dim)
        self.index.init_index(n, M=16, ef_construction=200)
        self.index.add_items(base, num_threads=threads)

    def search(self, variant, queries, ef, threads):
        self.index.set_ef(max(ef, K))
        return self.index.knn_query(queries, k=K, num_threads=threads)[0]


class Usearch:
    variants = ["f32"]

    def build(self):
        self.index = library.index.Index(
            ndim=dim, metric="ip", dtype="f32", connectivity=16, expansion_add=200
        )
        self.index.add(np.arange(n), base, threads=threads)

    def search(self, variant, queries, ef, threads):
        self.index.expansion_search = max(ef, K)
        keys = self.index.search(queries, K, threads=threads).keys
        return keys.reshape(len(queries), K)


class Faiss:
    variants = ["f32", "exact"]

    def build(self):
        library.omp_set_num_threads(threads)
        self.index = library.IndexHNSWFlat(dim, 16, library.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 200
        self.index.add(np.ascontiguousarray(base))

    def search(self, variant, queries, ef, threads):
        library.omp_set_num_threads(threads)
        if variant == "exact":
            if not hasattr(self, "flat"):
                self.flat = library.IndexFlatIP(dim)
                self.flat.add(np.ascontiguousarray(base))
            return self.flat.search(queries, K)[1]
        self.index.hnsw.efSearch = max(ef, K)
        return self.index.search(queries, K)[1]


system = {"hnswlib": Hnswlib, "usearch": Usearch, "faiss": Faiss}[name]()
resident, started, started_work = resident_bytes(), time.perf_counter(), time.process_time()
system.build()


def answer(request):
    variant, ef, threads = request["variant"], request["ef"], request["threads"]
    mine = queries[:N_EXACT] if variant == "exact" else queries
    if request["what"] == "single":
        times = []
        for query in mine:
            started = time.perf_counter()
            system.search(variant, query[None], ef, 1)
            times.append((time.perf_counter() - started) * 1e6)
        return {"p50_us": float(np.quantile(times, 0.5)), "p99_us": float(np.quantile(times, 0.99))}
    if variant == "exact":
        system.search(variant, mine[:1], ef, threads)  # builds it
    if request["what"] == "batch":
        started = time.perf_counter()
        system.search(variant, mine, ef, threads)
        return {"queries_per_s": len(mine) / (time.perf_counter() - started)}
    started = time.process_time()
    found = system.search(variant, mine, ef, 1)
    rate = len(mine) / (time.process_time() - started)
    right = sum(len(set(a) & set(b)) for a, b in zip(truth.tolist(), np.asarray(found).tolist()))
    return {"recall": right / (K * len(mine)), "queries_per_s": rate}


built = {
    "version": f"{name} {importlib.metadata.version('faiss-cpu' if name == 'faiss' else name)}",
    "variants": system.variants,
    "build_s": time.perf_counter() - started,
    "build_processor_s": time.process_time() - started_work,
    "bytes": max(resident_bytes() - resident, 0),
}
print(json.dumps(built), flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
