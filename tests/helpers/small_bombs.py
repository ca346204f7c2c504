"""Files of a few kilobytes that ask the libraries for gigabytes, minutes or the whole stack."""

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np


def call(module, name, *arguments):
    """A pickle that calls a function."""
    return f"\x80\x02c{module}\n{name}\n".encode("latin1") + pickle.dumps(arguments, 2)[2:-1] + b"R."


def allocating_torch(path):
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    path.write_bytes(head + call("builtins", "bytearray", 8 * 10**9) + pickle.dumps([], 2))


def allocating_torch_at_once(path):
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + call("builtins", "bytearray", 8 * 10**9))


def allocating_storage(path):
    path.write_bytes(call("torch.storage", "_load_from_bytes", call("builtins", "bytearray", 8 * 10**9)))


def sparse_rows(path):
    import scipy.sparse

    path.write_bytes(pickle.dumps({"logits": scipy.sparse.csr_matrix((10**5, 10**6)), "labels": np.zeros(3)}))


def sparse_tensor(path):
    import torch

    logits = torch.sparse_coo_tensor([[0], [0]], [1.0], (30_000, 30_000), check_invariants=True)
    torch.save({"logits": logits, "labels": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)


def expanded_tensor(path):
    import torch

    content = {"logits": torch.zeros(1).expand(10**6, 10**6), "labels": torch.zeros(3)}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def compressed_opcodes(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"N0" * 40_000_000 + b"N.")


def packed_opcodes(path):
    """Of 90 MB of operations that do nothing."""
    path.write_bytes(gzip.compress(b"\x80\x02" + b"N0" * 45_000_000 + b"N.", 1))


def packed_opcodes_in_arrays(path):
    """Many small ones, each within what a file may ask for."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(50):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
            archive.writestr(f"{number}.npy", header.getvalue() + b"\x80\x02" + b"N0" * 900_000 + b"N.")


def packed_references(path):
    """A list of a thousand times a list of a thousand times one number, in what text of zeros makes 50 MB."""
    refers = b"(" + b"h\x00" * 1000 + b"t"
    content = b"\x80\x02" + pickle.dumps("0" * 50_000_000, 2)[2:-1] + b"0" + b"K\x01" + b"q\x00" + b"0" + refers
    content += b"q\x010" + refers.replace(b"\x00", b"\x01") + b"q\x020" + refers.replace(b"\x00", b"\x02") + b"."
    path.write_bytes(gzip.compress(content, 1))


def packed_array_many_times(path):
    """A list of a hundred times one array of 80 MB."""
    array = pickle.dumps(np.zeros(10_000_000), 2)[:-1]
    path.write_bytes(gzip.compress(array + b"r\x00\x01\x00\x000(" + b"j\x00\x01\x00\x00" * 100 + b"t.", 1))


def zipped_twice(path):
    """An archive of objects that is itself compressed: 1 GB of a pickle in 50 MB in 0.3."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    archive = zip_of(header.getvalue() + bytes(100_000_000), 20, overlapping=False)
    path.write_bytes(gzip.compress(archive, 1))


def compressed_lists(path):
    path.write_bytes(gzip.compress(b"[" + b"[]," * 60_000_000 + b"[]]", 1))


def packed_pairs(path):
    path.write_bytes(gzip.compress(b'{"logits":[' + b"[1,2]," * 15_000_000 + b"[1,2]]}", 1))


def compressed_rows(path):
    path.write_bytes(gzip.compress(b"label,prob_0,prob_1\n" + b"0,1,0\n" * 30_000_000, 1))


def zip_of(content, members, overlapping):
    """A zip archive of equal members, each with its data, or all with those of the first: they overlap."""
    buffer, name = io.BytesIO(), b"000000.npy"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name.decode(), content)
    data = buffer.getvalue()
    begin, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    local, records = b"", b""
    for number in range(members):
        record = data[begin:end].replace(name, b"%06d.npy" % number)
        records += record[:42] + struct.pack("<I", len(local) * (not overlapping)) + record[46:]
        local = data[:begin] if overlapping else local + data[:begin].replace(name, b"%06d.npy" % number)
    tail = struct.pack("<HHII", members, members, len(records), len(local))
    return local + records + data[end : end + 8] + tail + data[end + 20 :]


def overlapping_members(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1_250_000,)})
    path.write_bytes(zip_of(header.getvalue() + bytes(10_000_000), 2000, overlapping=True))


def many_members(path):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50_001):
            archive.writestr(f"{number}.npy", b"")


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, shape, content, name=b""):
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name) + content)


def matlab(content):
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + content


def cells_in_a_cell(path):
    path.write_bytes(matlab(matrix(1, (1, 1), matrix(1, (30_000, 30_000), b""), b"c")))


def deep_cells(path):
    content = b""
    for _ in range(20_000):  # from the inside out
        head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<2i", 1, 1)) + element(1, b"")
        content = struct.pack("<II", 14, len(head) + len(content)) + head + content
    path.write_bytes(matlab(content))


def deep_cells_compressed(path):
    deep_cells(path)
    path.write_bytes(matlab(struct.pack("<II", 15, len(z := zlib.compress(path.read_bytes()[128:]))) + z))


def sparse_in_a_structure(path):
    import scipy.sparse
    from scipy.io import savemat

    savemat(path, {"s": {"logits": scipy.sparse.csc_matrix((10**5, 10**5)), "labels": np.zeros(3)}})


