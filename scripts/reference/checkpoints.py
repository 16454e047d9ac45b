"""Makes tests/fixtures/checkpoints/: files as users of other programs have them.

`authors`, `timm` and `timm-mean`: state dicts. `hf-vit/` and `hf-bert/`: folders that
transformers' save_pretrained writes; `hf-vit-sharded/` is the model of `hf-vit/` over several
files, with names of its classes and an image processor. `expected.safetensors`: `images`, the
logits that each image model gives them (`authors.logits`, …), bytes of images and what that
processor makes of them (`processor.bytes`, `processor.values`), and as metadata `settings`: what each model is, in
JSON, the number of heads and alpha included, which no state dict tells.

`timm-folder/` and `timm-folder-mean/`: `config.json` as timm's save_config_for_hf writes it, with
the weights. `fields.json`: fields of `timm-folder/`'s and `hf-vit/`'s descriptions set to other
values, and what the program then makes of the same weights: the logits of `images`, or null where
it does not load them. `positions.safetensors`: position embeddings resampled by timm's
resample_abs_pos_embed and by transformers' ViT, and logits of the models for larger images.
"""

import copy
import json

import timm as timm_package
import torch
import transformers
from safetensors.torch import save
from timm.layers import resample_abs_pos_embed
from timm.models._hub import save_config_for_hf
from timm.models.vision_transformer import VisionTransformer
from vlora import VisionTransformerVLoRA

import readings
from stable import save_stable

# Heads differ between the models, so that a reader that guesses them fails.
MODEL = dict(image_size=8, patch_size=4, channels=3, classes=5, dim=12, mlp_ratio=2.0)
CLASS_TOKEN = MODEL | dict(pool="class-token", norm_eps=1e-6)
SETTINGS = {
    "authors": CLASS_TOKEN | dict(depth=6, heads=4, compound_size=3, rank=2, alpha=5),
    "timm": CLASS_TOKEN | dict(depth=2, heads=3),
    "timm-mean": CLASS_TOKEN | dict(depth=3, heads=2, mlp_ratio=3.0, pool="mean"),
    "timm-folder": CLASS_TOKEN | dict(depth=2, heads=2),
    "timm-folder-mean": CLASS_TOKEN | dict(depth=2, heads=6, pool="mean"),
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
    """Settings that the configs of Hugging Face's ViT and BERT share."""
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
    """Saves the model in several files, with class names and a processor.

    Also records what the processor computes.
    """
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
    # Every byte value once per channel.
    pixels = torch.arange(256).reshape(4, 1, side, side).repeat(1, 3, 1, 1).to(torch.uint8)
    values = processor(list(pixels), return_tensors="pt")["pixel_values"]
    expected |= {"processor.bytes": pixels.float(), "processor.values": values}


def arguments(s):
    """Arguments of timm's create_model, also used as model_args in its config.json."""
    names = dict(image_size="img_size", channels="in_chans", classes="num_classes", dim="embed_dim")
    names |= dict(patch_size="patch_size", depth="depth", heads="num_heads", mlp_ratio="mlp_ratio")
    pool = dict(global_pool="avg", class_token=False) if s["pool"] == "mean" else {}
    return {theirs: s[ours] for ours, theirs in names.items()} | pool


def timm_folder(s):
    size = dict(input_size=(s["channels"], s["image_size"], s["image_size"]))
    overlay = size | dict(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.125))
    return timm_package.create_model(
        "vit_tiny_patch16_224", pretrained_cfg_overlay=overlay, **arguments(s)
    )


def save_timm_folder(model, name, folder, images):
    """Saves the folder; returns the logits of the model that timm loads from it."""
    folder.mkdir(exist_ok=True)
    save_state(model, folder / "model.safetensors")
    labels = dict(label_names=CLASSES)
    save_config_for_hf(model, folder / "config.json", labels, arguments(SETTINGS[name]))
    config = json.loads((folder / "config.json").read_text())
    return timm_logits(config, model.state_dict(), images)


