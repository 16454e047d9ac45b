"""Writes tests/fixtures/schedules.json: learning rates of transformers' schedules after warm-up, and the factors of
PyTorch's ReduceLROnPlateau over random validations.

    python scripts/reference/make_schedule_fixtures.py
"""

import json
import random
from pathlib import Path

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import (
    get_cosine_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
)

OUT = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "schedules.json"


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def shares(schedule, steps):
    """The rate of each of `steps` steps over the peak."""
    return [schedule.lr_lambdas[0](step) for step in range(steps)]


def by_step():
    cases = []
    for warmup, total in [(0, 7), (3, 20), (10, 25)]:
        cases.append(["cosine", warmup, total, shares(get_cosine_schedule_with_warmup(optimizer(), warmup, total), total)])
        cases.append(["linear", warmup, total, shares(get_linear_schedule_with_warmup(optimizer(), warmup, total), total)])
        if warmup > 0:
            # Their step 0 has no rate: the inverse square root is that of the step's number.
            own = shares(get_inverse_sqrt_schedule(optimizer(), warmup), total + 1)[1:]
            cases.append(["inverse-sqrt", warmup, total, own])
    return cases


def plateaus():
    generator = random.Random(0)
    cases = []
    for mode, factor, patience in [("min", 0.5, 2), ("max", 0.7, 0), ("min", 0.1, 10), ("max", 0.5, 1)]:
        own = optimizer()
        schedule = ReduceLROnPlateau(own, mode=mode, factor=factor, patience=patience, eps=0.0)
        value, values, factors = 5.0, [], []
        for epoch in range(40):
            # Falls or rises at first, then moves up and down, and sometimes by less than the threshold.
            drift = 0.3 / (1 + epoch) * (-1 if mode == "min" else 1)
            value += drift + generator.choice([0.0, 0.0, 1e-5, -1e-5, 0.1, -0.1])
            schedule.step(value)
            values.append(value)
            factors.append(own.param_groups[0]["lr"])
        cases.append({"better": {"min": "lower", "max": "higher"}[mode], "factor": factor, "patience": patience,
                      "values": values, "factors": factors})
    return cases


if __name__ == "__main__":
    OUT.write_text(json.dumps({"by_step": by_step(), "plateaus": plateaus()}, indent=1) + "\n")
