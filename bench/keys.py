"""``python -m bench.keys``: whether the time that a key is looked at says anything of it.

Keys of several kinds are looked up by turns, 40,000 being known, in an order that dice decide: ones that are quite
others, nearly a known one, over, nearly the master key. Each kind is compared with the first one by Welch's t-test. It
shows (exit 1) where t is beyond 4.5, the bound of dudect (Reparaz and others, 2017), and the means differ by more than
200 ns: over a local network 100 ns can be told apart with luck and a silent machine (Crosby and others, 2009). The
slowest tenth of all is left out: that is what else the machine did.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time

from penstock.core.errors import GatewayError
from penstock.runtime.identity import Identity
from penstock.runtime.keyring import Keyring
from penstock.stores.base import Changes, Row

COUNT = 200_000  # look-ups of each kind
KEYS = 40_000
BOUND = 4.5
SEEN = 200  # nanoseconds
SIGNS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
EACH = len(SIGNS)  # keys of a kind, as many of each: those that come again are in the processor's cache
MASTER = "sk-master-0123456789abcdef"
KNOWN = b"sk-known-0123456789abcdef"
OVER = [f"sk-over-{number:017d}".encode() for number in range(EACH)]


def make_identity() -> Identity:
    """A gateway's identity with many keys, one of which was replaced and is over."""
    keys = Keyring(b"a secret of the gateway that is measured")
    rows = []
    for number in range(KEYS):
        digest = keys.digest(KNOWN if number == 0 else f"sk-{number:022d}".encode())
        digests = [{"digest": digest}, *({"digest": keys.digest(key), "until": 1.0} for key in OVER)]
        body = {"token": digest, "digests": digests if number == 0 else digests[:1]}
        rows.append(Row("key", digest, json.dumps(body).encode()))
    keys.take(Changes(1, tuple(rows)))
    return Identity(MASTER, True, keyring=keys)


def kinds() -> dict[str, list[bytes]]:
    """The keys of each kind, of one length. Two of "another" show what noise makes of nothing."""
    dice = random.Random(7)

    def others(same: bytes, size: int = len(KNOWN)) -> list[bytes]:
        """Make keys that begin alike; the last signs of all differ."""
        free = size - len(same) - 1
        return [same + bytes(dice.choice(SIGNS) for _ in range(free)) + SIGNS[n : n + 1] for n in range(EACH)]

    return {
        "others": others(b"sk-"),
        "others, once more": others(b"sk-"),
        "all but the last sign": [key for key in others(KNOWN[:-1]) if key != KNOWN],
        "the first half": others(KNOWN[: len(KNOWN) // 2]),
        "ones that are over": OVER,
        "the master key but the last signs": others(MASTER.encode()[: len(KNOWN) - 2]),
    }


def measure(count: int) -> dict[str, list[int]]:
    """Return the nanoseconds of each look-up, by kind."""
    identity, keys, dice = make_identity(), kinds(), random.Random(1)
    found: dict[str, list[int]] = {name: [] for name in keys}
    names, clock = list(keys), time.perf_counter_ns
    for number in range(count):
        dice.shuffle(names)
        for name in names:
            key = keys[name][number % (EACH - 1)]
            began = clock()
            try:
                identity.look_up(key)
            except GatewayError:
                pass
            found[name].append(clock() - began)
    return found


def welch(one: list[int], other: list[int]) -> float:
    """Return Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    found = measure(count)
    every = sorted(value for values in found.values() for value in values)
    bound = every[len(every) * 9 // 10]
    kept = {name: [value for value in values if value <= bound] for name, values in found.items()}
    base, failed = kept["others"], False
    print(f"{'key':36} {'mean ns':>9} {'median':>7} {'differs':>8} {'t':>6}")
    for name, values in kept.items():
        t = 0.0 if name == "others" else welch(values, base)
        differs = statistics.fmean(values) - statistics.fmean(base)
        print(f"{name:36} {statistics.fmean(values):9.0f} {statistics.median(values):7.0f} {differs:8.1f} {t:6.1f}")
        failed = failed or (abs(t) > BOUND and abs(differs) > SEEN)
    print("a kind of key shows in the time it takes" if failed else "no kind of key shows in the time it takes")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
