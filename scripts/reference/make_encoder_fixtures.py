#!/usr/bin/env python3
"""Makes tests/fixtures/encoder/: text encoders in transformers with what they compute, as an oracle.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_encoder_fixtures.py [--minilm FOLDER]

`tiny-*.safetensors` hold, in float32, one small model and one batch with padding: `ids`, `types`,
`lengths` and `labels` (int64), `logits`, `loss` (cross-entropy), `weight.<name>` for every
parameter, `grad.<name>` for every one, and `after.<name>`: every parameter after ten AdamW steps
on the same batch (PyTorch's clip_grad_norm_ and AdamW at one rate). `losses` are those before each
of the ten steps. Dropout is off. The metadata's `model`, `vlora` and `training` are the sections of
this project's specs; `decayed` lists the parameters that weight decay applies to: matrices and
tables, no biases and no norms.

`tiny-pooler` is transformers' BertForSequenceClassification, without the prefix `bert.`.
`tiny-mean` and `tiny-class-token` put a linear classifier on BertModel's last layer. `tiny-vlora`
is `tiny-pooler` whose layers 1 and 3 add increments to the layers before them, detached.

`bert/` and `distilbert/` are folders as transformers saves them, of a BertForSequenceClassification
with named classes and of a DistilBertForMaskedLM; `expected.safetensors` holds one batch, BERT's
`logits`, and DistilBERT's last hidden states, `hidden`.

`minilm.safetensors` holds, of sentence-transformers/all-MiniLM-L6-v2 as --minilm finds it, the
`ids` and `lengths` of a few sentences and every layer's hidden states at a few tokens of each:
`hidden` [layers + 1, texts, tokens of `at`, dim]. The weights are too large to be committed.
"""

import argparse
import hashlib
import json
import pathlib

import torch
from torch.func import functional_call
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast
from transformers import DistilBertConfig, DistilBertForMaskedLM

from stable import save_stable

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures/encoder"

SIZES = {"vocabulary": 53, "positions": 16, "token_types": 2, "dim": 16, "depth": 4, "heads": 4}
CLASSES, HIDDEN, EPS = 3, 24, 1e-12
LENGTHS = [11, 7, 1, 9, 4]
STEPS, CLIP = 10, 1.0
# With Adam's usual epsilon of 1e-8, the keys' biases would make steps of full size, although their
# gradients consist only of rounding errors.
TRAINING = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-5, "weight_decay": 0.1}
RANK, ALPHA, TARGETS = 2, 3.0, ["attention.self.query", "attention.output.dense", "output.dense"]


def config(activation):
    return BertConfig(
        vocab_size=SIZES["vocabulary"],
        hidden_size=SIZES["dim"],
        num_hidden_layers=SIZES["depth"],
        num_attention_heads=SIZES["heads"],
        intermediate_size=HIDDEN,
        hidden_act=activation,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=SIZES["positions"],
        type_vocab_size=SIZES["token_types"],
        layer_norm_eps=EPS,
        num_labels=CLASSES,
        attn_implementation="eager",
    )


def model_section(pool, activation):
    return SIZES | {
        "architecture": "encoder",
        "classes": CLASSES,
        "mlp_ratio": HIDDEN / SIZES["dim"],
        "pool": pool,
        "norm_eps": EPS,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation": activation,
    }


