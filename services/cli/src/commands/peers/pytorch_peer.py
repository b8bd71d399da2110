"""Hugging Face transformers on PyTorch, sequences sorted by length: in fp32 on the CPU, batches of up to 4,096 padded tokens, or in
bfloat16 with fused attention (SDPA) on a GPU, batches of up to 32,768.

Usage: pytorch_peer.py CHECKPOINT_FOLDER SEQUENCES.txt N_THREADS cpu|cuda. Prints {"seconds": s, "residues": n}, of a GPU also "way" and
"peak_flops", which products of large square matrices reach.
"""
import json
import pathlib
import sys
import time

import torch
from transformers import EsmConfig, EsmModel

VOCABULARY = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
TOKEN = {symbol: index for index, symbol in enumerate(VOCABULARY)}
SIDE = 8192

folder, sequences_file, n_threads, device = sys.argv[1:5]
is_on_gpu = device == "cuda"
max_batch_tokens = 32768 if is_on_gpu else 4096
torch.set_num_threads(int(n_threads))
config = EsmConfig.from_pretrained(folder)
if is_on_gpu:
    config._attn_implementation = "sdpa"
model = EsmModel(config, add_pooling_layer=False).eval()
assert not is_on_gpu or model.config._attn_implementation == "sdpa", "this version of transformers has no SDPA for ESM-2"
weights = pathlib.Path(folder, "pytorch_model.bin")
if weights.exists():
    state = torch.load(weights, map_location="cpu", weights_only=True)
else:
    from safetensors.torch import load_file

    state = load_file(pathlib.Path(folder, "model.safetensors"))
model.load_state_dict({key.removeprefix("esm."): value for key, value in state.items()}, strict=False)
if is_on_gpu:
    model = model.to(device, torch.bfloat16)
sequences = sorted(open(sequences_file).read().split(), key=len)


def batches():
    batch = []
    for sequence in sequences:
        if batch and (len(sequence) + 2) * (len(batch) + 1) > max_batch_tokens:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def embed(batch):
    width = max(map(len, batch)) + 2
    tokens = torch.full((len(batch), width), 1)
    for row, sequence in enumerate(batch):
        tokens[row, : len(sequence) + 2] = torch.tensor([0] + [TOKEN[residue] for residue in sequence] + [2])
    attention = (tokens != 1).long()
    residues = attention.clone()
    for row, sequence in enumerate(batch):
        residues[row, 0] = residues[row, len(sequence) + 1] = 0
    tokens, attention, residues = (one.to(device, non_blocking=True) for one in (tokens, attention, residues))
    hidden = model(tokens, attention_mask=attention).last_hidden_state
    shares = residues.unsqueeze(-1).float()
    return (hidden * shares).sum(1) / shares.sum(1)


def embed_all():
    rows = [embed(batch) for batch in batches()]
    return torch.cat(rows).cpu()


def peak_flops():
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * SIDE**3 / (time.perf_counter() - start)


with torch.inference_mode():
    # A GPU finds its kernels by the shapes of all batches.
    embed_all() if is_on_gpu else embed(sequences[:1])
    start = time.perf_counter()
    embed_all()
    said = {"seconds": time.perf_counter() - start, "residues": sum(map(len, sequences))}
    if is_on_gpu:
        said |= {"way": "bf16, SDPA", "peak_flops": peak_flops()}
    print(json.dumps(said))
