#!/usr/bin/env python3
"""Makes src/hub/embedded/shakespeare/train.txt.gz from tiny Shakespeare.

    python scripts/make_shakespeare.py INPUT_TXT [OUT_FOLDER]

INPUT_TXT is data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn. Its SHA-256
must be the one below. The packed file is the same on every machine with the same zlib:
it holds neither a name nor a time.
"""

import gzip
import hashlib
import pathlib
import sys

SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
OUT = pathlib.Path(__file__).parent.parent / "src/hub/embedded/shakespeare"


def main():
    source = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else OUT
    text = source.read_bytes()
    found = hashlib.sha256(text).hexdigest()
    if found != SHA256:
        sys.exit(f"{source}: SHA-256 {found}, expected {SHA256}")
    packed = gzip.compress(text, compresslevel=9, mtime=0)
    (folder / "train.txt.gz").write_bytes(packed)
    print(f"{folder / 'train.txt.gz'}: {len(text)} bytes, packed {len(packed)}")


if __name__ == "__main__":
    main()
