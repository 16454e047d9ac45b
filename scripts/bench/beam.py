"""Beam search over Multi30k's test split in PyTorch, in turn with this program.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    cargo build --release
    env/bin/python scripts/bench/beam.py RUN --data FOLDER --vlora target/release/vlora

RUN is the folder of a finished dense run of experiments/paper/multi30k.yaml with its weights, --data the dataset's folder
with train.jsonl, val.jsonl and test.jsonl. Both sides translate the sources of the test split with the run's weights by
the same search: keys and values of earlier tokens are kept, those of the source are computed and kept once a sentence,
sentences of similar length are translated together, so many at a time as training took, and sentences that are done leave
the batch. In PyTorch hypotheses are ranked by `topk` over a whole batch. Exits if less than 99 % of the translations are
the same: rounding may decide between two hypotheses.

vlora's time is that of `vlora translate` less that of the same command without lines, so that neither side's time has the
start of a process or the reading of weights in it. It has tokenising and putting together, PyTorch's has not.

Every round runs both, and every second round goes the other way. Prints a line for each round and one JSON object: the
ratio of PyTorch's time to vlora's in each round, and how many translations are the same.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts/reference"), str(ROOT / "scripts/bench")]

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from multi30k_parity import BEGIN, END, PADDING, UNKNOWN, Translator, corpus
from text_step import quartiles


def model_of(run, spec):
    """The model with the run's weights."""
    model = Translator(spec["model"])
    ours, theirs = load_file(run / "model.safetensors"), {}
    for name in model.state_dict():
        if name.endswith("multihead_attn.in_proj_weight") or name.endswith("multihead_attn.in_proj_bias"):
            start, end = name.rsplit(".in_proj_", 1)
            theirs[name] = torch.cat([ours[f"{start}.{part}.{end}"] for part in ("query", "key", "value")])
        else:
            theirs[name] = ours[name.replace("in_proj_", "in_proj.")]
    model.load_state_dict(theirs)
    return model.eval()


def heads_of(x, heads):
    """[rows, tokens, dim] → [rows, heads, tokens, dim / heads]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Search:
    """Beam search by fairseq's rules, with a cache."""

    def __init__(self, model, beam, penalty, known):
        self.model, self.beam, self.penalty, self.known = model, beam, penalty, known
        self.layers = model.decoder.layers
        self.heads = self.layers[0].self_attn.num_heads

    def keys_and_values(self, memory):
        """Of the source, for each layer."""
        found = []
        for layer in self.layers:
            attention, dim = layer.multihead_attn, memory.shape[-1]
            weight, bias = attention.in_proj_weight[dim:], attention.in_proj_bias[dim:]
            found.append([heads_of(x, self.heads) for x in F.linear(memory, weight, bias).chunk(2, -1)])
        return found

    def next(self, ids, position, cache, sources, mask):
        """The logits of the next token of each row. A sentence's rows, its hypotheses, follow each other; the keys and
        values of its source are there once."""
        model, sentences = self.model, len(mask)
        x = model.target_embedding(ids) * model.scale + model.target_positions.weight[position : position + 1]
        for number, layer in enumerate(self.layers):
            own, cross = layer.self_attn, layer.multihead_attn
            queries, keys, values = (
                heads_of(part, self.heads) for part in F.linear(x, own.in_proj_weight, own.in_proj_bias).chunk(3, -1)
            )
            if cache[number] is not None:
                keys = torch.cat([cache[number][0], keys], 2)
                values = torch.cat([cache[number][1], values], 2)
            cache[number] = (keys, values)
            found = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
            x = layer.norm1(x + own.out_proj(found))
            dim = x.shape[-1]
            queries = F.linear(x, cross.in_proj_weight[:dim], cross.in_proj_bias[:dim]).view(sentences, -1, dim)
            keys, values = sources[number]
            found = F.scaled_dot_product_attention(heads_of(queries, self.heads), keys, values, mask)
            found = found.transpose(1, 2).reshape(x.shape)
            x = layer.norm2(x + cross.out_proj(found))
            x = layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))
        return model.output(x[:, -1])

    @torch.inference_mode()
    def translate(self, source, limits):
        """Ids [batch, tokens] and the most tokens of each translation → translations as lists of ids."""
        model, beam = self.model, self.beam
        memory, padding = model.encode(source)
        sources = self.keys_and_values(memory)
        mask = ~padding[:, None, None, :]
        count = len(source)
        open_, finished = list(range(count)), [[] for _ in range(count)]
        hypotheses = [[[]] for _ in range(count)]
        scores = torch.zeros(count, 1)
        ids = torch.full([count, 1], BEGIN)
        cache = [None] * len(self.layers)
        width = 1
        for position in range(max(limits)):
            logits = self.next(ids, position, cache, sources, mask)[:, : self.known]
            chances = logits.log_softmax(-1)
            chances[:, [PADDING, BEGIN]] = -math.inf
            must_end = torch.tensor([position + 1 >= limits[own] for own in open_])
            if must_end.any():
                rows = must_end.repeat_interleave(width)
                ends = chances[rows, END].clone()
                chances[rows] = -math.inf
                chances[rows, END] = ends
            summed = (scores[..., None] + chances.unflatten(0, (len(open_), width))).flatten(1)
            best, places = summed.topk(2 * beam, 1)
            best, places = best.tolist(), places.tolist()
            rows, tokens, kept, still, sentences = [], [], [], [], []
            for at, own in enumerate(open_):
                following, values, from_ = [], [], []
                for rank, (score, place) in enumerate(zip(best[at], places[at])):
                    if score == -math.inf:
                        continue
                    before, token = divmod(place, self.known)
                    if token == END:
                        if rank < beam and len(finished[own]) < beam:
                            words = hypotheses[own][before]
                            finished[own].append((score / (len(words) + 1) ** self.penalty, words))
                    elif len(following) < beam:
                        following.append(hypotheses[own][before] + [token])
                        values.append(score)
                        from_.append(at * width + before)
                if len(finished[own]) >= beam or position + 1 >= limits[own]:
                    continue
                hypotheses[own] = following
                still.append(own)
                sentences.append(at)
                rows += from_
                tokens += [words[-1] for words in following]
                kept.append(values)
            if not still:
                break
            rows = torch.tensor(rows)
            cache = [(keys[rows], values[rows]) for keys, values in cache]
            if len(still) < len(open_):
                sources = [[part[sentences] for part in layer] for layer in sources]
                mask = mask[sentences]
            scores, ids, width, open_ = torch.tensor(kept), torch.tensor(tokens)[:, None], beam, still
        return [max(own, key=lambda found: found[0])[1] if own else [] for own in finished]


