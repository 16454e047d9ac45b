#!/usr/bin/env python3
"""Makes tests/fixtures/encoder_decoder/: translation models in PyTorch with what they compute, as
an oracle.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_encoder_decoder_fixtures.py

`*.safetensors` except `authors` and `state-*` hold, in float32, one small model and one batch: `source` and
`target` [batch, tokens], the latter the decoder's inputs, with `source_lengths` and
`target_lengths` [batch], and `labels` [batch, tokens] (int64). Rows end with 0 as padding; no row
has it as a token. `logits` are those of the target's tokens without the padding, row after row:
[sum of target_lengths, target vocabulary]. `loss` is their mean cross-entropy, `smoothed_loss` the
same with label smoothing of 0.1. `weight.<name>` is every parameter, `grad.<name>` its gradient of
`loss`, and `after.<name>` the parameter after ten AdamW steps on the same batch (PyTorch's
clip_grad_norm_ and AdamW at one rate). `losses` are those before each of the ten steps. Dropout is
off. Matrices are [out, in]. The metadata's `model`, `vlora` and `training` are the sections of this
project's specs; `decayed` lists the parameters that weight decay applies to: matrices and tables,
no biases and no norms.

The model is torch.nn.Transformer between token tables with positions and an output layer. Its
`in_proj_weight` is `in_proj.weight` here, and that of cross-attention is three matrices: `query`,
`key` and `value`. `vlora-*` are `post` with four narrower layers in each stack, whose
later layers in a compound add increments to the base layer or to the layer before.

`state-*.safetensors` are the state dicts of the dense models, by PyTorch's names and with their
weights before the first step. A tied output layer stands in them twice, as state_dict() has it.

`authors` is TransformerVLoRA of the authors' package, without tables and output layer:
`state.<name>` is every tensor of its state dict (`….original` are copies of a base weight),
`source` and `target` [batch, tokens, dim] are the inputs of the encoder and of the decoder, without
positions, `memory` is the encoder's output, `output` the decoder's without a mask, as the package's
own forward calls it, and `causal_output` the decoder's with a causal tgt_mask. The metadata's
`arguments` are the constructor's. As published the package cannot run it: its stacks call a
compound with further arguments (the memory, masks, positions), but VLoRACompound.forward takes only
one. Here it is replaced by one that passes them on to each block.

Every file is read back and computed again in float64 by a few lines of plain arithmetic, row by row
without padding.
"""

import inspect
import json
import math
import pathlib
import re

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call
from vlora import TransformerVLoRA, VLoRACompound

from stable import save_stable
from training import STEPS, rounding, train, training_section

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures/encoder_decoder"

EPS = 1e-5
POST = {
    "architecture": "encoder-decoder",
    "source_vocabulary": 13,
    "target_vocabulary": 11,
    "positions": 12,
    "dim": 12,
    "depth": 2,
    "heads": 3,
    "mlp_ratio": 2.0,
    "norm": "post",
    "final_norm": "none",
    "position_embedding": "learned",
    "shared_embedding": False,
    "tied": False,
    "output_bias": True,
    "scale_embedding": True,
    "activation": "relu",
    "norm_eps": EPS,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}
PRE = POST | {
    "target_vocabulary": 13,
    "norm": "pre",
    "final_norm": "both",
    "position_embedding": "sinusoidal",
    "shared_embedding": True,
    "tied": True,
    "output_bias": False,
    "activation": "gelu",
}
UNEVEN = POST | {
    "decoder_depth": 1,
    "final_norm": "both",
    "position_embedding": "sinusoidal",
    "tied": True,
    "output_bias": False,
    "scale_embedding": False,
    "activation": "gelu",
}
DECODER_NORM = POST | {
    "norm": "pre",
    "final_norm": "decoder",
    "tied": True,
    "scale_embedding": False,
}
# Narrower, since there are more layers and the files shall stay small.
DEEP = POST | {"dim": 8, "depth": 4, "heads": 2}
LENGTHS = {"source": [5, 9, 1, 7], "target": [8, 3, 6, 1]}
SMOOTHING = 0.1
RANK, ALPHA = 2, 3
TARGETS = ["self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"]
CROSS = [f"multihead_attn.{part}" for part in ("query", "key", "value", "out_proj")]
BASE = {"compound_size": 2, "reference": "base", "detach": False, "targets": TARGETS}


