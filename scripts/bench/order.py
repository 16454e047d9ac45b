"""The batches of an epoch of texts as this program makes them, so that PyTorch can be timed on the same.

src/random.rs has the random numbers (Philox4x32-10 by name), src/data/text/batches.rs the order.
"""

import hashlib

POOL = 50
WORD = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & WORD, (p0 >> 32) ^ c[3] ^ k[1], p0 & WORD]
        k = [(k[0] + 0x9E3779B9) & WORD, (k[1] + 0xBB67AE85) & WORD]
    return c


class Stream:
    """The random numbers of a seed, a purpose and a name."""

    def __init__(self, seed, purpose, name):
        given = seed.to_bytes(8, "little") + purpose.encode() + b"\0" + name.encode()
        digest = hashlib.sha256(given).digest()
        words = [int.from_bytes(digest[4 * i : 4 * i + 4], "little") for i in range(4)]
        self.key, self.name, self.block, self.left = words[:2], words[2:], 0, []

    def next(self):
        if not self.left:
            counter = [self.block & WORD, self.block >> 32, *self.name]
            self.left = philox(counter, self.key)
            self.block += 1
        return self.left.pop(0)

    def below(self, n):
        """Uniform in 0..n."""
        threshold = -n % (1 << 32) % n
        while True:
            product = self.next() * n
            if product & WORD >= threshold:
                return product >> 32

    def permutation(self, n):
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order


def batches(seed, epoch, lengths, size):
    """The indices of the texts, one list per batch."""
    order = Stream(seed, "order", str(epoch)).permutation(len(lengths))
    pools = [order[i : i + size * POOL] for i in range(0, len(order), size * POOL)]
    # Texts of equal length keep their random order.
    order = [text for pool in pools for text in sorted(pool, key=lambda text: lengths[text])]
    cut = [order[i : i + size] for i in range(0, len(order), size)]
    places = Stream(seed, "order", f"{epoch}/batches").permutation(len(cut))
    return [cut[place] for place in places]


# Known answers of the Random123 distribution.
assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([WORD] * 4, [WORD] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
