import numpy as np
import pytest


@pytest.fixture
def python2_pickle():
    """A function that pickles images and labels with protocol 2 and byte strings, as Python 2 wrote CIFAR's files."""

    def dump(array: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
        raw = array.tobytes()
        shape = b"".join(b"M" + int(n).to_bytes(2, "little") for n in array.shape)
        items = b"".join(b"K" + bytes([n]) for n in labels)
        return (
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01("
            + shape
            + b"tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
            + len(raw).to_bytes(4, "little")
            + raw
            + b"tbU"
            + bytes([len(key)])
            + key
            + b"]("
            + items
            + b"eu."
        )

    return dump