def depths(section):
    depth = section["depth"]
    return {"encoder": depth, "decoder": section.get("decoder_depth", depth)}


def transformer(section):
    dim, norm = section["dim"], section["final_norm"]
    layer = {
        "d_model": dim,
        "nhead": section["heads"],
        "dim_feedforward": int(dim * section["mlp_ratio"]),
        "dropout": 0.0,
        "activation": section["activation"],
        "layer_norm_eps": EPS,
        "batch_first": True,
        "norm_first": section["norm"] == "pre",
    }
    depth = depths(section)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**layer),
        depth["encoder"],
        nn.LayerNorm(dim, EPS) if norm == "both" else None,
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(**layer),
        depth["decoder"],
        nn.LayerNorm(dim, EPS) if norm != "none" else None,
    )
    return nn.Transformer(**layer, custom_encoder=encoder, custom_decoder=decoder)


def sinusoids(tokens, dim):
    angles = torch.arange(tokens)[:, None] / 10000 ** (torch.arange(0, dim, 2).double() / dim)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class Translator(nn.Module):
    def __init__(self, section):
        super().__init__()
        self.section = section
        dim = section["dim"]
        if section["shared_embedding"]:
            self.embedding = nn.Embedding(section["source_vocabulary"], dim)
        else:
            self.source_embedding = nn.Embedding(section["source_vocabulary"], dim)
            self.target_embedding = nn.Embedding(section["target_vocabulary"], dim)
        if section["position_embedding"] == "learned":
            self.source_positions = nn.Embedding(section["positions"], dim)
            self.target_positions = nn.Embedding(section["positions"], dim)
        self.transformer = transformer(section)
        self.output = nn.Linear(dim, section["target_vocabulary"], bias=section["output_bias"])
        if section["tied"]:
            self.output.weight = self.table("target").weight

    def table(self, side):
        is_shared = self.section["shared_embedding"]
        return self.get_submodule("embedding" if is_shared else f"{side}_embedding")

    def embed(self, side, ids):
        tokens, dim = ids.shape[1], self.section["dim"]
        x = self.table(side)(ids)
        if self.section["scale_embedding"]:
            x = x * dim**0.5
        if self.section["position_embedding"] == "learned":
            return x + self.get_submodule(f"{side}_positions")(torch.arange(tokens))
        return x + sinusoids(tokens, dim).to(x.dtype)

    def forward(self, source, target, source_padding, target_padding):
        tokens = target.shape[1]
        x = self.transformer(
            self.embed("source", source),
            self.embed("target", target),
            tgt_mask=torch.ones(tokens, tokens, dtype=torch.bool).triu(1),
            src_key_padding_mask=source_padding,
            tgt_key_padding_mask=target_padding,
            memory_key_padding_mask=source_padding,
        )
        return self.output(x[~target_padding])


def ours(name):
    """The names here of a parameter of PyTorch's: three where it is three, one below the other."""
    name = name.removeprefix("transformer.").replace("in_proj_", "in_proj.")
    if "multihead_attn.in_proj" in name:
        return [name.replace("in_proj", part) for part in ("query", "key", "value")]
    return [name]


def divided(name, p):
    """A parameter of PyTorch's as ours, by name."""
    names = ours(name)
    return dict(zip(names, p.chunk(len(names)), strict=True))


def randomise(parameters, generator):
    """Random values, so that a misplaced parameter is noticed: no bias is 0 and no norm is 1."""
    with torch.no_grad():
        for name, p in parameters.items():
            is_scale = name.endswith("weight") and "norm" in name
            p.copy_(0.3 * torch.randn(p.shape, generator=generator) + float(is_scale))


def increments(parameters, section, vlora, generator):
    """The factors of the layers that do not own their targets, by name."""
    factors = {}
    for stack, depth in depths(section).items():
        for layer in (layer for layer in range(depth) if layer % vlora["compound_size"]):
            for target in vlora["targets"]:
                name = f"{stack}.layers.{layer}.{target}.weight"
                if name not in parameters:
                    # Cross-attention, in the encoder.
                    continue
                output, width = parameters[name].shape
                for factor, columns in (("A", width), ("B", output)):
                    values = 0.3 * torch.randn((RANK, columns), generator=generator)
                    factors[f"{name}.{factor}"] = values.requires_grad_()
    return factors


