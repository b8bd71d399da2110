"""OpenVINO called from Python in its fastest precision on this processor, on the graph that Protext converted.

Usage: openvino_peer.py MODEL.onnx SEQUENCES.txt N_THREADS. Prints {"seconds": s, "residues": n}: the faster of its two ways,
one sequence at a time on all threads (latency) and several at once through its queue (throughput), longest first.
"""
import json
import sys
import time

import numpy as np
import openvino

VOCABULARY = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
TOKEN = {symbol: index for index, symbol in enumerate(VOCABULARY)}

model_file, sequences_file, n_threads = sys.argv[1:4]
core = openvino.Core()
model = core.read_model(model_file)
sequences = sorted(open(sequences_file).read().split(), key=len, reverse=True)
# Only what is compared is computed.
others = [output for output in model.outputs if "mean" not in output.get_names()]
for output in others:
    model.remove_result(output.get_node())
precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def feeds(sequence):
    tokens = np.array([[0] + [TOKEN[residue] for residue in sequence] + [2]], dtype=np.int64)
    weights = np.ones(tokens.shape, dtype=np.float32)
    weights[0, 0] = weights[0, -1] = 0.0
    return {"token_ids": tokens, "lengths": np.array([tokens.shape[1]], dtype=np.int64), "weights": weights}


def seconds(hint):
    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": int(n_threads), "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(model, "CPU", settings)
    rows = [None] * len(sequences)
    if hint == "LATENCY":
        request = compiled.create_infer_request()

        def embed_all():
            for index, sequence in enumerate(sequences):
                rows[index] = request.infer(feeds(sequence))[0]
    else:
        queue = openvino.AsyncInferQueue(compiled)

        def keep(request, index):
            rows[index] = request.get_output_tensor(0).data.copy()

        queue.set_callback(keep)

        def embed_all():
            for index, sequence in enumerate(sequences):
                queue.start_async(feeds(sequence), index)
            queue.wait_all()

    embed_all()
    start = time.perf_counter()
    embed_all()
    return time.perf_counter() - start


taken = {hint: seconds(hint) for hint in ("LATENCY", "THROUGHPUT")}
best = min(taken, key=taken.get)
print(json.dumps({"seconds": taken[best], "residues": sum(map(len, sequences)), "way": f"{precision}, {best.lower()}"}))
