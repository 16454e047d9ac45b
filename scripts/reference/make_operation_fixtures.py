#!/usr/bin/env python3
"""Makes tests/fixtures/operations.safetensors: single operations in PyTorch, forward and backward.

    env/bin/python scripts/reference/make_operation_fixtures.py

Tensors are named `<case>.<what>`: inputs, `out`, `probe`, and `grad.<input>`, the gradients of
sum(out · probe). The metadata's `cases` is a JSON object: what each case is of.
src/nn/ops/tests/pytorch.rs compares.
"""

import json
import pathlib
from functools import partial

import torch
import torch.nn.functional as F

from stable import save_stable

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures"

# heads, values of a head, queries, keys, lengths of the keys, causal.
ATTENTION = [
    (1, 3, 1, 1, [1, 1], False),
    (1, 5, 7, 7, [7, 1], False),
    (2, 8, 17, 17, [17, 1, 9], False),
    (3, 7, 5, 5, None, False),
    (3, 7, 9, 9, [4, 9], True),
    (12, 4, 11, 11, [11, 6], False),
    (12, 32, 6, 6, [1, 6], False),
    # Cross-attention.
    (2, 5, 4, 19, [19, 3], False),
    (4, 3, 13, 2, None, False),
    (1, 9, 6, 10, [10, 2], True),
]


def case(out, tensors, name, **inputs):
    """Adds a case: its inputs, its result, and the gradients of those that want one."""
    probe = torch.randn(out.shape)
    (out * probe).sum().backward()
    tensors |= {f"{name}.out": out.detach(), f"{name}.probe": probe}
    for key, value in inputs.items():
        tensors[f"{name}.{key}"] = value.detach()
        if value.grad is not None:
            tensors[f"{name}.grad.{key}"] = value.grad


def leaf(*shape):
    return torch.randn(shape).requires_grad_()


def attention(tensors, cases):
    for i, (heads, d, queries, keys, lengths, causal) in enumerate(ATTENTION):
        batch = 2 if lengths is None else len(lengths)
        q = leaf(batch, queries, heads * d)
        k, v = leaf(batch, keys, heads * d), leaf(batch, keys, heads * d)
        visible = torch.ones(batch, 1, queries, keys, dtype=torch.bool)
        if lengths is not None:
            visible &= (torch.arange(keys) < torch.tensor(lengths)[:, None])[:, None, None]
        if causal:
            visible &= torch.ones(queries, keys, dtype=torch.bool).tril()
        split = [t.unflatten(2, (heads, d)).transpose(1, 2) for t in (q, k, v)]
        out = F.scaled_dot_product_attention(*split, attn_mask=visible)
        name = f"attention{i}"
        case(out.transpose(1, 2).flatten(2), tensors, name, q=q, k=k, v=v)
        cases[name] = {"heads": heads, "lengths": lengths, "causal": causal}


def mean_of_valid(tensors, cases):
    """Sentence-Transformers' mean pooling."""
    lengths = [5, 1, 3]
    x = leaf(3, 5, 7)
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None])[..., None].float()
    out = (x * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    case(out, tensors, "mean", x=x)
    cases["mean"] = {"lengths": lengths}


def embeddings(tensors, cases):
    """BERT's, before the layer norm."""
    words, positions, types = leaf(11, 6), leaf(9, 6), leaf(2, 6)
    ids = torch.randint(11, (3, 7))
    ids[:, :3] = 4  # A word that many places share.
    type_ids = (torch.arange(7) > 3).long().repeat(3, 1)
    out = F.embedding(ids, words) + F.embedding(type_ids, types)
    out = out + F.embedding(torch.arange(7), positions)
    case(out, tensors, "embed", words=words, positions=positions, types=types)
    tensors |= {"embed.ids": ids, "embed.type_ids": type_ids}
    cases["embed"] = {}


def activations(tensors, cases):
    by_tanh = partial(F.gelu, approximate="tanh")
    functions = {"gelu": F.gelu, "tanh": torch.tanh, "relu": F.relu, "silu": F.silu, "gelu-tanh": by_tanh}
    for name, f in functions.items():
        x = torch.cat([torch.linspace(-12, 12, 97), torch.randn(36)]).requires_grad_()
        case(f(x), tensors, name, x=x)
        cases[name] = {}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tensors, cases = {}, {}
    for add in (attention, mean_of_valid, embeddings, activations):
        add(tensors, cases)
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    save_stable(tensors, OUT / "operations.safetensors", {"cases": json.dumps(cases)})


if __name__ == "__main__":
    main()
