"""MiniLM with a classifier in transformers, and batches of texts, as this program has them."""

import pathlib

import pyarrow.parquet
import torch
from transformers import AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from streams import POOL

# From experiments/paper/sst2-minilm.yaml, with this program's defaults for the rest.
RECIPE = {
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 5e-5,
    "min_learning_rate_ratio": 0.0,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "clip_norm": 1.0,
}
MAX_TOKENS, CLASSES = 64, 2


# Silences the warning about MiniLM's unused pooler, and the progress bar.
logging.set_verbosity_error()
logging.disable_progress_bar()


class Classifier(torch.nn.Module):
    """BertModel, the mean over non-padding tokens, dropout, and a linear classifier."""

    def __init__(self, minilm, dropout, attention="sdpa"):
        super().__init__()
        settings = BertConfig.from_pretrained(minilm)
        settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = dropout
        self.bert = BertModel.from_pretrained(
            minilm, config=settings, add_pooling_layer=False, attn_implementation=attention
        )
        self.dropout = torch.nn.Dropout(dropout)
        self.classifier = torch.nn.Linear(settings.hidden_size, CLASSES)
        torch.nn.init.normal_(self.classifier.weight, std=0.02)
        torch.nn.init.zeros_(self.classifier.bias)

    def forward(self, ids, lengths):
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        x = self.bert(ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(x.dtype)
        pooled = (x * weights).sum(1) / weights.sum(1)
        return self.classifier(self.dropout(pooled))


def decays(name):
    """Weight decay is for matrices and tables."""
    return not name.endswith(".bias") and "LayerNorm" not in name


def optimizer(model, recipe, **more):
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if decays(n)], "weight_decay": recipe["weight_decay"]},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ]
    betas = (recipe["beta1"], recipe["beta2"])
    return torch.optim.AdamW(
        groups, lr=recipe["learning_rate"], betas=betas, eps=recipe["epsilon"], **more
    )


class Split:
    """Texts as tokens, and their labels."""

    def __init__(self, tokenizer, folder, split):
        table = pyarrow.parquet.read_table(pathlib.Path(folder) / f"{split}.parquet")
        texts = table.column("text").to_pylist()
        self.ids = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        self.labels = torch.tensor(table.column("label").to_pylist())
        self.lengths = torch.tensor([len(ids) for ids in self.ids])

    def batch(self, texts):
        """Ids [texts, longest] padded with 0, lengths and labels."""
        rows = [torch.tensor(self.ids[i]) for i in texts]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
        return ids, self.lengths[texts], self.labels[texts]

    def epoch(self, size, generator):
        """Batches of about the same length, as src/data/text/batches.rs makes them."""
        order = torch.randperm(len(self.ids), generator=generator)
        pools = [p[torch.argsort(self.lengths[p], stable=True)] for p in order.split(size * POOL)]
        batches = torch.cat(pools).split(size)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator)]


def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)