def pytorch(model, spec, split, tokenizer, beam):
    """All translations, and the seconds that they take."""
    decoding, known = spec["data"]["decoding"], tokenizer.get_vocab_size()
    search = Search(model, beam, decoding.get("length_penalty", 1.0), known)
    found = [""] * len(split.keys)
    batches = []
    for pairs in split.in_order(spec["training"]["batch_size"]):
        limits = [int(decoding["length_ratio"] * (split.keys[pair][0] - 1)) for pair in pairs]
        limits = [min(max(limit + decoding["extra_tokens"], 1), spec["model"]["positions"]) for limit in limits]
        batches.append((pairs, split.batch(pairs, "cpu")[0], limits))
    begun = time.perf_counter()
    for pairs, source, limits in batches:
        for pair, ids in zip(pairs, search.translate(source, limits)):
            found[pair] = ids
    seconds = time.perf_counter() - begun
    word = lambda token: "<unk>" if token == UNKNOWN else tokenizer.id_to_token(token)
    return [" ".join(map(word, ids)) for ids in found], seconds


def program(options, lines):
    command = [options.vlora, "translate", options.run, "--beam", options.beam, "--device", "cpu"]
    environment = os.environ | {"RAYON_NUM_THREADS": str(options.threads)}

    def run(text):
        begun = time.perf_counter()
        done = subprocess.run(
            list(map(str, command)), input=text, stdout=subprocess.PIPE, text=True, env=environment, check=True
        )
        return done.stdout.splitlines(), time.perf_counter() - begun

    _, start = run("")
    found, seconds = run("".join(line + "\n" for line in lines))
    return found, seconds - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--vlora", type=pathlib.Path, required=True)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    spec = json.loads((options.run / "spec.json").read_text())["spec"]
    _, _, test, target = corpus(options.run, spec, options.data)
    column = spec["data"]["source_column"]
    lines = [json.loads(line)[column].strip() for line in (options.data / "test.jsonl").open(encoding="utf-8")]
    model = model_of(options.run, spec)
    sides = {
        "vlora": lambda: program(options, lines),
        "pytorch": lambda: pytorch(model, spec, test, target, options.beam),
    }
    rounds = []
    for number in range(options.rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        found = {side: sides[side]() for side in order}
        same = sum(a == b for a, b in zip(found["vlora"][0], found["pytorch"][0]))
        if same < 0.99 * len(lines):
            sys.exit(f"only {same} of {len(lines)} translations are the same")
        seconds = {side: own for side, (_, own) in found.items()}
        rounds.append({**seconds, "same": same, "ratio": seconds["pytorch"] / seconds["vlora"]})
        print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
    ratios = [own["ratio"] for own in rounds]
    print(json.dumps({
        "beam": options.beam,
        "sentences": len(lines),
        "ratio": {"median": statistics.median(ratios), "quartiles": quartiles(ratios), "range": [min(ratios), max(ratios)]},
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "rounds": rounds,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
