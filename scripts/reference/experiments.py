"""The fixtures' experiments in this project's YAML."""

# With Adam's usual epsilon of 1e-8, gradients that consist only of rounding errors (as for the
# keys' bias) would make steps of full size, and no two programs agree on those.
TRAINING = dict(lr=1e-2, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-5)
CLIP, SMOOTHING, STEPS, BATCH, CLASSES, SIDE = 1.0, 0.1, 10, 6, 5, 8


def spec(depth, pool="class-token", heads=3, mlp_ratio=2, vlora=None, lora=None):
    """The experiment that this project runs for the same model and training."""
    t = TRAINING
    sections = [f"vlora: {vlora}"] if vlora else []
    if lora:
        sections += ["start: {checkpoint: fixture.safetensors}", f"lora: {lora}"]
    sections = "\n".join(sections)
    return f"""\
task: image-classification
data: {{embedded: fashion-mnist-mini}}
model: {{architecture: vit, image_size: {SIDE}, patch_size: 4,
  channels: 3, classes: {CLASSES}, dim: 12, depth: {depth},
  heads: {heads}, mlp_ratio: {mlp_ratio}, pool: {pool}}}
method: {"vlora" if vlora else "dense"}
{sections}
training: {{epochs: {STEPS}, batch_size: {BATCH}, learning_rate: {t["lr"]}, min_learning_rate_ratio: 1,
  warmup_ratio: 0, weight_decay: {t["weight_decay"]}, beta1: {t["betas"][0]}, beta2: {t["betas"][1]},
  epsilon: {t["eps"]}, clip_norm: {CLIP}, label_smoothing: {SMOOTHING}}}
arms: {{baseline: {{}}}}
seeds: [0]
"""


# Compounds of three, so that the layer before is not always the compound's first.
READINGS = {
    "vlora-previous-detach": "{compound_size: 3, rank: 3, alpha: 2, reference: previous}",
    "vlora-previous": "{compound_size: 3, rank: 3, alpha: 2, reference: previous, detach: false}",
    "vlora-base-mixed": """{compound_size: 3, rank: 3, alpha: 2, reference: base, detach: false,
  targets: [attn.qkv, {target: attn.proj, rank: full}, {target: mlp.fc1, rank: 4, alpha: 3},
    {target: mlp.fc2, rank: 0}]}""",
    "vlora-vectors-detach": """{compound_size: 3, rank: 2, alpha: 3, reference: previous,
  detach: true, targets: [attn.qkv, mlp.fc2, norm1.weight, norm1.bias, attn.qkv.bias,
    mlp.fc1.bias]}""",
    "vlora-vectors": """{compound_size: 3, rank: 2, alpha: 3, reference: previous,
  detach: false, targets: [attn.proj, mlp.fc1, norm2.weight, norm2.bias, attn.proj.bias,
    mlp.fc2.bias]}""",
    "vlora-full-base-detach": "{compound_size: 3, rank: full}",
    "vlora-full-previous": "{compound_size: 3, rank: full, reference: previous, detach: false}",
    "vlora-rank-0": """{compound_size: 3, rank: 0, detach: true,
  targets: [attn.qkv, attn.proj, mlp.fc1, mlp.fc2, mlp.fc1.bias]}""",
}
# Ways of sharing layers, each with its depth.
MAPS = {
    # As Takase and Kiyono share: matrices, biases and norms, and every use trains them.
    "map-sequence": (5, """{compound_size: 2, keep_last: 1, rank: 0, detach: false,
  also_share: [norms, biases]}"""),
    "map-cycle": (5, "{compound_size: 2, sharing: cycle, rank: 2, detach: false}"),
    "map-cycle-reversed": (6, """{compound_size: 2, sharing: cycle-reversed, rank: 2,
  reference: previous, detach: false}"""),
    # As Relaxed Recursive Transformers share: a cycle with an increment on every use.
    "map-all": (4, "{compound_size: 2, sharing: cycle, rank: 2, alpha: 3, increment_on: all, detach: false}"),
    "map-all-previous": (4, """{compound_size: 4, rank: 2, increment_on: all, reference: previous,
  detach: true, targets: [attn.qkv, mlp.fc2, mlp.fc1.bias]}"""),
    "map-list": (6, "{layers: [0, 1, 2, 1, 2, 3], rank: 2, also_share: [norms]}"),
    "map-ends": (6, """{compound_size: 3, sharing: cycle-reversed, keep_first: 1, keep_last: 1, rank: 0,
  detach: false}"""),
}
BASE = "{compound_size: 3, rank: 3, alpha: 2}"
PREVIOUS = """{compound_size: 3, rank: 2, alpha: 3, reference: previous, detach: false,
  targets: [attn.qkv, mlp.fc2, attn.qkv.bias, norm2.weight]}"""
ON_TOP = {
    "lora-dense": (None, "{rank: 2, alpha: 4, targets: [attn.qkv, mlp.fc2]}"),
    "lora-vlora": (BASE, "{rank: 2, alpha: 4, targets: [attn.qkv, attn.proj, mlp.fc1, mlp.fc2]}"),
    "lora-vlora-head-norms":
        (BASE, "{rank: 2, alpha: 3, targets: [attn.qkv, mlp.fc2], also_train: [head, norms]}"),
    "lora-previous-biases":
        (PREVIOUS, "{rank: 1, alpha: 2, targets: [attn.qkv, mlp.fc1], also_train: [biases]}"),
}  # fmt: skip
