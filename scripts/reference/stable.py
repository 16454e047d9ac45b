"""safetensors files that come out the same, byte by byte, whenever they are written."""

import json

from safetensors.torch import save


def save_stable(tensors, path, metadata):
    """`save_file` with sorted metadata keys, since safetensors writes them in any order."""
    data = save({name: t.contiguous() for name, t in tensors.items()}, metadata=metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
