#!/usr/bin/env python3
"""Trains the encoder-decoder of Multi30k in plain PyTorch as a run of this program was trained, and compares them.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    vlora run experiments/paper/multi30k.yaml --out parity --set training.steps=240 --set 'seeds=[0]' \\
        --set model.dropout=0 --set model.attention_dropout=0 --set model.activation_dropout=0 \\
        --set model.activation=gelu
    env/bin/python scripts/reference/multi30k_parity.py parity/multi30k/runs/*/ --data multi30k

Of the runs the dense ones are compared. `--data` is the folder of the dataset bentrevett/multi30k, with train.jsonl,
val.jsonl and test.jsonl. Nothing of a run is read but its settings (spec.json), its tokenizers (tokenizer.json, which
Hugging Face's `tokenizers` applies) and what it is compared with (steps.jsonl, epochs.jsonl, test.jsonl; compressed
ones take Python 3.14 or the command `zstd`). The initial weights and the batches of each epoch come from the seed by the
same counter-based streams, as in nanogpt_parity.py. So there is no dropout: an epoch has 227 steps, and 240 reach into
the second.

The model is `torch.nn.TransformerEncoder` and `TransformerDecoder` between embeddings with learned positions and an
output layer. All matrices start Xavier-uniform, biases at zero. torch.optim.AdamW decays what has two dimensions.

Prints the largest difference of a step's loss; with all steps, that of an epoch's validation loss and of the test
loss, and how many greedy translations of the test split are the same. Exits with 1 if a loss differs by more than
`--within`.

The recipe's ReLU is replaced by GELU, whose gradient has no jump. With ReLU at the recipe's rate of 5e-4, which has no
warm-up, training amplifies rounding: now and then the input of a ReLU is so close to zero that its sign depends on the
order of a sum. After some 40 steps losses differ by 1e-3 and after 200 by 2e-2, and those of PyTorch in float32 and in
float64 do so, too. With ReLU and `--set training.learning_rate=5e-5` they stay close. `--double` computes in float64
here. `--steps` compares the beginning alone.

`--train` instead trains the recipe of the first dense run by itself, dropout included, with weights and masks of
PyTorch's generator:

    env/bin/python scripts/reference/multi30k_parity.py parity/multi30k/runs/*/ --data multi30k --train --seed 1

The batches are those of the seed here, too. With `--init-seed N` the initial weights are those that this program draws from
seed N, and only the masks of dropout are PyTorch's. It validates after each epoch, keeps the weights of the lowest validation loss, and prints the loss, the perplexity
and the BLEU (sacrebleu) of greedy translations of the test split: by 13a on references in lower case, and on the
words of the run's tokenizer, where unknown ones are `<unk>` in translations. Then the target's tokens a second of
training and the most memory in use.

The perplexity is printed twice: of the mean over tokens, and as the published recipe has it, of the mean over batches
of sentences that are sorted by length as torchtext sorts them (by the interleaved bits of both lengths). `--score`
prints both of the runs themselves, from their test.jsonl.
"""

import argparse
import json
import math
import pathlib
import resource
import sys
import time

import numpy as np
import tokenizers
import torch
from torch import nn
from torch.nn import functional as F

from streams import Stream, all_within, expect, grouped_batches, in_batches, lines, permutation, rate, uniform

PADDING, UNKNOWN, BEGIN, END = range(4)
# What this script knows of the settings that may be otherwise.
DATA = {"validation": "validation", "test": "test", "duplicates": "keep", "batch_tokens": None}
TOKENIZER = {"train": "words", "joint": False}
MODEL = {
    "architecture": "encoder-decoder",
    "position_embedding": "learned",
    "embedding_init": "xavier-uniform",
    "shared_embedding": False,
}
TRAINING = {"accumulation": 1, "patience": None, "select": "best-loss"}
DROPOUT = {"dropout": 0, "attention_dropout": 0, "activation_dropout": 0}


