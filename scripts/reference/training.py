"""Ten optimiser steps of a fixture's model: what the scripts of the decoder and of the encoder-decoder share."""

import torch

STEPS, CLIP = 10, 1.0
# With Adam's usual epsilon of 1e-8, the keys' biases would make steps of full size, although their
# gradients consist only of rounding errors.
TRAINING = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-5, "weight_decay": 0.1}


def training_section():
    """The settings as this project's specs have them."""
    beta1, beta2 = TRAINING["betas"]
    return {
        "learning_rate": TRAINING["lr"],
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": TRAINING["eps"],
        "weight_decay": TRAINING["weight_decay"],
        "clip_norm": CLIP,
    }


def rounding(parameters, rounded, exact):
    """By parameter, how far PyTorch's float32 gradients are from those in float64."""
    pairs = zip(parameters, rounded, exact, strict=True)
    return {n: float(f"{(a - b).abs().max():.1e}") for n, a, b in pairs}


def train(parameters, decays, loss_of):
    """Takes the steps, and returns the loss before each. Weight decay applies where `decays(name)`."""
    groups = [
        {"params": [p for n, p in parameters.items() if decays(n)]},
        {"params": [p for n, p in parameters.items() if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, **TRAINING)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
    return losses