def timm_logits(config, state, images):
    """The logits with a config.json read as by `timm.create_model("hf-hub:…")`; None if it refuses."""
    cfg = config["pretrained_cfg"] | dict(num_classes=config["num_classes"])
    try:
        model = timm_package.create_model(
            config["architecture"], pretrained_cfg=cfg, **config.get("model_args", {})
        )
        model.load_state_dict(state)
        return model.eval()(images)
    except Exception:
        return None


# Arguments of timm's VisionTransformer, each at a value other than its default.
ARGUMENTS = dict(
    act_layer=["gelu", "quick_gelu", "gelu_tanh", "relu", "silu"],
    attn_drop_rate=[0.1],
    class_token=[False, True],
    depth=[1, 3],
    drop_path_rate=[0.1],
    drop_rate=[0.1],
    dynamic_img_pad=[True],
    dynamic_img_size=[True],
    embed_dim=[24],
    fc_norm=[False, True],
    fix_init=[True],
    global_pool=["avg", "token", "map", ""],
    img_size=[16, [8, 8]],
    in_chans=[1],
    init_values=[1e-5],
    mlp_ratio=[4.0],
    no_embed_class=[True],
    norm_layer=["layernorm", "layernorm2d", "rmsnorm"],
    num_classes=[4, 0],
    num_heads=[1, 3, 4, 6],
    patch_drop_rate=[0.1],
    patch_size=[2],
    pos_drop_rate=[0.1],
    pre_norm=[True],
    proj_drop_rate=[0.1],
    qk_norm=[True],
    qkv_bias=[False],
    reg_tokens=[0, 1],
    weight_init=["jax", "moco"],
    unheard_of=[1],
)
# Pairs of arguments of which one alone does not load.
PAIRS = [dict(global_pool="avg", fc_norm=False), dict(global_pool="token", fc_norm=False)]
ARCHITECTURES = [
    "vit_base_patch16_224",
    "vit_base_patch16_clip_224",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_base_patch16_gap_224",
    "vit_base_patch16_siglip_224",
    "vit_small_patch14_dinov2",
    "flexivit_small",
    "deit_small_patch16_224",
    "deit3_small_patch16_224",
    "deit_small_distilled_patch16_224",
    "eva02_tiny_patch14_224",
    "resnet18",
]
# Fields of transformers' ViTConfig, and some that every config has.
HF_FIELDS = dict(
    attention_probs_dropout_prob=[0.5],
    chunk_size_feed_forward=[2],
    encoder_stride=[4],
    hidden_act=["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu"],
    hidden_dropout_prob=[0.5],
    hidden_size=[24],
    image_size=[16],
    initializer_range=[0.5],
    intermediate_size=[48],
    layer_norm_eps=[0.1, 1e-6],
    num_attention_heads=[3, 4],
    num_channels=[1],
    num_hidden_layers=[2, 4],
    output_attentions=[True],
    output_hidden_states=[True],
    patch_size=[2],
    pooler_act=["relu"],
    pooler_output_size=[3],
    qkv_bias=[False],
    tie_word_embeddings=[False],
)


def fields(folder, hf_model, images):
    """The effect of fields of the configs, with the same weights."""
    config = json.loads((folder / "timm-folder" / "config.json").read_text())
    model = random(timm_folder, "timm-folder", 64)
    rows = []

    def row(kind, changes, logits):
        logits = None if logits is None else logits.flatten().tolist()
        rows.append(dict(format=kind, changes=changes, logits=logits))

    changes = [{name: value} for name, values in ARGUMENTS.items() for value in values] + PAIRS
    for change in changes:
        edited = copy.deepcopy(config)
        edited["model_args"] |= change
        logits = timm_logits(edited, model.state_dict(), images)
        row("timm", {f"model_args.{name}": value for name, value in change.items()}, logits)
    for name in ARCHITECTURES:
        logits = timm_logits(config | dict(architecture=name), model.state_dict(), images)
        row("timm", dict(architecture=name), logits)
    for name, values in HF_FIELDS.items():
        for value in values:
            changed = transformers.ViTConfig(**hf_model.config.to_dict() | {name: value})
            try:
                other = transformers.ViTForImageClassification(changed).eval()
                other.load_state_dict(hf_model.state_dict())
                logits = other(images).logits
            except Exception:
                logits = None
            row("hf-vit", {name: value}, logits)
    (folder / "fields.json").write_text(json.dumps(rows, indent=1) + "\n")


