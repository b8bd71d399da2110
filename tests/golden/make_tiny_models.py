"""Makes the tiny random checkpoints in models/registry/tests/fixtures and their golden values.

    pip install torch transformers safetensors numpy
    python tests/golden/make_tiny_models.py

Each family has one set of weights, saved in every layout that the converter reads, and one golden file for each
config beside it, computed by Hugging Face transformers in float32. Weights are multiples of 1/64 below 2, which
float16 and bfloat16 hold exactly, so every layout must convert to the same bytes. Seeds are fixed.

A golden file holds `config` (file name), `statistics_layers`, the inputs `token_ids`, `lengths`, `weights` of one
padded batch, and the outputs `mean`, `layer_means`, `layer_variances`, `hidden` (rows past a length are zero).
"""

import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, EsmConfig, EsmModel

FIXTURES = pathlib.Path(__file__).parents[2] / "models" / "registry" / "tests" / "fixtures"
STATISTICS_LAYERS = [3, 1]
ESM_MASK, ESM_PAD = 32, 1


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that attention, normalization and activation all show in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        center = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
        noise = torch.randn(parameter.shape, generator=generator) * 0.3
        quantized = ((center + noise) * 64).round().clamp(-127, 127) / 64
        parameter.data.copy_(quantized)


def golden(model, config_name: str, batch: list[list[int]], pad: int, seed: int, skip_ends: bool) -> dict:
    lengths = np.array([len(row) for row in batch])
    n_tokens = lengths.max()
    token_ids = np.full((len(batch), n_tokens), pad)
    weights = np.zeros((len(batch), n_tokens), np.float32)
    rng = np.random.default_rng(seed)
    for index, row in enumerate(batch):
        token_ids[index, : len(row)] = row
        ends = 1 if skip_ends else 0
        shares = rng.integers(1, 9, len(row) - 2 * ends) / 4
        weights[index, ends : len(row) - ends] = shares
    mask = np.arange(n_tokens)[None, :] < lengths[:, None]
    with torch.no_grad():
        states = model(
            torch.tensor(token_ids), attention_mask=torch.tensor(mask.astype(np.int64)), output_hidden_states=True
        ).hidden_states
    states = [state.numpy().astype(np.float64) for state in states]
    share = weights[..., None].astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * share).sum(1) / share.sum(1)

    means = [mean(states[layer]) for layer in STATISTICS_LAYERS]
    variances = [mean((states[layer] - mean(states[layer])[:, None]) ** 2) for layer in STATISTICS_LAYERS]
    listed = lambda values: np.round(values, 6).tolist()  # noqa: E731
    return {
        "config": config_name,
        "statistics_layers": STATISTICS_LAYERS,
        "token_ids": token_ids.tolist(),
        "lengths": lengths.tolist(),
        "weights": weights.tolist(),
        "mean": listed(mean(states[-1])),
        "layer_means": listed(np.concatenate(means, 1)),
        "layer_variances": listed(np.concatenate(variances, 1)),
        "hidden": listed(states[-1] * mask[..., None]),
    }


def write_json(path: pathlib.Path, value: dict) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def save_shards(folder: pathlib.Path, stem: str, ending: str, tensors: dict, save) -> None:
    """Two shards and their index."""
    names = sorted(tensors)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    weight_map = {}
    for number, half in enumerate(halves, 1):
        file = f"{stem}-{number:05d}-of-00002.{ending}"
        save({name: tensors[name] for name in half}, folder / file)
        weight_map.update({name: file for name in half})
    index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / f"{stem}.{ending}.index.json", index)


def as_torch_saves_them(tensors: dict) -> dict:
    """The forms that `.bin` files hold: parameters, views of one storage, a transposed view, a counter."""
    saved = {}
    for index, (name, tensor) in enumerate(tensors.items()):
        if tensor.dim() == 2 and index % 3 == 0:
            saved[name] = tensor.t().contiguous().t()
        elif tensor.dim() == 1 and index % 3 == 1:
            saved[name] = torch.cat([torch.zeros(5), tensor])[5:]
        elif index % 3 == 2:
            saved[name] = torch.nn.Parameter(tensor)
        else:
            saved[name] = tensor
    saved["embeddings.position_ids"] = torch.arange(8)
    return saved