def compressed_zeros(count):
    """As zlib.compress(bytes(count)), for a multiple of ten million, from the compressed form of ten million."""
    packer = zlib.compressobj(1)
    begin, block = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH), bytes(10**7)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(1, wbits=-15).flush()
    return begin + packed * (count // 10**7) + end + struct.pack(">I", count % 65521 << 16 | 1)  # Adler-32


def large_chunk(path):
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        create, size = h5py.h5p.create(h5py.h5p.DATASET_CREATE), 3_000_000_000
        create.set_chunk((size,))
        for _ in range(2):
            create.set_deflate(9)
        space = h5py.h5s.create_simple((50,), (h5py.h5s.UNLIMITED,))
        data = h5py.h5d.create(file.id, b"labels", h5py.h5t.NATIVE_INT8, space, create)
        data.write_direct_chunk((0,), zlib.compress(compressed_zeros(size)))
        file["logits"] = np.zeros((50, 3))


def deep_groups(path):
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        group = file
        for _ in range(5000):
            group = group.create_group("a")


def circle_of_groups(path):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_group("a")["b"] = file
        file["logits"], file["labels"] = np.zeros((50, 3)), np.arange(50) % 3


def matlab_73(path):
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, shape in (("logits", (10**7, 1000)), ("labels", (10**7,))):
            file.create_dataset(name, shape, "f8", chunks=(1000, *shape[1:]), compression="gzip")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def lists_of_nothing(path):
    import pyarrow as pa

    logits = pa.FixedSizeListArray.from_arrays(pa.nulls(2 * 10**9), 2 * 10**8)
    table = pa.table({"logits": logits, "label": np.zeros(10, int)})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def records(path):
    import pyarrow as pa
    from pyarrow import parquet

    column = pa.StructArray.from_arrays([pa.array(np.zeros(20_000_000))], ["x"])
    parquet.write_table(pa.table({"s": column}), path, compression="zstd")


def long_text(path):
    import pyarrow as pa
    from pyarrow import parquet

    labels = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["x" * 10_000_000]))
    table = pa.table({"label": labels, "prob_0": np.zeros(2000), "prob_1": np.ones(2000)})
    parquet.write_table(table, path, compression="zstd", store_schema=False)


def tensors(path, header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def overlapping_tensors(path):
    one = {"dtype": "F32", "shape": [100, 1000], "data_offsets": [0, 400_000]}
    tensors(path, {f"t{number}": one for number in range(20_000)} | {"logits": one}, bytes(400_000))


def no_rows(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (0, 10**15)})
    path.write_bytes(header.getvalue())


BOMBS = {
    "bytes.pt": (allocating_torch, "asks for builtins.bytearray"),
    "first.pt": (allocating_torch_at_once, "asks for builtins.bytearray"),
    "storage.pkl": (allocating_storage, "an object other than arrays"),
    "rows.pkl": (sparse_rows, "asks for scipy.sparse"),
    "sparse.pt": (sparse_tensor, r"sparse tensor of shape .30000, 30000.*to_dense"),
    "expanded.pt": (expanded_tensor, "refers to the same data again and again"),
    "opcodes.pt": (compressed_opcodes, "it is compressed, which torch.save never does"),
    "opcodes.pkl.gz": (packed_opcodes, "more operations than a file of this size needs"),
    "opcodes.npz": (
        packed_opcodes_in_arrays,
        "more operations than a file of this size needs|no labels are recognised",
    ),
    "references.pkl.gz": (packed_references, "refers to the same data again and again"),
    "array.pkl.gz": (packed_array_many_times, "refers to the same data again and again"),
    "twice.npz.gz": (zipped_twice, "expands to 2.0 GB, above the limit of 1.1 GB"),
    "pairs.json.gz": (packed_pairs, "values exceed the limit of 6,000,000"),
    "lists.json.gz": (compressed_lists, "expands to 0.1 GB, above the limit of 0.1 GB"),
    "rows.csv.gz": (compressed_rows, "expands to 0.1 GB, above the limit of 0.1 GB"),
    "overlap.npz": (overlapping_members, "expands to 20.0 GB"),
    "many.npz": (many_members, "50,001 arrays or columns exceed"),
    "cells.mat": (cells_in_a_cell, "expands to 7.2 GB"),
    "deep.mat": (deep_cells, "nested more than 32 levels"),
    "packed.mat": (deep_cells_compressed, "nested more than 32 levels"),
    "sparse.mat": (sparse_in_a_structure, "expands to 80.0 GB"),
    "chunk.h5": (large_chunk, "a chunk of it: it expands to 3.0 GB"),
    "deep.h5": (deep_groups, "nested more than 32 levels"),
    "circle.h5": (circle_of_groups, "read"),
    "v73.mat": (matlab_73, "expands to .*above the limit"),
    "nothing.arrow": (lists_of_nothing, "lists without values|no logits"),
    "records.parquet": (records, "no logits"),
    "text.parquet": (long_text, "expands to 80.0 GB"),
    "overlap.safetensors": (overlapping_tensors, "expands to|no labels"),
    "header.safetensors": (lambda path: tensors(path, b'{"a":' + b"[" * 10**6), "cannot be read"),
    "rows.npy": (no_rows, "rows.npy: "),
    "quotes.csv": (lambda path: path.write_bytes(b'label,prob_0\n"' + b'""' * 10**6), "quotes.csv: "),
    "brackets.csv": (lambda path: path.write_bytes(b'label,logits\n0,"' + b"[" * 10**6 + b'"\n'), "brackets.csv: "),
    "deep.json": (lambda path: path.write_bytes(b'{"logits":' + b"[" * 10**6), "nested too deeply"),
}
