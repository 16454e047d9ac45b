"""Vertical LoRA's readings and LoRA in plain PyTorch, by this project's parameter names.

An experiment's YAML (`run`, as yaml.safe_load gives it) says which parameters there are and what
weights they add up to; timm's ViT computes with those weights.

A layer that does not use its weights first: `W_l = sg(W_ref) + (alpha / rank) · B_lᵀ A_l`, where W_ref
is the weight of the first layer that uses it (`base`) or of the last one before (`previous`), whole, and sg
stops the gradient where `detach` is true. With `increment_on: all` the first use, too, adds an increment,
which `base` leaves out. LoRA: `W + (alpha / rank) · lora_Bᵀ lora_A`, on one layer alone.
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch.func import functional_call

MATRICES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
VECTORS = {
    "norms": ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"],
    "biases": [f"{matrix}.bias" for matrix in MATRICES],
}
LORA = (".lora_A", ".lora_B")
PARTS = (".A", ".B", ".delta", *LORA)


def timm_settings(model):
    """timm's arguments for the model of an experiment."""
    mean = dict(global_pool="avg", class_token=False)
    return dict(
        img_size=model["image_size"],
        patch_size=model["patch_size"],
        in_chans=model["channels"],
        num_classes=model["classes"],
        embed_dim=model["dim"],
        depth=model["depth"],
        num_heads=model["heads"],
        mlp_ratio=model["mlp_ratio"],
        **(mean if model["pool"] == "mean" else {}),
    )


def uses(vlora, depth):
    """For each layer, the number of the weights that it uses: as the authors of arXiv 2104.06022 share layers."""
    if "layers" in vlora:
        return vlora["layers"]
    first, last = vlora.get("keep_first", 0), vlora.get("keep_last", 0)
    size, n = vlora["compound_size"], depth - first - last
    made = []
    if vlora.get("sharing", "sequence") == "sequence":
        used = 0
        for _ in range(n):
            made.append(made[-1] if used else len(set(made)))
            used = (used + 1) % size
    else:
        unique = -(-n // size)
        made = list(range(unique))
        if vlora["sharing"] == "cycle":
            made += [made[i % unique] for i in range(n - unique)]
        else:
            made += [made[i % unique] for i in range(n - 2 * unique)]
            base = made[:unique]
            made += [base[-(i % unique) - 1] for i in range(n - len(made))]
    made = [first + weights for weights in made]
    most = max(made, default=first - 1) + 1
    return [*range(first), *made, *range(most, most + last)]


def increments(run):
    """(name, reference's name, rank, scale) of every increment, lower layers first. The reference is None where a
    layer adds to weights of its own."""
    vlora = run.get("vlora")
    if not vlora:
        return
    depth = run["model"]["depth"]
    used = uses(vlora, depth)
    for layer in range(depth):
        before = [other for other in range(layer) if used[other] == used[layer]]
        if before:
            reference = before[-1] if vlora.get("reference") == "previous" else before[0]
        elif vlora.get("increment_on") == "all" and used.count(used[layer]) > 1:
            reference = None
        else:
            continue
        shared = [name for group in vlora.get("also_share", []) for name in VECTORS[group]]
        targets = [*vlora.get("targets", MATRICES), *({"target": name, "rank": 0} for name in shared)]
        for own in targets:
            own = own if isinstance(own, dict) else {"target": own}
            target = own["target"]
            weight = f"{target}.weight" if target in MATRICES else target
            rank = own.get("rank", vlora["rank"])
            alpha = own.get("alpha", vlora.get("alpha", 1))
            scale = alpha / rank if rank not in (0, "full") else None
            name = None if reference is None else f"blocks.{reference}.{weight}"
            yield f"blocks.{layer}.{weight}", name, rank, scale


def adapted(run):
    """Names of the weights that LoRA adapts."""
    if lora := run.get("lora"):
        for layer in range(run["model"]["depth"]):
            yield from (f"blocks.{layer}.{target}.weight" for target in lora["targets"])


def parameters(run, dense):
    """The parameters of the experiment: those of the dense model, and zeros for the added ones."""
    out = dict(dense.named_parameters())
    shapes = {name: p.shape for name, p in out.items()}
    parts = {}
    for name, reference, rank, _ in increments(run):
        if reference:
            del out[name]
        if rank == 0:
            continue
        if len(shapes[name]) == 1:
            parts[f"{name}.A"] = shapes[name]
        elif rank == "full":
            parts[f"{name}.delta"] = shapes[name]
        else:
            width_out, width_in = shapes[name]
            parts |= {f"{name}.A": (rank, width_in), f"{name}.B": (rank, width_out)}
    for name in adapted(run):
        width_out, width_in = shapes[name]
        rank = run["lora"]["rank"]
        parts |= {f"{name}.lora_A": (rank, width_in), f"{name}.lora_B": (rank, width_out)}
    return out | {name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in parts.items()}


def is_trained(run, name):
    if "lora" not in run or name.endswith(LORA):
        return True
    if name.startswith("head."):
        group = "head"
    elif "norm" in name:
        group = "norms"
    elif name.endswith((".bias", ".bias.A")):
        group = "biases"
    else:
        return False
    return group in run["lora"].get("also_train", [])


def weights(run, parameters):
    """The weights that result from the parameters, by timm's names."""
    out = {name: p for name, p in parameters.items() if not name.endswith(PARTS)}
    bare = dict(out)
    # In ascending order, so that a layer is complete when the next one adds to it.
    for name, reference, rank, scale in increments(run):
        if reference is None:
            weight = bare[name]
        else:
            previous = run["vlora"].get("reference") == "previous"
            weight = out[reference] if previous else bare[reference]
            if run["vlora"].get("detach", True):
                weight = weight.detach()
        if rank == 0:
            out[name] = weight
        elif weight.ndim == 1:
            out[name] = weight + parameters[f"{name}.A"]
        elif rank == "full":
            out[name] = weight + parameters[f"{name}.delta"]
        else:
            out[name] = weight + (parameters[f"{name}.B"].T @ parameters[f"{name}.A"]) * scale
    # After all increments, so that no reference weight includes another layer's LoRA.
    for name in adapted(run):
        a, b = (parameters[name + part] for part in LORA)
        out[name] = out[name] + (b.T @ a) * (run["lora"]["alpha"] / run["lora"]["rank"])
    return out


def plain(run):
    """The parameters of the experiment, and its model as a function of them and the images."""
    dense = VisionTransformer(**timm_settings(run["model"])).eval()

    def forward(parameters, images):
        # Strict: every weight of the model is replaced, and there are no others.
        return functional_call(dense, weights(run, parameters), (images,), strict=True)

    return parameters(run, dense), forward
