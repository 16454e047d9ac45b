"""Makes tests/fixtures/checkpoints/: files as users of other programs have them.

`authors`, `timm` and `timm-mean`: state dicts. `hf-vit/` and `hf-bert/`: folders that
transformers' save_pretrained writes; `hf-vit-sharded/` is the model of `hf-vit/` over several
files, with names of its classes and an image processor. `expected.safetensors`: `images`, the
logits that each image model gives them (`authors.logits`, …), bytes of images and what that
processor makes of them (`processor.bytes`, `processor.values`), and as metadata `settings`: what each model is, in
JSON, the number of heads and alpha included, which no state dict tells.
"""

import json

import torch
import transformers
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from vlora import VisionTransformerVLoRA

import readings
from stable import save_stable

# Heads differ, so that a reader that guesses them is found out.
MODEL = dict(image_size=8, patch_size=4, channels=3, classes=5, dim=12, mlp_ratio=2.0)
CLASS_TOKEN = MODEL | dict(pool="class-token", norm_eps=1e-6)
SETTINGS = {
    "authors": CLASS_TOKEN | dict(depth=6, heads=4, compound_size=3, rank=2, alpha=5),
    "timm": CLASS_TOKEN | dict(depth=2, heads=3),
    "timm-mean": CLASS_TOKEN | dict(depth=3, heads=2, mlp_ratio=3.0, pool="mean"),
    "hf-vit": CLASS_TOKEN | dict(depth=3, heads=6, norm_eps=1e-12),
    "hf-bert": dict(depth=3, heads=2, dim=12, mlp_ratio=2.0, vocabulary=30, norm_eps=1e-12),
}


def authors(s):
    compounds = {"depth": s["depth"] // s["compound_size"]}
    increments = dict(vl_size=s["compound_size"], vl_rank=s["rank"], vl_alpha=s["alpha"])
    return VisionTransformerVLoRA(**increments, **readings.timm_settings(s) | compounds)


def timm(s):
    return VisionTransformer(**readings.timm_settings(s))


def hugging_face(s):
    """What the configs of Hugging Face's ViT and BERT have in common."""
    return dict(
        hidden_size=s["dim"],
        num_hidden_layers=s["depth"],
        num_attention_heads=s["heads"],
        intermediate_size=int(s["dim"] * s["mlp_ratio"]),
        hidden_act="gelu",
        layer_norm_eps=s["norm_eps"],
    )


def hf_vit(s):
    config = transformers.ViTConfig(
        image_size=s["image_size"],
        patch_size=s["patch_size"],
        num_channels=s["channels"],
        num_labels=s["classes"],
        **hugging_face(s),
    )
    return transformers.ViTForImageClassification(config)


def hf_bert(s):
    config = transformers.BertConfig(
        vocab_size=s["vocabulary"], max_position_embeddings=16, **hugging_face(s)
    )
    return transformers.BertModel(config)


CLASSES = ["tench", "goldfish", "great white shark", "tiger shark", "hammerhead"]


def shard(model, folder, expected):
    """The model over several files, with class names and a processor; and what that computes."""
    model.config.id2label = dict(enumerate(CLASSES))
    model.config.label2id = {name: number for number, name in enumerate(CLASSES)}
    model.save_pretrained(folder, max_shard_size="5KB")
    side = model.config.image_size
    processor = transformers.ViTImageProcessor(
        size={"height": side, "width": side},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor.save_pretrained(folder)
    # Every byte once a channel.
    pixels = torch.arange(256).reshape(4, 1, side, side).repeat(1, 3, 1, 1).to(torch.uint8)
    values = processor(list(pixels), return_tensors="pt")["pixel_values"]
    expected |= {"processor.bytes": pixels.float(), "processor.values": values}


def random(build, name, seed):
    torch.manual_seed(seed)
    model = build(SETTINGS[name]).eval()
    with torch.no_grad():
        # Away from the start, where norms are 1 and biases 0.
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def save_state(model, path):
    # A base weight comes once a layer of its compound, and safetensors refuses shared memory.
    state = {name: t.detach().clone().contiguous() for name, t in model.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt"}))


@torch.no_grad()
def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(60)
    images = torch.randn(4, 3, 8, 8)
    expected = {"images": images}
    states = {"authors": authors, "timm": timm, "timm-mean": timm}
    for seed, (name, build) in enumerate(states.items(), 61):
        model = random(build, name, seed)
        save_state(model, folder / f"{name}.safetensors")
        expected[f"{name}.logits"] = model(images)
    for seed, (name, build) in enumerate({"hf-vit": hf_vit, "hf-bert": hf_bert}.items(), 71):
        model = random(build, name, seed)
        model.save_pretrained(folder / name)
        if name == "hf-vit":
            expected[f"{name}.logits"] = model(images).logits
            shard(model, folder / "hf-vit-sharded", expected)
    settings = {"settings": json.dumps(SETTINGS)}
    save_stable(expected, folder / "expected.safetensors", settings)
    print(f"checkpoints: {', '.join(SETTINGS)}, hf-vit-sharded")