def whole(parameters, name, vlora):
    """A matrix with its increments: the dense one, or its reference plus the product."""
    if name in parameters:
        return parameters[name]
    layer = int(name.split(".")[2])
    base = layer - layer % vlora["compound_size"]
    other = base if vlora["reference"] == "base" else layer - 1
    reference = whole(parameters, name.replace(f"layers.{layer}.", f"layers.{other}."), vlora)
    if vlora["detach"]:
        reference = reference.detach()
    return reference + parameters[f"{name}.B"].T @ parameters[f"{name}.A"] * (ALPHA / RANK)


def decays(name):
    return not name.endswith(".bias") and "norm" not in name


def batch(section, generator):
    tensors, padding = {}, {}
    for name, side in (("source", "source"), ("target", "target"), ("labels", "target")):
        lengths = torch.tensor(LENGTHS[side])
        padding[side] = torch.arange(lengths.max())[None] >= lengths[:, None]
        shape, vocabulary = padding[side].shape, section[f"{side}_vocabulary"]
        ids = torch.randint(1, vocabulary, shape, generator=generator)
        tensors |= {name: ids.masked_fill(padding[side], 0), f"{side}_lengths": lengths}
    return tensors, padding


def make(file, section, seed, vlora=None):
    module = Translator(section)
    generator = torch.Generator().manual_seed(seed)
    theirs = dict(module.named_parameters())
    parts = {n: part for name, p in theirs.items() for n, part in divided(name, p.detach()).items()}
    parameters = {name: part.clone().requires_grad_() for name, part in parts.items()}
    randomise(parameters, generator)
    if vlora:
        factors = increments(parameters, section, vlora, generator)
        for name in factors:
            parameters.pop(name.removesuffix(".A").removesuffix(".B"), None)
        parameters |= factors
    else:
        write_state(module, parameters, OUT / f"state-{file}.safetensors")
    inputs, padding = batch(section, generator)
    labels = inputs["labels"][~padding["target"]]

    def forward(dtype=torch.float32):
        own = {n: p.to(dtype) for n, p in parameters.items()}
        given = {n: torch.cat([whole(own, part, vlora) for part in ours(n)]) for n in theirs}
        arguments = (inputs["source"], inputs["target"], padding["source"], padding["target"])
        return functional_call(module, given, arguments)

    # In float64, since float32 keeps too few digits of gradients whose terms cancel. The difference
    # to PyTorch's own float32 shows how many digits that is.
    def exact_or_not(dtype):
        logits = forward(dtype)
        loss = F.cross_entropy(logits, labels)
        return logits, loss, torch.autograd.grad(loss, list(parameters.values()))

    fixture = {f"weight.{n}": p.detach().clone() for n, p in parameters.items()} | inputs
    logits, loss, gradients = exact_or_not(torch.float64)
    rounded = exact_or_not(torch.float32)[2]
    smoothed = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    fixture |= {"logits": logits.detach().float(), "loss": loss.detach().float()}
    fixture["smoothed_loss"] = smoothed.detach().float()
    fixture |= {f"grad.{n}": g for n, g in zip(parameters, gradients, strict=True)}
    losses = train(parameters, decays, lambda: F.cross_entropy(forward(), labels))
    fixture |= {f"after.{n}": p.detach().clone() for n, p in parameters.items()}
    fixture["losses"] = torch.stack(losses)
    metadata = {
        "model": json.dumps(section),
        "training": json.dumps(training_section()),
        "rounding": json.dumps(rounding(parameters, rounded, gradients)),
        "decayed": json.dumps([name for name in parameters if decays(name)]),
    }
    if vlora:
        metadata["vlora"] = json.dumps(vlora | {"rank": RANK, "alpha": float(ALPHA)})
    save_stable(fixture, OUT / f"{file}.safetensors", metadata)
    difference = check(load_file(OUT / f"{file}.safetensors"), section, vlora)
    print(f"{file}: loss {losses[0]:.4f}, after {STEPS - 1} steps {losses[-1]:.4f}, "
          f"plain arithmetic differs by {difference:.0e}")  # fmt: skip


