"""esm.cpp in fp32 with its own scheduler for sequences of many lengths.

Usage: esm_cpp_peer.py CHECKPOINT_FOLDER SEQUENCES.txt N_THREADS. Prints {"seconds": s, "residues": n}. It answers logits; a checkpoint
without a language head gets one of zeros, which costs as much.
"""
import json
import os
import pathlib
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = sys.argv[3]
import esm_cpp
import torch
from safetensors.torch import load_file, save_file

MAX_BATCH_TOKENS = 4096

folder, sequences_file = sys.argv[1:3]
weights = pathlib.Path(folder, "pytorch_model.bin")
if weights.exists():
    state = torch.load(weights, map_location="cpu", weights_only=True)
else:
    state = load_file(pathlib.Path(folder, "model.safetensors"))
prefix = "" if any(key.startswith("esm.") for key in state) else "esm."
state = {prefix + key: value.float() for key, value in state.items() if (prefix + key).startswith("esm.")}
# Some versions of transformers save norms under the names that they had before.
state = {key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value for key, value in state.items()}
dim = state["esm.encoder.emb_layer_norm_after.weight"].shape[0]
# Newer checkpoints leave out what follows from the sizes.
config = json.loads(pathlib.Path(folder, "config.json").read_text())
half = dim // config["num_attention_heads"] // 2
frequencies = 10000.0 ** (-torch.arange(half) / half)
for layer in range(config["num_hidden_layers"]):
    state.setdefault(f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq", frequencies)
embeddings = state["esm.embeddings.word_embeddings.weight"]
state |= {
    "lm_head.dense.weight": torch.zeros(dim, dim),
    "lm_head.dense.bias": torch.zeros(dim),
    "lm_head.layer_norm.weight": torch.ones(dim),
    "lm_head.layer_norm.bias": torch.zeros(dim),
    "lm_head.bias": torch.zeros(embeddings.shape[0]),
    "lm_head.decoder.weight": embeddings,
}
with tempfile.TemporaryDirectory() as place:
    file = pathlib.Path(place, "model.safetensors")
    save_file({key: value.contiguous().clone() for key, value in state.items()}, file)
    model = esm_cpp.Model.load_from_safetensors(str(file))
    tokenizer = esm_cpp.Tokenizer()
    sequences = sorted(open(sequences_file).read().split(), key=len)


    def embed_all():
        batch, n_tokens = [], 0
        for sequence in sequences:
            if batch and n_tokens + len(sequence) + 2 > MAX_BATCH_TOKENS:
                model.forward_scheduled(batch)
                batch, n_tokens = [], 0
            batch.append(tokenizer.encode(sequence))
            n_tokens += len(sequence) + 2
        model.forward_scheduled(batch)


    model.forward_scheduled([tokenizer.encode(sequences[0])])
    start = time.perf_counter()
    embed_all()
    print(json.dumps({"seconds": time.perf_counter() - start, "residues": sum(map(len, sequences))}))
