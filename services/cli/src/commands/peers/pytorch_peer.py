"""Hugging Face transformers on PyTorch fp32, sequences sorted by length, batches of up to 4,096 padded tokens.

Usage: pytorch_peer.py CHECKPOINT_FOLDER SEQUENCES.txt N_THREADS. Prints {"seconds": s, "residues": n}.
"""
import json
import pathlib
import sys
import time

import torch
from transformers import EsmConfig, EsmModel

VOCABULARY = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
TOKEN = {symbol: index for index, symbol in enumerate(VOCABULARY)}
MAX_BATCH_TOKENS = 4096

folder, sequences_file, n_threads = sys.argv[1:4]
torch.set_num_threads(int(n_threads))
model = EsmModel(EsmConfig.from_pretrained(folder), add_pooling_layer=False).eval()
weights = pathlib.Path(folder, "pytorch_model.bin")
if weights.exists():
    state = torch.load(weights, map_location="cpu", weights_only=True)
else:
    from safetensors.torch import load_file

    state = load_file(pathlib.Path(folder, "model.safetensors"))
model.load_state_dict({key.removeprefix("esm."): value for key, value in state.items()}, strict=False)
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
    for row, sequence in enumerate(batch):
        tokens[row, : len(sequence) + 2] = torch.tensor([0] + [TOKEN[residue] for residue in sequence] + [2])
    attention = (tokens != 1).long()
    residues = attention.clone()
    for row, sequence in enumerate(batch):
        residues[row, 0] = residues[row, len(sequence) + 1] = 0
    hidden = model(tokens, attention_mask=attention).last_hidden_state
    shares = residues.unsqueeze(-1).float()
    return ((hidden * shares).sum(1) / shares.sum(1)).numpy()


with torch.inference_mode():
    embed(sequences[:1])
    start = time.perf_counter()
    for batch in batches():
        embed(batch)
    print(json.dumps({"seconds": time.perf_counter() - start, "residues": sum(map(len, sequences))}))