def write_state(module, parameters, path):
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.cat([parameters[part] for part in ours(name)]))
    # Cloned, since a file holds no tensor twice.
    save_stable({name: t.clone() for name, t in module.state_dict().items()}, path, {})


def passing_on(self, x, *further, **named):
    for block in self.blocks:
        x = block(x, *further, **named)
    return x


def authors(seed):
    stack = {"compound_size": 2, "vlora_rank": RANK, "vlora_alpha": ALPHA}
    sizes = {"d_model": 12, "nhead": 3, "dim_feedforward": 24, "dropout": 0.0}
    sides = {f"{side}_{n}": v for side in ("encoder", "decoder") for n, v in stack.items()}
    arguments = inspect.signature(TransformerVLoRA).bind(**sizes, **sides)
    arguments.apply_defaults()
    VLoRACompound.forward = passing_on
    model = TransformerVLoRA(**arguments.arguments)
    generator = torch.Generator().manual_seed(seed)
    randomise(dict(model.named_parameters()), generator)
    fixture = {f"state.{n}": t.clone() for n, t in model.state_dict().items()}
    for name, tokens in (("source", 7), ("target", 5)):
        fixture[name] = torch.randn((2, tokens, sizes["d_model"]), generator=generator)
    # The package has the tokens first.
    source, target = (fixture[name].double().transpose(0, 1) for name in ("source", "target"))
    causal = torch.ones(len(target), len(target), dtype=torch.bool).triu(1)
    with torch.no_grad():
        memory = model.double().encoder(source)
        outputs = {
            "memory": memory,
            "output": model.decoder(target, memory)[0],
            "causal_output": model.decoder(target, memory, tgt_mask=causal)[0],
        }
    fixture |= {n: t.transpose(0, 1).float() for n, t in outputs.items()}
    metadata = {"arguments": json.dumps(arguments.arguments)}
    save_stable(fixture, OUT / "authors.safetensors", metadata)
    difference = check_authors(load_file(OUT / "authors.safetensors"), stack["compound_size"])
    print(f"authors: plain arithmetic differs by {difference:.0e}")


# The same models once more, without PyTorch's layers, one row at a time and so without padding.


def dense(parameters, vlora):
    """Every matrix written out. A layer comes after those it adds to."""
    full = {n: t.double() for n, t in parameters.items() if not n.endswith((".A", ".B"))}
    factors = sorted(n.removesuffix(".A") for n in parameters if n.endswith(".A"))
    for name in factors:
        stack, layers, layer, rest = name.split(".", 3)
        back = 1 if vlora["reference"] == "previous" else int(layer) % vlora["compound_size"]
        a, b = (parameters[f"{name}.{factor}"].double() for factor in "AB")
        reference = full[f"{stack}.{layers}.{int(layer) - back}.{rest}"]
        full[name] = reference + ALPHA / RANK * torch.einsum("ro,ri->oi", b, a)
    return full


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def norm(p, name, x):
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()
    return x * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(query, key, value, heads, causal):
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in (query, key, value))
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if causal:
        at = torch.arange(scores.shape[-1])
        scores = scores.masked_fill(at[:, None] < at, -math.inf)
    return (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)


def activated(section, x):
    return x.clamp(min=0) if section["activation"] == "relu" else x * (1 + (x / 2**0.5).erf()) / 2


def plain_stack(p, section, stack, x, memory=None, causal=False):
    heads = section["heads"]
    for layer in range(depths(section)[stack]):
        prefix = f"{stack}.layers.{layer}"

        def self_attention(x):
            qkv = linear(p, f"{prefix}.self_attn.in_proj", x).chunk(3, -1)
            return linear(p, f"{prefix}.self_attn.out_proj", attention(*qkv, heads, causal))

        def cross_attention(x):
            query = linear(p, f"{prefix}.multihead_attn.query", x)
            key, value = (
                linear(p, f"{prefix}.multihead_attn.{part}", memory) for part in ("key", "value")
            )
            y = attention(query, key, value, heads, causal=False)
            return linear(p, f"{prefix}.multihead_attn.out_proj", y)

        def mlp(x):
            hidden = activated(section, linear(p, f"{prefix}.linear1", x))
            return linear(p, f"{prefix}.linear2", hidden)

        parts = [self_attention, mlp] if memory is None else [self_attention, cross_attention, mlp]
        for number, part in enumerate(parts, 1):
            name = f"{prefix}.norm{number}"
            if section["norm"] == "pre":
                x = x + part(norm(p, name, x))
            else:
                x = norm(p, name, x + part(x))
    has_norm = section["final_norm"] in ("both", stack)
    return norm(p, f"{stack}.norm", x) if has_norm else x


