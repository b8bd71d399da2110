#!/usr/bin/env python3
"""Opens Protext's vector files of the folder given with the usual Python libraries, and writes such files.

Called by `services/engine/tests/formats_output.rs`, which wrote the files and reads those in FOLDER/python.
The JSON lines file is the reference: plain text, read without any of these libraries. Every other file must
hold the same ids and, bit for bit, the same float32 values.
"""

import json
import pathlib
import shutil
import sys
import zipfile

import anndata
import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

METADATA = {
    "encoder": "esm2_t6_8M",
    "space": "esm2_t6_8M/pooled é",
    "fingerprint": "ab" * 32,
    "pooling": "mean",
    "protext_version": "0.1.0",
}


def reference(path):
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    key = "vector" if "vector" in lines[0] else "residues"
    return {line["id"]: np.array(line[key], dtype=np.float32) for line in lines}


def same(what, found, wanted):
    assert list(found) == list(wanted) or sorted(found) == sorted(wanted), f"{what}: other ids"
    for key, values in wanted.items():
        got = np.asarray(found[key])
        assert got.dtype == np.float32 and got.shape == values.shape, f"{what}: {key}: {got.dtype} {got.shape}"
        assert np.array_equal(got, values), f"{what}: {key}: other values"
    print(f"ok   {what}: {len(wanted)} ids")


def check_pooled(folder):
    wanted = reference(folder / "pooled.jsonl")
    ids = list(wanted)

    with h5py.File(folder / "pooled.h5") as file:
        assert sorted(file.keys()) == sorted(ids)
        assert ids[3] in file and "absent" not in file
        assert dict(file.attrs) == METADATA, dict(file.attrs)
        same("h5py", {key: file[key][:] for key in file}, wanted)

    table = pq.read_table(folder / "pooled.parquet")
    assert table.schema.field("vector").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 24)
    kept = pq.read_metadata(folder / "pooled.parquet").metadata
    kept = {key.decode(): value.decode() for key, value in kept.items()}
    assert {key: kept[f"protext.{key}"] for key in METADATA} == METADATA
    matrix = np.stack(table["vector"].combine_chunks().to_numpy(zero_copy_only=False))
    same("pyarrow", dict(zip(table["id"].to_pylist(), matrix)), wanted)

    frame = pl.read_parquet(folder / "pooled.parquet")
    assert frame.schema["vector"] == pl.Array(pl.Float32, 24), frame.schema
    same("polars", dict(zip(frame["id"].to_list(), frame["vector"].to_numpy())), wanted)

    with np.load(folder / "pooled.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["ids", "vectors"]
        assert file["vectors"].shape == (len(ids), 24)
        same("numpy", dict(zip(file["ids"].tolist(), file["vectors"])), wanted)
    data = anndata.read_h5ad(folder / "pooled.h5ad")
    assert data.shape == (len(ids), 24) and list(data.var_names) == [str(column) for column in range(24)]
    assert {key.removeprefix("protext_"): data.uns[key] for key in data.uns if key != "protext_version"} == {
        key: value for key, value in METADATA.items() if key != "protext_version"
    }, data.uns
    same("anndata", dict(zip(data.obs_names, data.X)), wanted)
    assert anndata.read_h5ad(folder / "none.h5ad").shape == (0, 24)
    with zipfile.ZipFile(folder / "pooled.npz") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.comment) == METADATA


def check_residues(folder):
    wanted = reference(folder / "residues.jsonl")
    with h5py.File(folder / "residues.h5") as file:
        same("h5py, per residue", {key: file[key][:] for key in file}, wanted)
    with np.load(folder / "residues.npz", allow_pickle=False) as file:
        same("numpy, per residue", {key: file[key] for key in file.files}, wanted)
    frame = pl.read_parquet(folder / "residues.parquet")
    assert frame.columns == ["id", "position", "vector"]
    found = {}
    for (key,), part in frame.group_by("id", maintain_order=True):
        assert part["position"].to_list() == list(range(1, len(part) + 1))
        found[key] = part["vector"].to_numpy()
    same("polars, per residue", found, wanted)
    assert pq.read_table(folder / "residues.parquet").num_rows == len(frame)


def check_empty(folder):
    with h5py.File(folder / "none.h5") as file:
        assert list(file) == [] and "absent" not in file
    assert pq.read_table(folder / "none.parquet").num_rows == 0
    with np.load(folder / "none.npz", allow_pickle=False) as file:
        assert file["ids"].shape == (0,) and file["vectors"].shape == (0, 24)
    print("ok   files without rows")


def check_edited(folder):
    """The C library trusts the tree enough to insert into it and delete from it."""
    path = folder / "edited.h5"
    shutil.copy(folder / "pooled.h5", path)
    with h5py.File(path, "a") as file:
        ids = list(file)
        for number in range(1000):
            file.create_dataset(f"new{number}", data=np.ones(4, np.float32))
        for key in ids[::3]:
            del file[key]
        file.attrs["note"] = "edited"
    with h5py.File(path) as file:
        gone = set(ids[::3])
        assert len(file) == len(ids) - len(gone) + 1000
        assert all((key in file) != (key in gone) for key in ids)
        assert file.attrs["note"] == "edited" and file.attrs["encoder"] == METADATA["encoder"]
    print("ok   h5py adds to a file and deletes from it")


def write_foreign(folder):
    """Files as other programs write them; Protext must read each."""
    folder.mkdir()
    ids = [f"p{number}" for number in range(300)]
    matrix = np.arange(300, dtype=np.float32)[:, None] + np.arange(6, dtype=np.float32) / 4
    np.savez(folder / "plain.npz", ids=np.array(ids), vectors=matrix)
    np.savez_compressed(folder / "packed.npz", ids=np.array(ids, dtype="S"), embeddings=matrix.astype(np.float64))
    np.savez(folder / "big_endian.npz", ids=np.array(ids, dtype=">U5"), vectors=matrix.astype(">f4"))
    for name, options, dtype in [("classic", {}, "f4"), ("latest", {"libver": "latest"}, "f4"), ("double", {}, "f8")]:
        with h5py.File(folder / f"{name}.h5", "w", **options) as file:
            for key, vector in zip(ids, matrix):
                file.create_dataset(key, data=vector.astype(dtype))
    for name, options in [("half", {}), ("packed", {"compression": "gzip", "shuffle": True})]:
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for key, vector in zip(ids, matrix):
                file.create_dataset(key, data=vector.astype("f2"), **options)
    lists = pa.array(matrix.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "vector": lists}), folder / "lists.parquet")
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), 6)
    pq.write_table(pa.table({"embedding": fixed, "accession": ids}), folder / "fixed.parquet")
    pl.DataFrame({"id": ids, "vector": matrix.astype(np.float64)}).write_parquet(folder / "polars.parquet")
    lines = [json.dumps({"id": key, "embedding": vector.tolist()}) for key, vector in zip(ids, matrix)]
    (folder / "lines.jsonl").write_text("\n".join(lines), encoding="utf-8")


def main():
    folder = pathlib.Path(sys.argv[1])
    check_pooled(folder)
    check_residues(folder)
    check_empty(folder)
    check_edited(folder)
    write_foreign(folder / "python")


if __name__ == "__main__":
    main()