SIDES = [(2, 4), (4, 2), (4, 7), (7, 4), (14, 3), (3, 14), (5, 1), (1, 3), (16, 14)]


def positions(folder, models):
    """Position embeddings of other sizes, alone and in models."""
    torch.manual_seed(80)
    out = {}
    for start, to in SIDES:
        for prefix in (0, 1):
            values = torch.randn(1, prefix + start * start, 3)
            name = f"{start}-{to}-{prefix}"
            out[f"{name}.from"] = values
            out[f"{name}.timm"] = resample_abs_pos_embed(
                values, [to, to], num_prefix_tokens=prefix
            ).contiguous()
            if prefix == 1:
                config = transformers.ViTConfig(image_size=start, patch_size=1, hidden_size=3)
                embeddings = transformers.models.vit.modeling_vit.ViTEmbeddings(config)
                embeddings.position_embeddings = torch.nn.Parameter(values)
                tokens = torch.zeros(1, 1 + to * to, 3)
                resampled = values
                if start != to:
                    resampled = embeddings.interpolate_pos_encoding(tokens, to, to)
                out[f"{name}.hugging-face"] = resampled.contiguous()
    images = torch.randn(4, 3, 20, 20)
    out["images"] = images
    for name, model in models.items():
        if name.startswith("hf"):
            logits = model(images, interpolate_pos_encoding=True).logits
        else:
            s = SETTINGS[name] | dict(image_size=20)
            larger = timm(s).eval()
            state = model.state_dict()
            prefix = 0 if s["pool"] == "mean" else 1
            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"], [5, 5], num_prefix_tokens=prefix
            )
            larger.load_state_dict(state)
            logits = larger(images)
        out[f"{name}.logits"] = logits
    save_stable(out, folder / "positions.safetensors", {})


def random(build, name, seed):
    torch.manual_seed(seed)
    model = build(SETTINGS[name]).eval()
    with torch.no_grad():
        # Move parameters away from their initial values, where norms are 1 and biases 0.
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def save_state(model, path):
    # A base weight occurs once for each layer of its compound; safetensors refuses shared memory.
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
    models = {}
    for seed, (name, build) in enumerate(states.items(), 61):
        models[name] = model = random(build, name, seed)
        save_state(model, folder / f"{name}.safetensors")
        expected[f"{name}.logits"] = model(images)
    for seed, name in enumerate(["timm-folder", "timm-folder-mean"], 64):
        model = random(timm_folder, name, seed)
        expected[f"{name}.logits"] = save_timm_folder(model, name, folder / name, images)
    for seed, (name, build) in enumerate({"hf-vit": hf_vit, "hf-bert": hf_bert}.items(), 71):
        model = random(build, name, seed)
        model.save_pretrained(folder / name)
        if name == "hf-vit":
            expected[f"{name}.logits"] = model(images).logits
            fields(folder, model, images)
            del models["authors"]
            positions(folder, models | {name: model})
            shard(model, folder / "hf-vit-sharded", expected)
    settings = {"settings": json.dumps(SETTINGS)}
    save_stable(expected, folder / "expected.safetensors", settings)
    print(f"checkpoints: {', '.join(SETTINGS)}, hf-vit-sharded, fields, positions")
