"""Hugging Face transformers on PyTorch on a GPU in bfloat16 with its fused attention (SDPA), sequences sorted by length, batches of up
to 32,768 padded tokens.

Usage: pytorch_cuda_peer.py CHECKPOINT_FOLDER SEQUENCES.txt N_THREADS. Prints {"seconds": s, "residues": n, "way": w, "peak_flops": f}: the
last is what products of large square matrices reach.
"""
import json
import pathlib
import sys
import time

import torch
from transformers import EsmConfig, EsmModel

VOCABULARY = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
TOKEN = {symbol: index for index, symbol in enumerate(VOCABULARY)}
MAX_BATCH_TOKENS = 32768
SIDE = 8192
DEVICE = "cuda"

folder, sequences_file = sys.argv[1:3]
config = EsmConfig.from_pretrained(folder)
config._attn_implementation = "sdpa"
model = EsmModel(config, add_pooling_layer=False).eval()
assert model.config._attn_implementation == "sdpa", "this version of transformers has no SDPA for ESM-2"
weights = pathlib.Path(folder, "pytorch_model.bin")
if weights.exists():
    state = torch.load(weights, map_location="cpu", weights_only=True)
else:
    from safetensors.torch import load_file

    state = load_file(pathlib.Path(folder, "model.safetensors"))
model.load_state_dict({key.removeprefix("esm."): value for key, value in state.items()}, strict=False)
model = model.to(DEVICE, torch.bfloat16)
sequences = sorted(open(sequences_file).read().split(), key=len)


def batches():
    batch = []
    for sequence in sequences:
        if batch and (len(sequence) + 2) * (len(batch) + 1) > MAX_BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def embed(batch):
    width = max(map(len, batch)) + 2
    tokens = torch.full((len(batch), width), 1)
    lengths = torch.tensor([len(sequence) for sequence in batch])
    for row, sequence in enumerate(batch):
        tokens[row, : len(sequence) + 2] = torch.tensor([0] + [TOKEN[residue] for residue in sequence] + [2])
    tokens, lengths = tokens.to(DEVICE, non_blocking=True), lengths.to(DEVICE, non_blocking=True)
    hidden = model(tokens, attention_mask=(tokens != 1).long()).last_hidden_state
    positions = torch.arange(width, device=DEVICE)
    is_residue = (positions >= 1) & (positions <= lengths[:, None])
    return (hidden.float() * is_residue[..., None]).sum(1) / lengths[:, None]


def embed_all():
    rows = [embed(batch) for batch in batches()]
    return torch.cat(rows).cpu()


def peak_flops():
    a, b = (torch.randn(SIDE, SIDE, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * SIDE**3 / (time.perf_counter() - start)


with torch.inference_mode():
    # Once to find its kernels, then to measure.
    embed_all()
    start = time.perf_counter()
    embed_all()
    seconds = time.perf_counter() - start
    said = {"seconds": seconds, "residues": sum(map(len, sequences)), "way": "bf16, SDPA", "peak_flops": peak_flops()}
    print(json.dumps(said))