class Split:
    """Sentence pairs of a file: as tokens, with the marks of beginning and end, and as texts."""

    def __init__(self, path, data, source, target, is_training=False):
        self.source, self.target, self.references = [], [], []
        self.is_grouped = data.get("group_by_length", True)
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            texts = [row[data[column]].strip() for column in ("source_column", "target_column")]
            if data.get("lowercase"):
                texts = [text.lower() for text in texts]
            pair = [tokenizer.encode(text).ids for tokenizer, text in zip((source, target), texts)]
            most = data["max_tokens"]
            if is_training and not (all(texts) and all(len(ids) <= most for ids in pair)):
                continue
            for own, ids in zip((self.source, self.target), pair):
                own.append(ids if len(ids) <= most else ids[: most - 1] + [END])
            self.references.append(texts[1])
        words = lambda text: " ".join(word for word, _ in target.pre_tokenizer.pre_tokenize_str(text))
        self.in_words = [] if is_training else [words(text) for text in self.references]
        # The last token of a translation is only predicted.
        self.keys = [(len(s), len(t) - 1) for s, t in zip(self.source, self.target)]

    def batch(self, pairs, device):
        """Source, target without its last token, and labels, which are PADDING beyond a sentence's end."""
        source, target = [self.source[i] for i in pairs], [self.target[i] for i in pairs]
        inputs, labels = [ids[:-1] for ids in target], [ids[1:] for ids in target]
        return [padded(part).to(device) for part in (source, inputs, labels)]

    def in_order(self, size):
        """The pairs in batches by length, as they are evaluated."""
        return in_batches(sorted(range(len(self.keys)), key=self.keys.__getitem__), size)

    def epoch(self, seed, epoch, size):
        """The batches of an epoch: shuffled pairs; grouped by length, they are sorted in pools of batches, and the batches
        shuffled."""
        if self.is_grouped:
            return grouped_batches(seed, epoch, self.keys, size)
        return in_batches(permutation(Stream(seed, "order", str(epoch)), len(self.keys)), size)


def padded(sentences):
    most = max(map(len, sentences))
    return torch.tensor([ids + [PADDING] * (most - len(ids)) for ids in sentences])


class Translator(nn.Module):
    """Embeddings, encoder, decoder and output layer."""

    def __init__(self, model):
        super().__init__()
        dim, self.scale = model["dim"], math.sqrt(model["dim"]) if model["scale_embedding"] else 1.0
        self.source_embedding = nn.Embedding(model["source_vocabulary"], dim)
        self.target_embedding = nn.Embedding(model["target_vocabulary"], dim)
        self.source_positions = nn.Embedding(model["positions"], dim)
        self.target_positions = nn.Embedding(model["positions"], dim)
        self.dropout = nn.Dropout(model["dropout"])
        activation = {
            "gelu": F.gelu,
            "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
            "relu": F.relu,
        }[model["activation"]]
        settings = dict(
            d_model=dim,
            nhead=model["heads"],
            dim_feedforward=round(model["mlp_ratio"] * dim),
            dropout=model["dropout"],
            activation=activation,
            layer_norm_eps=model["norm_eps"],
            norm_first=model["norm"] == "pre",
            batch_first=True,
        )
        norm = lambda *stacks: nn.LayerNorm(dim, model["norm_eps"]) if model["final_norm"] in stacks else None
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**settings), model["depth"], norm("both"), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**settings),
            model.get("decoder_depth") or model["depth"],
            norm("both", "decoder"),
        )
        for layer in [*self.encoder.layers, *self.decoder.layers]:
            layer.dropout.p = model["activation_dropout"]
            attentions = [part for part in layer.children() if isinstance(part, nn.MultiheadAttention)]
            for attention in attentions:
                attention.dropout = model["attention_dropout"]
        self.output = nn.Linear(dim, model["target_vocabulary"], bias=model["output_bias"])
        if model["tied"]:
            self.output.weight = self.target_embedding.weight

    def embed(self, ids, words, positions):
        return self.dropout(words(ids) * self.scale + positions.weight[: ids.shape[1]])

    def encode(self, source):
        """Ids [batch, tokens] → the memory, and where it is padding."""
        padding = source == PADDING
        x = self.embed(source, self.source_embedding, self.source_positions)
        return self.encoder(x, src_key_padding_mask=padding), padding

    def decode(self, target, memory, padding):
        """Ids [batch, tokens] → [batch, tokens, dim]. Padding is behind a sentence, where no token looks."""
        tokens = target.shape[1]
        later = torch.ones(tokens, tokens, dtype=torch.bool, device=target.device).triu(1)
        x = self.embed(target, self.target_embedding, self.target_positions)
        return self.decoder(x, memory, later, memory_key_padding_mask=padding, tgt_is_causal=True)

    def forward(self, source, target):
        return self.output(self.decode(target, *self.encode(source)))

    def matrices(self, attention_init):
        """The matrices by this program's names, with the rows that their initial values are made for."""
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue
            dim = weight.shape[1]
            queries = dim if attention_init == "separate" else 3 * dim
            if name.endswith("multihead_attn.in_proj_weight"):
                for part, matrix in zip(("query", "key", "value"), weight.chunk(3)):
                    yield name.replace("in_proj_weight", f"{part}.weight"), matrix, queries
            elif name.endswith("in_proj_weight"):
                yield name.replace("in_proj_weight", "in_proj.weight"), weight, queries
            else:
                yield name, weight, weight.shape[0]

    @torch.no_grad()
    def initialise(self, attention_init, seed=None):
        """Matrices become Xavier-uniform, by the streams of a seed or by PyTorch's generator; biases zero."""
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
        for name, matrix, rows in self.matrices(attention_init):
            bound = math.sqrt(6 / (matrix.shape[1] + rows))
            if seed is None:
                matrix.uniform_(-bound, bound)
                continue
            values = bound * (2 * uniform(Stream(seed, "init", name), matrix.numel()) - 1)
            matrix.copy_(torch.tensor(values.astype(np.float32)).reshape(matrix.shape))


