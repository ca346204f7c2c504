"""Pickles are read without running them: right values, one-line refusals, and no input that ends the interpreter."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from fast_set import fast_only

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.unpickle import unpickle

CONTENT = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "strided": np.arange(10, dtype=np.uint8)[::2],
    "big-endian": np.arange(3, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3)),
    "number": np.array(3.0),
}
PLAIN = {"list": [1, 2.5, "x", b"y", None, True], "pair": (1, (2, 3)), 7: -(2**70), "scalars": [np.float32(1.5)]}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol_come_back_equal(protocol):
    read = unpickle(pickle.dumps(CONTENT, protocol=protocol))
    for name, array in CONTENT.items():
        assert read[name].dtype == array.dtype, name
        np.testing.assert_array_equal(read[name], array, err_msg=name)
        assert read[name].flags.writeable


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_of_objects(protocol):
    assert unpickle(pickle.dumps(PLAIN, protocol=protocol)) == PLAIN
    table = np.array([["a", None], [3, "b"]], dtype=object)
    assert unpickle(pickle.dumps(table, protocol=protocol)) == [["a", None], [3, "b"]]


def test_an_array_that_is_referred_to_twice_is_one_array():
    array = np.ones(3)
    first, second = unpickle(pickle.dumps([array, array]))
    assert first is second


DTYPE = b"cnumpy\ndtype\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
NO_FIELDS = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"


def text(value: bytes) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value


def array(shape: bytes, dtype: bytes) -> bytes:
    """An array of one dimension whose content are eight bytes."""
    return ARRAY + b"(K\x01" + shape + b"\x85" + dtype + b"\x89C\x08AAAAAAAAtb."


DEEP = b")" + b"\x85" * 300_000
HOSTILE = {
    # The flags of a dtype of objects set to zero make NumPy take the bytes that follow for pointers.
    "object dtype without its flag": array(
        b"K\x01", DTYPE + b"(" + text(b"O8") + b"\x89\x88tR(K\x03" + text(b"|") + NO_FIELDS + b"K\x00tb"
    ),
    "bytes for an array of objects": array(b"K\x01", DTYPE + text(b"O") + b"\x85R"),
    "fewer bytes than the shape says": array(b"M\xff\xff", DTYPE + text(b"f8") + b"\x85R"),
    "a record dtype": DTYPE
    + text(b"f8")
    + b"\x85R(K\x03"
    + text(b"|")
    + b"N"
    + text(b"a")
    + b"\x85}K\x08K\x08K\x00tb.",
    "an ndarray of uninitialised memory": b"cnumpy\nndarray\nM\xff\xff\x85\x85R.",
    "a state for a function": DTYPE + b"}" + text(b"__defaults__") + b"Nsb.",
    "a memo index of two billion": b"K\x01r\xff\xff\xff\x7f0cos\nsystem\n.",
    "tuples deep in each other": DEEP + b".",
    "a nested tuple as a key": b"}" + DEEP + b"K\x01s.",
    "a list that contains itself": b"]\x94h\x00a.",
    "a million laughs": b"]K\x01a\x94" + b"".join(b"](h%ch%ce\x94" % (i, i) for i in range(30)) + b".",
    "one text encoded again and again": text(b"a" * 2**20)
    + b"\x94]("
    + (b"c_codecs\nencode\n(h\x00" + text(b"latin1") + b"tR") * 3000
    + b"e.",
    "a bytearray of two billion": b"\x96" + (2**31).to_bytes(8, "little") + b".",
    "a set": b"\x8f.",
    "a persistent identity": b"Px\n.",
    "an extension": b"\x82\x01.",
}


@pytest.mark.parametrize(
    "name", fast_only(HOSTILE.keys() - {"tuples deep in each other", "a nested tuple as a key"}, HOSTILE)
)
def test_hostile_pickles_are_refused(name):
    with pytest.raises(InputError) as error:
        unpickle(HOSTILE[name])
    assert "\n" not in str(error.value)


MUTANTS = """
import random, resource, sys
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.unpickle import unpickle

seeds = [bytes.fromhex(line) for line in sys.stdin.read().split()]
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
random.seed(0)
read = refused = 0
for _ in range(6000):
    data = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 4)):
        place, other = random.randrange(len(data)), random.choice(seeds)
        start = random.randrange(len(other))
        match random.randrange(4):
            case 0: data[place] = random.randrange(256)
            case 1: data[place:place] = other[start:start + random.randint(1, 40)]
            case 2: del data[place:place + random.randint(1, 8)]
            case 3: data[place:place + 1] = random.randbytes(random.randint(1, 4))
        data = data or bytearray(b".")
    try:
        unpickle(bytes(data))
        read += 1
    except InputError:
        refused += 1
print(read, refused)
"""


def test_no_mutant_ends_the_interpreter():
    seeds = [pickle.dumps(CONTENT | PLAIN, protocol=protocol) for protocol in range(6)]
    seeds += [data for data in HOSTILE.values() if len(data) < 10_000]
    done = subprocess.run(
        [sys.executable, "-c", MUTANTS], input="\n".join(map(bytes.hex, seeds)), text=True, capture_output=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    read, refused = map(int, done.stdout.split())
    assert read + refused == 6000
    assert refused > 1000
    assert read > 60
