#!/usr/bin/env bash
# Prints the properties of this machine that matter for a measurement: machine.sh PYTHON VLORA.
# Fails without a GPU that PyTorch can use.
set -euo pipefail
python=$1 vlora=$2

nvidia-smi
grep -m 1 'model name' /proc/cpuinfo
echo "$(nproc) processors, $(uname -sr)"
"$vlora" --version
echo "VLORA_CUDA_LIBRARIES=$VLORA_CUDA_LIBRARIES"
"$python" - <<'PYTHON'
import sys
import timm
import torch
import vlora

print(f"Python {sys.version.split()[0]}, PyTorch {torch.__version__} for CUDA {torch.version.cuda}")
print(f"timm {timm.__version__} in {timm.__file__}; the authors' package in {vlora.__file__}")
if not torch.cuda.is_available():
    sys.exit("PyTorch finds no GPU")
print(f"{torch.cuda.get_device_name()}, compute capability {torch.cuda.get_device_capability()}")
PYTHON
