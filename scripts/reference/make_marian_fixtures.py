#!/usr/bin/env python3
"""Makes tests/fixtures/marian/: a tiny Marian in Hugging Face's layout and what transformers makes of it.

    python3 -m venv env && env/bin/pip install -r scripts/reference/requirements.txt
    env/bin/python scripts/reference/make_marian_fixtures.py

It is random but for a few steps of training. The folder has what a repository of Helsinki-NLP has: `config.json`, `model.safetensors`, `vocab.json`, and a
SentencePiece model of pieces for each language, `source.spm` and `target.spm`. The vocabulary has the pieces of
both. Pieces of the source are normalised by `nmt_nfkc`, those of the target are not.

`expected.json`:

- `odd`: more lines. `source_ids`, `target_ids`: the tokens of the lines of tests/fixtures/tokenizer/lines.json and of
  these.
- `pairs`: sentences with the greedy translation of the source, at most LIMIT tokens, its tokens, and the loss of
  each token of the reference.
"""

import io
import json
import pathlib

import sentencepiece
import torch
import transformers
from safetensors.torch import load_file
from stable import save_stable
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

FIXTURES = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fixtures"
OUT = FIXTURES / "marian"
PIECES = {"source": 120, "target": 100}
LIMIT = 20
STEPS = 150

SENTENCES = [
    ("Ein kleiner Hund läuft über die Wiese.", "A small dog runs across the meadow."),
    ("Zwei Frauen sitzen auf einer Bank und lachen.", "Two women are sitting on a bench and laughing."),
    ("Der Mann liest eine Zeitung, während er auf den Zug wartet.", "The man reads a newspaper while waiting for the train."),
    ("Kinder spielen am Strand mit einem roten Ball.", "Children are playing with a red ball at the beach."),
    ("Eine Gruppe von Menschen steht vor einem großen Gebäude.", "A group of people stands in front of a large building."),
    ("Das Mädchen trägt ein blaues Kleid und einen Hut.", "The girl is wearing a blue dress and a hat."),
    ("Ein Koch schneidet Gemüse in der Küche.", "A cook is cutting vegetables in the kitchen."),
    ("Drei Jungen fahren mit ihren Fahrrädern durch den Park.", "Three boys ride their bikes through the park."),
    ("Im Winter liegt viel Schnee auf den Bergen.", "In winter there is much snow on the mountains."),
    ("Ich weiß nicht, wo der Schlüssel ist.", "I don't know where the key is."),
    ("Heute ist ein schöner Tag!", "Today is a beautiful day!"),
    ("Um 12:30 Uhr fährt der Bus nach Köln ab.", "The bus to Cologne leaves at 12:30."),
]  # fmt: skip


# Letters with several accents and other parts, languages' codes, and spaces.
ODD = [
    "Tie\u0302\u0301ng Vie\u0323\u0302t ngu\u031b\u0303",
    "\u2460\u0301 \ufb01\u0301 A\u030a\u0301 e\u0301\u0323",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "\uff76\uff9e\uff8a\uff9f",
    ">>fra<< Ein Hund",
    ">>fra<<",
    ">>deu<< Ein Hund",
    "Ein Hund >>fra<<",
    ">> kein << Code",
    ">>fra< kein Code",
    "  zwei   Leerzeichen  ",
    "Tab\tund\u00a0geschützt\u2003weit",
]


def pieces(side, sentences):
    """A SentencePiece model as a file's content."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=PIECES[side],
        model_type="unigram",
        normalization_rule_name="nmt_nfkc" if side == "source" else "identity",
        bos_id=-1,
        eos_id=0,
        unk_id=1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def train(model, tokenizer):
    """Some steps, so that translations differ and end."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(STEPS):
        loss = 0
        for source, reference in SENTENCES:
            labels = tokenizer(text_target=reference, return_tensors="pt")["input_ids"]
            loss += model(**tokenizer(source, return_tensors="pt"), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    names = []
    for side, lines in zip(["source", "target"], zip(*SENTENCES)):
        (OUT / f"{side}.spm").write_bytes(pieces(side, lines))
        processor = sentencepiece.SentencePieceProcessor(str(OUT / f"{side}.spm"))
        names += [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    names = list(dict.fromkeys(["</s>", "<unk>", ">>fra<<", *sorted(names), "<pad>"]))
    # A piece that the source's SentencePiece knows and the vocabulary does not.
    dropped = next(name for name in names if len(name) > 3 and name.startswith("▁"))
    names.remove(dropped)
    vocabulary = {name: i for i, name in enumerate(names)}
    (OUT / "vocab.json").write_text(json.dumps(vocabulary, indent=1) + "\n")
    padding = vocabulary["<pad>"]
    config = MarianConfig(
        vocab_size=len(names),
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=64,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=padding,
        eos_token_id=0,
        decoder_start_token_id=padding,
        bos_token_id=0,
        forced_eos_token_id=0,
        dropout=0.1,
        attention_dropout=0.0,
        activation_dropout=0.0,
        init_std=0.3,
    )
    torch.manual_seed(7)
    model = MarianMTModel(config)
    # Zero would hide that it is forgotten.
    model.final_logits_bias.normal_(std=0.5)
    tokenizer = MarianTokenizer(
        source_spm=str(OUT / "source.spm"),
        target_spm=str(OUT / "target.spm"),
        vocab=str(OUT / "vocab.json"),
        source_lang="de",
        target_lang="en",
        model_max_length=64,
    )
    train(model, tokenizer)
    model.save_pretrained(OUT)
    (OUT / "generation_config.json").unlink(missing_ok=True)
    path = OUT / "model.safetensors"
    save_stable(load_file(path), path, {"format": "pt"})

    lines = json.loads((FIXTURES / "tokenizer/lines.json").read_text()) + ODD
    ids = {
        "source_ids": [tokenizer(line)["input_ids"] for line in lines],
        "target_ids": [tokenizer(text_target=line)["input_ids"] for line in lines],
    }
    generation = GenerationConfig(
        max_length=LIMIT + 1,
        num_beams=1,
        do_sample=False,
        bad_words_ids=[[padding]],
        decoder_start_token_id=padding,
        eos_token_id=0,
        pad_token_id=padding,
        forced_eos_token_id=0,
    )
    pairs = []
    for source, reference in SENTENCES:
        inputs = tokenizer(source, return_tensors="pt")
        labels = tokenizer(text_target=reference, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            out = model.generate(**inputs, generation_config=generation)[0]
            logits = model(**inputs, labels=labels).logits[0].double()
        losses = -logits.log_softmax(-1).gather(1, labels[0][:, None])[:, 0]
        pairs.append({
            "source": source,
            "reference": reference,
            "tokens": out[1:].tolist(),
            "translation": tokenizer.decode(out, skip_special_tokens=True),
            "losses": losses.tolist(),
        })  # fmt: skip
    expected = {"transformers": transformers.__version__, "limit": LIMIT, "pairs": pairs, "odd": ODD, **ids}
    (OUT / "expected.json").write_text(json.dumps(expected) + "\n")
    for pair in pairs:
        print(len(pair["tokens"]), pair["translation"])
    print(parameters(model), "parameters;", len(names), "tokens; without", dropped)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