def make_esm(folder: pathlib.Path) -> None:
    sizes = dict(
        vocab_size=33, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, layer_norm_eps=1e-5, pad_token_id=ESM_PAD, mask_token_id=ESM_MASK,
        position_embedding_type="rotary", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    # Two proteins, the first with <mask>, and one of a single residue, between BOS 0 and EOS 2.
    batch = [[0, 20, 15, 32, 17, 5, 32, 9, 4, 12, 2], [0, 7, 23, 2], [0, 11, 2]]
    choices = {
        "config.json": dict(token_dropout=True, emb_layer_norm_before=False),
        "config_no_token_dropout.json": dict(token_dropout=False, emb_layer_norm_before=False),
        "config_norm_before.json": dict(token_dropout=True, emb_layer_norm_before=True),
    }
    whole = EsmModel(EsmConfig(**sizes, **choices["config_norm_before.json"]), add_pooling_layer=False).eval()
    randomize(whole, 1)
    # Published checkpoints hold frequencies rounded to 16 bits.
    frequencies = whole.rotary_embeddings.inv_freq.half().float()
    whole.rotary_embeddings.inv_freq.copy_(frequencies)
    for name, choice in choices.items():
        config = EsmConfig(**sizes, **choice)
        model = EsmModel(config, add_pooling_layer=False).eval()
        model.load_state_dict(whole.state_dict(), strict=False)
        config.model_type = "esm"
        (folder / name).write_text(config.to_json_string())
        write_json(folder / name.replace("config", "golden"), golden(model, name, batch, ESM_PAD, 3, True))
    # As transformers 5 saves it: one table of frequencies under a name with a star, gamma and beta.
    whole.save_pretrained(folder / "saved")
    (folder / "saved" / "model.safetensors").rename(folder / "model.safetensors")
    (folder / "saved" / "config.json").unlink()
    (folder / "saved").rmdir()
    # As transformers 4 saved a model with a head: a prefix, and frequencies in every layer.
    tensors = {f"esm.{name}": value for name, value in whole.state_dict().items() if "rotary" not in name}
    for layer in range(sizes["num_hidden_layers"]):
        tensors[f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"] = frequencies.clone()
    torch.save(as_torch_saves_them(tensors), folder / "pytorch_model.bin")
    halves = {name: value.half() for name, value in tensors.items()}
    save_shards(folder, "pytorch_model", "bin", halves, torch.save)


def make_bert(folder: pathlib.Path) -> None:
    sizes = dict(
        vocab_size=60, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    batch = [[1, 14, 33, 7, 59, 21, 40, 2], [1, 30, 2], [1, 2]]
    whole = BertModel(BertConfig(**sizes), add_pooling_layer=False).eval()
    randomize(whole, 2)
    for name, activation in {"config.json": "gelu", "config_tanh.json": "gelu_new", "config_relu.json": "relu"}.items():
        config = BertConfig(**sizes, hidden_act=activation)
        model = BertModel(config, add_pooling_layer=False).eval()
        model.load_state_dict(whole.state_dict())
        (folder / name).write_text(config.to_json_string())
        write_json(folder / name.replace("config", "golden"), golden(model, name, batch, 0, 4, False))
    tensors = {name: value.contiguous() for name, value in whole.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    torch.save(as_torch_saves_them({f"bert.{name}": value for name, value in tensors.items()}), folder / "pytorch_model.bin")
    short = {name: value.bfloat16() for name, value in tensors.items()}
    save_shards(folder, "model", "safetensors", short, lambda part, path: save_file(part, path, metadata={"format": "pt"}))


if __name__ == "__main__":
    for family, make in {"tiny_esm": make_esm, "tiny_bert": make_bert}.items():
        target = FIXTURES / family
        target.mkdir(parents=True, exist_ok=True)
        make(target)
        print(f"{target}: {sum(file.stat().st_size for file in target.iterdir()) / 1000:.0f} kB")
