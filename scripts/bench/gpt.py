"""nanoGPT's decoder in PyTorch, dense and with increments as the authors' package parametrises a layer.

Token and position embeddings, pre-norm layers of causal attention and an MLP, a last norm, an output layer
that may be tied to the token embedding; dropout behind the embedding, on attention's weights, behind attention and
behind the MLP. Sizes and names of fields are those of an experiment's `model`.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

DEFAULTS = dict(
    positions=1024, mlp_ratio=4, bias=True, tied=True, activation="gelu-tanh", norm_eps=1e-5,
    dropout=0.1, attention_dropout=0.1,
)  # fmt: skip
ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


class Norm(nn.Module):
    """A layer norm whose shift is optional."""

    def __init__(self, model):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(model["dim"]))
        self.bias = nn.Parameter(torch.zeros(model["dim"])) if model["bias"] else None
        self.eps = model["norm_eps"]

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Attention(nn.Module):
    def __init__(self, model):
        super().__init__()
        dim = model["dim"]
        self.heads, self.dropout = model["heads"], model["attention_dropout"]
        self.c_attn = nn.Linear(dim, 3 * dim, bias=model["bias"])
        self.c_proj = nn.Linear(dim, dim, bias=model["bias"])

    def forward(self, x, kept=None):
        """`kept` holds the keys and values of the tokens before, and gets those of these."""
        batch, tokens, dim = x.shape
        q, k, v = (
            part.view(batch, tokens, self.heads, dim // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(dim, dim=2)
        )
        if kept is not None:
            # The mask of several tokens would leave those before out.
            assert tokens == 1 or kept.count == 0
            k, v = kept.add(k, v)
        mixed = F.scaled_dot_product_attention(
            q, k, v, is_causal=tokens > 1, dropout_p=self.dropout if self.training else 0.0
        )
        return self.c_proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class Kept:
    """Keys and values of one layer in memory for a whole text."""

    def __init__(self, model, batch):
        shape = batch, model["heads"], model["positions"], model["dim"] // model["heads"]
        self.keys, self.values, self.count = torch.empty(shape), torch.empty(shape), 0

    def add(self, k, v):
        end = self.count + k.shape[2]
        self.keys[:, :, self.count : end], self.values[:, :, self.count : end] = k, v
        self.count = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Mlp(nn.Module):
    def __init__(self, model):
        super().__init__()
        hidden = round(model["mlp_ratio"] * model["dim"])
        self.c_fc = nn.Linear(model["dim"], hidden, bias=model["bias"])
        self.c_proj = nn.Linear(hidden, model["dim"], bias=model["bias"])
        self.activation = ACTIVATIONS[model["activation"]]

    def forward(self, x):
        return self.c_proj(self.activation(self.c_fc(x)))


class Layer(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = Norm(model), Attention(model), Norm(model), Mlp(model)
        self.dropout = nn.Dropout(model["dropout"])

    def forward(self, x, kept=None):
        x = x + self.dropout(self.attn(self.ln_1(x), kept))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class Gpt(nn.Module):
    def __init__(self, model):
        super().__init__()
        model = DEFAULTS | model
        self.settings = model
        self.wte = nn.Embedding(model["vocabulary"], model["dim"])
        self.wpe = nn.Embedding(model["positions"], model["dim"])
        self.dropout = nn.Dropout(model["dropout"])
        self.h = nn.ModuleList(Layer(model) for _ in range(model["depth"]))
        self.ln_f = Norm(model)
        self.lm_head = nn.Linear(model["dim"], model["vocabulary"], bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith("c_proj.weight")
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * model["depth"]) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        if model["tied"]:
            self.lm_head.weight = self.wte.weight

    def forward(self, ids, kept=None):
        """Ids [batch, tokens] → logits [batch, tokens, vocabulary]."""
        first = kept[0].count if kept else 0
        places = torch.arange(first, first + ids.shape[1], device=ids.device)
        x = self.dropout(self.wte(ids) + self.wpe(places))
        for i, layer in enumerate(self.h):
            x = layer(x, kept[i] if kept else None)
        return self.lm_head(self.ln_f(x))

    def cache(self, batch):
        return [Kept(self.settings, batch) for _ in self.h]


class Increment(nn.Module):
    """W of another layer, whose gradient stops, plus (alpha / rank) · Bᵀ A."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        outputs, inputs = base.weight.shape
        self.A, self.B = nn.Parameter(torch.empty(rank, inputs)), nn.Parameter(torch.empty(rank, outputs))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.B, a=math.sqrt(5))
        # In a list, so that the other layer is no part of this one.
        self.base, self.scale = [base], alpha / rank

    def forward(self, _):
        return self.base[0].weight.detach() + self.scale * self.B.T @ self.A


def as_compounds(gpt, size, rank, alpha):
    """Makes all but the first of every `size` layers increments on that one."""
    for i, layer in enumerate(gpt.h):
        if i % size == 0:
            continue
        first = gpt.h[i - i % size]
        for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            own, base = layer.get_submodule(part), first.get_submodule(part)
            increment = Increment(base, rank, alpha)
            parametrize.register_parametrization(own, "weight", increment)
            # The layer's own weight is replaced by the base's, as in the authors' package, so that it is not counted.
            own.parametrizations.weight.original = base.weight
    return gpt