def corpus(run, spec, folder):
    """Training, validation and test, and the number of target words."""
    both = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))
    source, target = (tokenizers.Tokenizer.from_str(json.dumps(both[side])) for side in ("source", "target"))
    data = spec["data"]
    of = lambda name, **settings: Split(folder / f"{name}.jsonl", data, source, target, **settings)
    return of("train", is_training=True), of("val"), of("test"), target


def train(model, spec, splits, seed, steps, device, on_step, on_epoch):
    """Trains, and leaves the weights of the lowest validation loss. Returns tokens and seconds of training."""
    training, (training_split, validation) = spec["training"], splits
    parameters = list(model.parameters())
    groups = [
        {"params": [w for w in parameters if w.dim() >= 2], "weight_decay": training["weight_decay"]},
        {"params": [w for w in parameters if w.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (training["beta1"], training["beta2"])
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=training["epsilon"])
    size, step, epoch, tokens, seconds = training["batch_size"], 0, 0, 0, 0.0
    whole = training["epochs"] * math.ceil(len(training_split.keys) / size)
    planned = min(whole, training.get("steps") or whole)
    steps = min(planned, steps or planned)
    best, best_weights = math.inf, None
    while step < steps:
        model.train()
        begun, losses, weights = time.monotonic(), 0.0, 0
        for pairs in training_split.epoch(seed, epoch, size)[: steps - step]:
            source, target, labels = training_split.batch(pairs, device)
            loss = F.cross_entropy(
                model(source, target).flatten(0, 1),
                labels.flatten(),
                ignore_index=PADDING,
                label_smoothing=training["label_smoothing"],
            )
            adamw.zero_grad()
            loss.backward()
            if training["clip_norm"] is not None:
                nn.utils.clip_grad_norm_(parameters, training["clip_norm"])
            for group in adamw.param_groups:
                group["lr"] = rate(training, step, planned)
            adamw.step()
            step += 1
            predicted = sum(training_split.keys[pair][1] for pair in pairs)
            on_step(step, loss.item())
            losses, weights = losses + predicted * loss.item(), weights + predicted
        tokens, seconds, epoch = tokens + weights, seconds + time.monotonic() - begun, epoch + 1
        found = mean_loss(model, validation, size, device)
        on_epoch(epoch, losses / weights, found)
        if found < best:
            best, best_weights = found, {name: w.detach().clone() for name, w in model.state_dict().items()}
    model.load_state_dict(best_weights)
    return tokens, seconds


def mean_loss(model, split, size, device):
    """Mean cross-entropy of a token, in nats."""
    return sum(losses_of_sentences(model, split, size, device)) / sum(target for _, target in split.keys)


def interleaved(source, target):
    """torchtext's key of a pair: the bits of both lengths in turn."""
    bits = zip(f"{source:016b}", f"{target:016b}")
    return int("".join(bit for pair in bits for bit in pair), 2)


def by_batches(losses, tokens, sources, targets, size):
    """The mean over batches of their mean losses of a token, with sentences sorted as torchtext sorts them. The lengths are
    those in words, without marks."""
    order = sorted(range(len(losses)), key=lambda i: interleaved(sources[i], targets[i]))
    batches = in_batches(order, size)
    means = [sum(losses[i] for i in batch) / sum(tokens[i] for i in batch) for batch in batches]
    return sum(means) / len(means)


@torch.no_grad()
def losses_of_sentences(model, split, size, device):
    """The summed cross-entropy of each sentence, in nats."""
    model.eval()
    found = [0.0] * len(split.keys)
    for pairs in split.in_order(size):
        source, target, labels = split.batch(pairs, device)
        logits = model(source, target).transpose(1, 2)
        sums = F.cross_entropy(logits, labels, ignore_index=PADDING, reduction="none").sum(1)
        for pair, value in zip(pairs, sums.tolist()):
            found[pair] = value
    return found


def perplexities(losses, split, size):
    """Both perplexities as a text."""
    tokens = [target for _, target in split.keys]
    sources = [source - 2 for source, _ in split.keys]
    targets = [target - 1 for target in tokens]
    over_tokens = sum(losses) / sum(tokens)
    over_batches = by_batches(losses, tokens, sources, targets, size)
    return (
        f"loss {over_tokens:.5f}, perplexity {math.exp(over_tokens):.3f}; "
        f"over batches {over_batches:.5f}, perplexity {math.exp(over_batches):.3f}"
    )


@torch.no_grad()
def translations(model, spec, split, tokenizer, device):
    """Greedy translations of a split, in words. The whole beginning is computed again for each token."""
    model.eval()
    decoding, positions = spec["data"]["decoding"], spec["model"]["positions"]
    known, found = tokenizer.get_vocab_size(), [""] * len(split.keys)
    word = lambda token: "<unk>" if token == UNKNOWN else tokenizer.id_to_token(token)
    for pairs in split.in_order(spec["training"]["batch_size"]):
        source, _, _ = split.batch(pairs, device)
        memory, padding = model.encode(source)
        limits = [int(decoding["length_ratio"] * (split.keys[pair][0] - 1)) for pair in pairs]
        limits = [min(max(limit + decoding["extra_tokens"], 1), positions) for limit in limits]
        # The rows of sentences whose translations go on.
        rows, target = list(range(len(pairs))), torch.full([len(pairs), 1], BEGIN, device=device)
        while rows:
            logits = model.output(model.decode(target, memory, padding)[:, -1])[:, :known]
            logits[:, [PADDING, BEGIN]] = -math.inf
            # The last token of a translation at its limit is END.
            chosen, length = logits.argmax(1), target.shape[1]
            goes_on = [token != END and length < limits[row] for token, row in zip(chosen.tolist(), rows)]
            for row, ids, more in zip(rows, target[:, 1:].tolist(), goes_on):
                if not more:
                    found[pairs[row]] = " ".join(map(word, ids))
            rows = [row for row, more in zip(rows, goes_on) if more]
            keep = torch.tensor(goes_on, device=device)
            target, memory, padding = torch.cat([target, chosen[:, None]], 1)[keep], memory[keep], padding[keep]
    return found


def compare(run, record, options):
    """Repeats a run; whether its losses are within this of ours."""
    spec, seed, device = record["spec"], record["seed"], options.device
    expect(run, spec["model"], DROPOUT)
    training, validation, test, target = corpus(run, spec, options.data)
    model = Translator(spec["model"])
    model.initialise(spec["model"]["attention_init"], seed)
    model.to(device, torch.float64 if options.double else torch.float32)
    print(f"{sum(w.numel() for w in model.parameters())} parameters")
    steps = lines(run, "steps.jsonl")
    validated = {epoch["step"]: epoch["validation_loss"] for epoch in lines(run, "epochs.jsonl")}
    if not steps:
        sys.exit(f"{run}: no steps")
    differences, of_epochs = [], []

    def on_step(step, loss):
        theirs = steps[step - 1]["loss"]
        differences.append((abs(loss - theirs), step))
        if step in (1, 10) or step % 100 == 0:
            largest, _ = max(differences)
            print(f"step {step}: {loss:.5f} here, {theirs:.5f} there, at most {largest:.1e} so far", flush=True)

    def on_epoch(epoch, _, loss):
        theirs = validated.get(len(differences))
        if theirs is None and len(differences) == options.steps:
            # The last epoch ends before that of the run.
            return
        if theirs is None:
            sys.exit(f"{run}: no validation after step {len(differences)}")
        of_epochs.append(abs(loss - theirs))
        print(f"validation loss after epoch {epoch}: {loss:.5f} here, {theirs:.5f} there", flush=True)

    train(model, spec, (training, validation), seed, options.steps, device, on_step, on_epoch)
    largest, step = max(differences)
    print(f"losses of {len(differences)} steps differ by at most {largest:.2e} (step {step})")
    apart = [difference for difference, _ in differences] + of_epochs
    if len(differences) < len(steps):
        return all_within(apart, options.within)
    outcomes = lines(run, "test.jsonl")
    theirs = sum(o["loss"] for o in outcomes) / sum(o["tokens"] for o in outcomes)
    own = mean_loss(model, test, spec["training"]["batch_size"], device)
    print(f"test loss {own:.5f} here, {theirs:.5f} there")
    found = translations(model, spec, test, target, device)
    same = sum(text == o["hypothesis"] for text, o in zip(found, outcomes))
    print(f"{same} of {len(found)} greedy translations are the same")
    return all_within([*apart, abs(own - theirs)], options.within)


def train_alone(run, record, options):
    """Trains the recipe of a run and prints its results."""
    from sacrebleu.metrics import BLEU

    spec, device = record["spec"], options.device
    seed = record["seed"] if options.seed is None else options.seed
    training, validation, test, target = corpus(run, spec, options.data)
    torch.manual_seed(seed)
    model = Translator(spec["model"])
    model.initialise(spec["model"]["attention_init"], options.init_seed)
    model.to(device)
    print(f"{sum(w.numel() for w in model.parameters())} parameters, seed {seed}")

    def on_step(step, loss):
        if step in (1, 10) or step % 100 == 0:
            print(f"step {step}: loss {loss:.5f}", flush=True)

    def on_epoch(epoch, loss, found):
        print(f"epoch {epoch}: loss {loss:.5f}, validation loss {found:.5f}", flush=True)

    tokens, seconds = train(model, spec, (training, validation), seed, options.steps, device, on_step, on_epoch)
    # Linux counts in KiB.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    size = spec["training"]["batch_size"]
    scores = perplexities(losses_of_sentences(model, test, size, device), test, size)
    found = translations(model, spec, test, target, device)
    lowercase = spec["data"].get("lowercase", False)
    print(f"test: {scores}")
    for name, tokenize, references in [("BLEU", "13a", test.references), ("word BLEU", "none", test.in_words)]:
        metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
        print(f"{name} {metric.corpus_score(found, [references]).score:.2f} ({metric.get_signature()})")
    print(f"{tokens / seconds:.0f} tokens/s in training, at most {memory / 2**20:.0f} MiB in use")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of the dataset's JSON lines")
    parser.add_argument("--within", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, help="end after so many steps")
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--double", action="store_true", help="compare with what float64 gives")
    parser.add_argument("--train", action="store_true", help="train the recipe without a comparison")
    parser.add_argument("--score", action="store_true", help="print the perplexities of the runs")
    parser.add_argument("--seed", type=int, help="of --train, in place of the run's")
    parser.add_argument("--init-seed", type=int, help="of --train: initial weights of this seed, as this program draws them")
    options = parser.parse_args()
    if options.init_seed is not None and not options.train:
        parser.error("--init-seed is of --train")
    records = [(run, json.loads((run / "spec.json").read_text())) for run in options.runs]
    dense = [(run, record) for run, record in records if record["spec"]["method"] == "dense"]
    if not dense:
        sys.exit("none of the runs is dense")
    for run, record in dense:
        spec = record["spec"]
        parts = [(spec["data"], DATA), (spec["data"]["tokenizer"], TOKENIZER), (spec["model"], MODEL)]
        for settings, expected in [*parts, (spec["training"], TRAINING)]:
            expect(run, settings, expected)
    if options.score:
        for run, record in dense:
            test = corpus(run, record["spec"], options.data)[2]
            losses = [outcome["loss"] for outcome in lines(run, "test.jsonl")]
            size = record["spec"]["training"]["batch_size"]
            print(f"{run.name}, seed {record['seed']}: {perplexities(losses, test, size)}")
    elif options.train:
        train_alone(*dense[0], options)
    else:
        sys.exit(int(not all([compare(run, record, options) for run, record in dense])))


if __name__ == "__main__":
    main()
