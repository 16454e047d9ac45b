"""What the parity scripts share: this program's random numbers, written again, its schedule, a run's settings and records.

A stream of numbers is Philox4x32-10 under a key that is the SHA-256 of seed, purpose and name (src/random.rs).
"""

import hashlib
import json
import math
import struct
import subprocess
import sys

import numpy as np

MASK = np.uint64(0xFFFFFFFF)
# The batches whose examples are sorted by length together.
POOL = 50


def philox(counters, key):
    """Ten rounds of Philox4x32 on four arrays of 32-bit words."""
    c = [word.astype(np.uint64) for word in counters]
    k = [np.uint64(word) for word in key]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        shift = np.uint64(32)
        c = [(p1 >> shift) ^ c[1] ^ k[0], p1 & MASK, (p0 >> shift) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + np.uint64(0x9E3779B9)) & MASK, (k[1] + np.uint64(0xBB67AE85)) & MASK]
    return c


class Stream:
    """Random numbers, addressed by seed, purpose and name."""

    def __init__(self, seed, purpose, name):
        digest = hashlib.sha256(struct.pack("<Q", seed) + purpose.encode() + b"\0" + name.encode()).digest()
        self.words = struct.unpack("<4I", digest[:16])

    def numbers(self, count):
        """The first `count` 32-bit numbers."""
        blocks = np.arange(-(-count // 4), dtype=np.uint64)
        same = lambda word: np.full_like(blocks, word)
        counters = [blocks & MASK, blocks >> np.uint64(32), same(self.words[2]), same(self.words[3])]
        return np.stack(philox(counters, self.words[:2]), axis=1).reshape(-1)[:count]

    def below(self, n, count):
        """`count` numbers below n, without bias (Lemire)."""
        products = self.numbers(2 * count + 64) * np.uint64(n)
        kept = products[(products & MASK) >= np.uint64((2**32 - n) % n)]
        return (kept[:count] >> np.uint64(32)).astype(np.int64)

    def normal(self, count):
        """Box–Muller's cosine branch, of two 53-bit numbers each."""
        first, second = uniform(self, 2 * count).reshape(count, 2).T
        return np.sqrt(-2.0 * np.log(1.0 - first)) * np.cos(2 * math.pi * second)


def uniform(stream, count):
    """`count` numbers in [0, 1), of 53 bits each."""
    words = stream.numbers(2 * count).reshape(count, 2)
    return (((words[:, 0] << np.uint64(32)) | words[:, 1]) >> np.uint64(11)) * 2.0**-53


class Draws:
    """The random numbers of a stream, one after the other."""

    def __init__(self, stream, most=64):
        self.numbers = iter(stream.numbers(most).tolist())

    def below(self, n):
        """Below n, without bias (Lemire)."""
        while True:
            product = next(self.numbers) * n
            if product & 0xFFFFFFFF >= -n % (1 << 32) % n:
                return product >> 32

    def uniform(self):
        high, low = next(self.numbers), next(self.numbers)
        return ((high << 32 | low) >> 11) * 2.0**-53


def permutation(stream, n):
    """A permutation of 0..n (Fisher–Yates)."""
    order, draws = list(range(n)), Draws(stream, 2 * n + 64)
    for i in range(n - 1, 0, -1):
        other = draws.below(i + 1)
        order[i], order[other] = order[other], order[i]
    return order


def in_batches(items, size):
    return [items[begin : begin + size] for begin in range(0, len(items), size)]


def grouped_batches(seed, epoch, lengths, size):
    """The examples of an epoch's batches, grouped by length (src/data/text/batches.rs): each pool of batches is sorted, and
    the batches are shuffled."""
    pools = in_batches(permutation(Stream(seed, "order", str(epoch)), len(lengths)), POOL * size)
    # Examples of equal length keep their random order.
    batches = in_batches([i for pool in pools for i in sorted(pool, key=lengths.__getitem__)], size)
    return [batches[i] for i in permutation(Stream(seed, "order", f"{epoch}/batches"), len(batches))]


def rate(training, step, steps):
    """The learning rate of a step, counted from 0: a linear warm-up, then half a cosine."""
    peak, floor = training["learning_rate"], training["learning_rate"] * training["min_learning_rate_ratio"]
    warmup = round(training["warmup_ratio"] * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    after = (step - warmup) / max(steps - warmup, 1)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(after, 1)))


def expect(run, settings, expected, written=()):
    """Exits if settings are others than those that a script knows. A run leaves out options that are off; those that are
    `written` must be there."""
    default = lambda field, value: None if field in written else value
    found = {field: settings.get(field, default(field, value)) for field, value in expected.items()}
    if found != expected:
        sys.exit(f"{run}: expected {expected}, found {found}")


def all_within(differences, limit):
    """Whether there are differences, and each is at most the limit. NaN is not."""
    return len(differences) > 0 and all(difference <= limit for difference in differences)


def lines(run, name):
    """The records of a file of lines; large ones are compressed."""
    plain = run / name
    if plain.exists():
        return [json.loads(line) for line in plain.read_text().splitlines()]
    packed = run / f"{name}.zst"
    try:
        from compression import zstd  # Python 3.14
    except ModuleNotFoundError:
        text = subprocess.run(["zstd", "-dc", packed], check=True, stdout=subprocess.PIPE).stdout
    else:
        text = zstd.decompress(packed.read_bytes())
    return [json.loads(line) for line in text.splitlines()]


# Known answers of the Random123 distribution.
for counter, key, answer in [
    (0, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (0xFFFFFFFF, 0xFFFFFFFF, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
]:
    assert [int(word[0]) for word in philox([np.array([counter])] * 4, [key] * 2)] == answer