def plain_table(p, section, side):
    return p["embedding.weight" if section["shared_embedding"] else f"{side}_embedding.weight"]


def plain_position(section, position):
    angles = [position / 10000 ** (i / section["dim"]) for i in range(0, section["dim"], 2)]
    pairs = [(math.sin(angle), math.cos(angle)) for angle in angles]
    return torch.tensor(pairs, dtype=torch.float64).flatten()


def plain_embedding(p, section, side, ids):
    x = plain_table(p, section, side)[ids]
    if section["scale_embedding"]:
        x = x * math.sqrt(section["dim"])
    if section["position_embedding"] == "learned":
        return x + p[f"{side}_positions.weight"][: len(ids)]
    return x + torch.stack([plain_position(section, position) for position in range(len(ids))])


def plain_logits(p, section, source, target):
    x = plain_embedding(p, section, "source", source)
    memory = plain_stack(p, section, "encoder", x)
    x = plain_embedding(p, section, "target", target)
    x = plain_stack(p, section, "decoder", x, memory, causal=True)
    matrix = plain_table(p, section, "target") if section["tied"] else p["output.weight"]
    logits = x @ matrix.T
    return logits + p["output.bias"] if section["output_bias"] else logits


def largest_difference(got, want):
    difference = (got - want).abs().max().item()
    assert difference < 1e-6, difference
    return difference


def check(fixture, section, vlora):
    names = [n for n in fixture if n.startswith("weight.")]
    p = dense({n.removeprefix("weight."): fixture[n] for n in names}, vlora)

    def texts(side):
        return [row[:n] for row, n in zip(fixture[side], LENGTHS[side], strict=True)]

    pairs = zip(texts("source"), texts("target"), strict=True)
    logits = torch.cat([plain_logits(p, section, *pair) for pair in pairs])
    return largest_difference(logits, fixture["logits"])


def check_authors(fixture, size):
    def layer(place):
        return f"layers.{int(place[1]) * size + int(place[2])}"

    parameters = {}
    for state, tensor in fixture.items():
        if state.startswith("state.") and not state.endswith(".original"):
            name = re.sub(r"layers\.(\d+)\.blocks\.(\d+)", layer, state.removeprefix("state."))
            name = re.sub(r"parametrizations\.(\w+)\.0\.", r"\1.", name)
            parameters |= divided(name, tensor)
    p = dense(parameters, BASE | {"compound_size": size})
    section = POST | {"depth": 2 * size, "final_norm": "decoder"}
    differences = []
    for row in range(len(fixture["source"])):
        source, target = (fixture[name][row].double() for name in ("source", "target"))
        memory = plain_stack(p, section, "encoder", source)
        differences.append(largest_difference(memory, fixture["memory"][row]))
        for name, causal in (("output", False), ("causal_output", True)):
            output = plain_stack(p, section, "decoder", target, memory, causal)
            differences.append(largest_difference(output, fixture[name][row]))
    return max(differences)


if __name__ == "__main__":
    torch.manual_seed(0)
    # The result of a sum depends on the number of threads.
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    make("post", POST, 1)
    make("pre", PRE, 2)
    make("uneven", UNEVEN, 3)
    make("decoder-norm", DECODER_NORM, 4)
    make("vlora-base", DEEP, 5, BASE | {"compound_size": 4})
    make("vlora-base-detach", DEEP, 6, BASE | {"detach": True})
    make("vlora-previous", DEEP, 7, BASE | {"compound_size": 4, "reference": "previous"})
    make("vlora-all", DEEP, 8, BASE | {"detach": True, "targets": TARGETS + CROSS})
    authors(9)
