"""ONNX Runtime called from Python, one sequence at a time, on the graph that Protext converted.

Usage: onnxruntime_peer.py MODEL.onnx SEQUENCES.txt N_THREADS. Prints {"seconds": s, "residues": n}.
"""
import json
import sys
import time

import numpy as np
import onnxruntime

VOCABULARY = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
TOKEN = {symbol: index for index, symbol in enumerate(VOCABULARY)}

model, sequences_file, n_threads = sys.argv[1:4]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(n_threads)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
sequences = open(sequences_file).read().split()


def embed(sequence):
    tokens = np.array([[0] + [TOKEN[residue] for residue in sequence] + [2]], dtype=np.int64)
    weights = np.ones(tokens.shape, dtype=np.float32)
    weights[0, 0] = weights[0, -1] = 0.0
    lengths = np.array([tokens.shape[1]], dtype=np.int64)
    feeds = {"token_ids": tokens, "lengths": lengths, "weights": weights}
    return session.run(["mean"], feeds)[0]


embed(sequences[0])
start = time.perf_counter()
for sequence in sequences:
    embed(sequence)
print(json.dumps({"seconds": time.perf_counter() - start, "residues": sum(map(len, sequences))}))
