#!/usr/bin/env python3
"""Makes tests/fixtures/decoder/: language models in PyTorch with what they compute, as an oracle.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_decoder_fixtures.py

`*.safetensors` hold, in float32, one small model and one batch: `ids` and `labels` [batch, tokens]
(int64), `logits`, `loss` (cross-entropy over all tokens), `weight.<name>` for every parameter,
`grad.<name>` for every one, and `after.<name>`: every parameter after ten AdamW steps on the same
batch (PyTorch's clip_grad_norm_ and AdamW at one rate). `losses` are those before each of the ten
steps. Dropout is off. Matrices are [out, in]; transformers' Conv1D has them transposed. The
metadata's `model`, `vlora` and `training` are the sections of this project's specs; `decayed` lists
the parameters that weight decay applies to: matrices and tables, no biases and no norms.

`gpt2` is transformers' GPT2LMHeadModel without the prefix `transformer.`, `untied` the same with an
output layer of its own and the exact GELU. `nanogpt` has no biases and no shifts, as nanoGPT's
default; it is plain PyTorch (NanoGpt below). `vlora-*` are `gpt2` in compounds of two or three
layers, whose later layers add increments to the base layer or to the layer before.

`gpt2/` is a folder as transformers saves it; `expected.safetensors` holds one batch of it.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from transformers import GPT2Config, GPT2LMHeadModel

from stable import save_stable
from training import STEPS, rounding, train, training_section

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures/decoder"

SIZES = {"vocabulary": 11, "positions": 12, "dim": 12, "depth": 2, "heads": 3}
HIDDEN, EPS = 24, 1e-5
BATCH, TOKENS = 3, 9
RANK, ALPHA, TARGETS = 2, 3.0, ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
CONV1D = [f"{target}.weight" for target in TARGETS]


def gpt2(depth, activation="gelu_new", tied=True):
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=SIZES["vocabulary"],
            n_positions=SIZES["positions"],
            n_embd=SIZES["dim"],
            n_layer=depth,
            n_head=SIZES["heads"],
            n_inner=HIDDEN,
            activation_function=activation,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            layer_norm_epsilon=EPS,
            tie_word_embeddings=tied,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="eager",
        )
    )


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(dim, 3 * dim, bias=False)
        self.c_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        batch, tokens, dim = x.shape
        parts = self.c_attn(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.c_fc = nn.Linear(dim, hidden, bias=False)
        self.c_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.ln_1, self.ln_2 = (nn.LayerNorm(dim, eps=EPS, bias=False) for _ in range(2))
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim, hidden)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGpt(nn.Module):
    """nanoGPT's model.py (Andrej Karpathy, MIT licence) with bias=False, without dropout."""

    def __init__(self, vocabulary, positions, dim, depth, heads):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, dim), nn.Embedding(positions, dim)
        self.h = nn.ModuleList(Block(dim, heads, HIDDEN) for _ in range(depth))
        self.ln_f = nn.LayerNorm(dim, eps=EPS, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        out = self.model(ids)
        return out if isinstance(out, torch.Tensor) else out.logits


def section(depth, **changes):
    return SIZES | {
        "architecture": "decoder",
        "depth": depth,
        "mlp_ratio": HIDDEN / SIZES["dim"],
        "bias": True,
        "tied": True,
        "norm_eps": EPS,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation": "gelu-tanh",
    } | changes


def ours(name):
    return name.removeprefix("model.").removeprefix("transformer.")


def randomise(parameters, generator):
    """Random values, so that a misplaced parameter is noticed: no bias is 0 and no norm is 1."""
    with torch.no_grad():
        for name, p in parameters.items():
            is_scale = name.endswith("weight") and "ln_" in name
            p.copy_(0.3 * torch.randn(p.shape, generator=generator) + float(is_scale))


def increments(parameters, depth, size, generator):
    """The factors of the layers that do not own their targets, by name."""
    factors = {}
    for layer in (layer for layer in range(depth) if layer % size):
        for target in TARGETS:
            name = f"h.{layer}.{target}.weight"
            output, width = parameters[name].shape
            for factor, columns in (("A", width), ("B", output)):
                values = 0.3 * torch.randn((RANK, columns), generator=generator)
                factors[f"{name}.{factor}"] = values.requires_grad_()
    return factors


def whole(parameters, name, vlora):
    """A matrix with its increments: the dense one, or that of the layer it adds to plus the product."""
    if name in parameters:
        return parameters[name]
    layer = int(name.split(".")[1])
    base = layer - layer % vlora["compound_size"]
    other = base if vlora["reference"] == "base" else layer - 1
    reference = whole(parameters, name.replace(f"h.{layer}.", f"h.{other}."), vlora)
    if vlora["detach"]:
        reference = reference.detach()
    return reference + parameters[f"{name}.B"].T @ parameters[f"{name}.A"] * (ALPHA / RANK)


def decays(name):
    return not name.endswith(".bias") and "ln_" not in name


def batch(generator):
    shape = (BATCH, TOKENS)
    text = [torch.randint(SIZES["vocabulary"], shape, generator=generator) for _ in range(2)]
    return dict(zip(("ids", "labels"), text, strict=True))


def make(file, model, model_section, seed, vlora=None):
    module = Logits(model)
    transposed = isinstance(model, GPT2LMHeadModel)
    generator = torch.Generator().manual_seed(seed)
    theirs = {ours(name): name for name, _ in module.named_parameters()}

    def turned(name, matrix):
        is_conv = transposed and any(name.endswith(end) for end in CONV1D)
        return matrix.T if is_conv else matrix

    named = dict(module.named_parameters())
    parameters = {
        name: turned(name, named[their].detach()).clone().requires_grad_()
        for name, their in theirs.items()
    }
    randomise(parameters, generator)
    if vlora:
        size = vlora["compound_size"]
        factors = increments(parameters, model_section["depth"], size, generator)
        for name in factors:
            parameters.pop(name.removesuffix(".A").removesuffix(".B"), None)
        parameters |= factors
    inputs = batch(generator)

    def forward(dtype=torch.float32):
        own = {n: p.to(dtype) for n, p in parameters.items()}
        given = {their: turned(name, whole(own, name, vlora)) for name, their in theirs.items()}
        return functional_call(module, given, (inputs["ids"],))

    def loss_of(logits):
        return F.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten())

    # In float64, since float32 keeps too few digits of gradients whose terms cancel. The difference
    # to PyTorch's own float32 shows how many digits that is.
    def exact_or_not(dtype):
        logits = forward(dtype)
        loss = loss_of(logits)
        return logits, loss, torch.autograd.grad(loss, list(parameters.values()))

    fixture = {f"weight.{n}": p.detach().clone() for n, p in parameters.items()} | inputs
    logits, loss, gradients = exact_or_not(torch.float64)
    rounded = exact_or_not(torch.float32)[2]
    fixture |= {"logits": logits.detach().float(), "loss": loss.detach().float()}
    fixture |= {f"grad.{n}": g for n, g in zip(parameters, gradients, strict=True)}
    losses = train(parameters, decays, lambda: loss_of(forward()))
    fixture |= {f"after.{n}": p.detach().clone() for n, p in parameters.items()}
    fixture["losses"] = torch.stack(losses)
    metadata = {
        "model": json.dumps(model_section),
        "training": json.dumps(training_section()),
        "rounding": json.dumps(rounding(parameters, rounded, gradients)),
        "decayed": json.dumps([name for name in parameters if decays(name)]),
    }
    if vlora:
        metadata["vlora"] = json.dumps(vlora | {"rank": RANK, "alpha": ALPHA, "targets": TARGETS})
    save_stable(fixture, OUT / f"{file}.safetensors", metadata)
    print(f"{file}: loss {losses[0]:.4f}, after {STEPS - 1} steps {losses[-1]:.4f}")