def batch(generator):
    shape = (len(LENGTHS), max(LENGTHS))
    # 0 is padding, whose row transformers never trains. No text has it.
    ids = torch.randint(1, SIZES["vocabulary"], shape, generator=generator)
    lengths = torch.tensor(LENGTHS)
    # The second segment is the later half of a text.
    types = (torch.arange(shape[1])[None] >= (lengths[:, None] + 1) // 2).long()
    labels = torch.randint(CLASSES, (shape[0],), generator=generator)
    mask = torch.arange(shape[1])[None] < lengths[:, None]
    return {"ids": ids, "types": types, "lengths": lengths, "labels": labels}, mask


class Pooled(torch.nn.Module):
    """BertModel with a linear classifier on the first token, or on the mean over tokens."""

    def __init__(self, pool, activation):
        super().__init__()
        self.bert = BertModel(config(activation), add_pooling_layer=False)
        self.classifier = torch.nn.Linear(SIZES["dim"], CLASSES)
        self.pool = pool

    def forward(self, ids, mask, types):
        x = self.bert(ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        if self.pool == "class-token":
            pooled = x[:, 0]
        else:
            weights = mask[..., None].to(x.dtype)
            pooled = (x * weights).sum(1) / weights.sum(1)
        return self.classifier(pooled)


class Classifier(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.model = BertForSequenceClassification(config(activation))

    def forward(self, ids, mask, types):
        return self.model(ids, attention_mask=mask, token_type_ids=types).logits


def ours(name):
    return name.removeprefix("model.").removeprefix("bert.")


def randomise(parameters, generator):
    """Random values, so that a misplaced parameter is noticed: no bias is 0 and no norm is 1."""
    with torch.no_grad():
        for name, p in parameters.items():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(0.3 * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0))


def increments(parameters, generator):
    """The factors of the layers that do not own their targets, by name."""
    factors = {}
    for layer in range(1, SIZES["depth"], 2):
        for target in TARGETS:
            name = f"encoder.layer.{layer}.{target}.weight"
            output, width = parameters[name].shape
            for factor, size in (("A", width), ("B", output)):
                values = 0.3 * torch.randn((RANK, size), generator=generator)
                factors[f"{name}.{factor}"] = values.requires_grad_()
    return factors


def composed(parameters, prefix):
    """The parameters for the module, with increments added to their reference weights."""
    full = {}
    for name, p in parameters.items():
        if name.endswith(".A"):
            weight = name.removesuffix(".A")
            layer = int(weight.split(".")[2])
            base = parameters[weight.replace(f"layer.{layer}.", f"layer.{layer - 1}.")]
            product = parameters[f"{weight}.B"].T @ p
            full[weight] = base.detach() + product * (ALPHA / RANK)
        elif not name.endswith(".B"):
            full[name] = p
    return {prefix(name): p for name, p in full.items()}


def decays(name):
    return not name.endswith(".bias") and "LayerNorm" not in name


def training_section():
    beta1, beta2 = TRAINING["betas"]
    return {
        "learning_rate": TRAINING["lr"],
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": TRAINING["eps"],
        "weight_decay": TRAINING["weight_decay"],
        "clip_norm": CLIP,
    }


def make(file, module, section, vlora, seed):
    generator = torch.Generator().manual_seed(seed)
    named = dict(module.named_parameters())
    theirs = {ours(name): name for name in named}
    parameters = {ours(name): p for name, p in named.items()}
    randomise(parameters, generator)
    if vlora:
        factors = increments(parameters, generator)
        for name in factors:
            parameters.pop(name.removesuffix(".A").removesuffix(".B"), None)
        parameters |= factors
    inputs, mask = batch(generator)

    def forward(dtype=torch.float32):
        given = composed({n: p.to(dtype) for n, p in parameters.items()}, theirs.get)
        return functional_call(module, given, (inputs["ids"], mask, inputs["types"]))

    fixture = {f"weight.{n}": p.detach().clone() for n, p in parameters.items()} | inputs
    groups = [
        {"params": [p for n, p in parameters.items() if decays(n)]},
        {"params": [p for n, p in parameters.items() if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **TRAINING)
    losses = []
    # In float64, since float32 keeps too few digits of gradients whose terms cancel. The difference
    # to PyTorch's own float32 shows how many digits that is.
    def exact_or_not(dtype):
        logits = forward(dtype)
        loss = torch.nn.functional.cross_entropy(logits, inputs["labels"])
        return logits, loss, torch.autograd.grad(loss, list(parameters.values()))

    logits, loss, gradients = exact_or_not(torch.float64)
    rounded = exact_or_not(torch.float32)[2]
    pairs = zip(parameters, rounded, gradients, strict=True)
    rounding = {n: float(f"{(a - b).abs().max():.1e}") for n, a, b in pairs}
    fixture |= {"logits": logits.detach().float(), "loss": loss.detach().float()}
    fixture |= {f"grad.{n}": g for n, g in zip(parameters, gradients, strict=True)}
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward(), inputs["labels"])
        loss.backward()
        losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
    fixture |= {f"after.{n}": p.detach().clone() for n, p in parameters.items()}
    fixture["losses"] = torch.stack(losses)
    metadata = {
        "model": json.dumps(section),
        "training": json.dumps(training_section()),
        "rounding": json.dumps(rounding),
        "decayed": json.dumps([name for name in parameters if decays(name)]),
    }
    if vlora:
        metadata["vlora"] = json.dumps(
            {"compound_size": 2, "rank": RANK, "alpha": ALPHA, "targets": TARGETS}
        )
    save_stable(fixture, OUT / file, metadata)
    print(f"{file}: loss {losses[0]:.4f}, after {STEPS - 1} steps {losses[-1]:.4f}")


def folder(name, model):
    (OUT / name).mkdir(exist_ok=True)
    save_stable(model.state_dict(), OUT / name / "model.safetensors", {"format": "pt"})
    config = model.config
    config.architectures = [type(model).__name__]
    text = json.dumps(json.loads(config.to_json_string(use_diff=False)), indent=2, sort_keys=True)
    (OUT / name / "config.json").write_text(text + "\n")


def folders():
    generator = torch.Generator().manual_seed(7)
    inputs, mask = batch(generator)
    settings = config("gelu")
    settings.id2label = {0: "negative", 1: "neutral", 2: "positive"}
    settings.label2id = {name: i for i, name in settings.id2label.items()}
    bert = BertForSequenceClassification(settings).eval()
    randomise(dict(bert.named_parameters()), generator)
    folder("bert", bert)
    distilled = DistilBertConfig(
        vocab_size=SIZES["vocabulary"],
        max_position_embeddings=SIZES["positions"],
        n_layers=SIZES["depth"],
        n_heads=SIZES["heads"],
        dim=SIZES["dim"],
        hidden_dim=HIDDEN,
        attn_implementation="eager",
    )
    distilbert = DistilBertForMaskedLM(distilled).eval()
    parameters = dict(distilbert.named_parameters())
    randomise(parameters, generator)
    with torch.no_grad():
        for name, p in parameters.items():
            if name.endswith("layer_norm.weight"):
                p.add_(1.0)
    # The output layer shares its matrix with the word embedding, so it is saved once.
    state = distilbert.state_dict()
    state.pop("vocab_projector.weight", None)
    (OUT / "distilbert").mkdir(exist_ok=True)
    distilbert.state_dict = lambda: state
    folder("distilbert", distilbert)
    with torch.no_grad():
        logits = bert(inputs["ids"], attention_mask=mask, token_type_ids=inputs["types"]).logits
        hidden = distilbert.distilbert(inputs["ids"], attention_mask=mask).last_hidden_state
    save_stable(inputs | {"logits": logits, "hidden": hidden}, OUT / "expected.safetensors", {})
    print("bert/, distilbert/")


SENTENCES = [
    "a masterpiece, plain and simple.",
    "The film is so bad it isn't even funny; I left after twenty minutes and do not regret it.",
    "no",
    "Émigrés in São Paulo rated it 7/10 — 映画 was “fine”, they said.",
]


def minilm(folder):
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    texts = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    lengths = texts["attention_mask"].sum(1)
    with torch.no_grad():
        out = model(**texts, output_hidden_states=True)
    # The first token, the second, and the last of each text.
    at = torch.stack([torch.zeros_like(lengths), torch.ones_like(lengths), lengths - 1], 1)
    rows = torch.arange(len(SENTENCES))[:, None]
    hidden = torch.stack([h[rows, at] for h in out.hidden_states])
    weights = pathlib.Path(folder, "model.safetensors").read_bytes()
    metadata = {"sha256": hashlib.sha256(weights).hexdigest()}
    fixture = {"ids": texts["input_ids"], "lengths": lengths, "at": at, "hidden": hidden}
    save_stable(fixture, OUT / "minilm.safetensors", metadata)
    print(f"minilm.safetensors: {tuple(hidden.shape)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minilm", help="a folder with config.json, model.safetensors, tokenizer.json")
    options = parser.parse_args()
    torch.manual_seed(0)
    # The result of a sum depends on the number of threads.
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    pooler = model_section("pooler", "gelu")
    make("tiny-pooler.safetensors", Classifier("gelu"), pooler, False, 1)
    section = model_section("class-token", "relu")
    make("tiny-class-token.safetensors", Pooled("class-token", "relu"), section, False, 2)
    section = model_section("mean", "gelu")
    make("tiny-mean.safetensors", Pooled("mean", "gelu"), section, False, 3)
    make("tiny-vlora.safetensors", Classifier("gelu"), pooler, True, 4)
    folders()
    if options.minilm:
        minilm(options.minilm)