def folder():
    generator = torch.Generator().manual_seed(7)
    model = gpt2(SIZES["depth"]).eval()
    randomise(dict(model.named_parameters()), generator)
    # The output layer shares its matrix with the word embedding, so it is saved once.
    state = {n: t for n, t in model.state_dict().items() if n != "lm_head.weight"}
    (OUT / "gpt2").mkdir(exist_ok=True)
    save_stable(state, OUT / "gpt2/model.safetensors", {"format": "pt"})
    config = model.config
    config.architectures = [type(model).__name__]
    text = json.dumps(json.loads(config.to_json_string(use_diff=False)), indent=2, sort_keys=True)
    (OUT / "gpt2/config.json").write_text(text + "\n")
    inputs = {"ids": batch(generator)["ids"]}
    with torch.no_grad():
        logits = model(inputs["ids"]).logits
    save_stable(inputs | {"logits": logits}, OUT / "expected.safetensors", {})
    print("gpt2/")


if __name__ == "__main__":
    torch.manual_seed(0)
    # The result of a sum depends on the number of threads.
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    make("gpt2", gpt2(2), section(2), 1)
    make("untied", gpt2(2, "gelu", tied=False), section(2, tied=False, activation="gelu"), 2)
    plain = NanoGpt(*SIZES.values())
    make("nanogpt", plain, section(2, bias=False, activation="gelu"), 3)
    for file, seed, vlora in [
        ("vlora-base", 4, {"compound_size": 3, "reference": "base", "detach": False}),
        ("vlora-base-detach", 5, {"compound_size": 2, "reference": "base", "detach": True}),
        ("vlora-previous", 6, {"compound_size": 3, "reference": "previous", "detach": False}),
        ("vlora-previous-detach", 7, {"compound_size": 3, "reference": "previous", "detach": True}),
    ]:
        depth = 3 if vlora["compound_size"] == 3 else 4
        make(file, gpt2(depth), section(depth), seed, vlora)
    folder()
