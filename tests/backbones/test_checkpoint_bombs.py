"""Checkpoints from strangers: no code runs, and a small file takes little memory."""

import io
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch

from calbench.benchmark import backbones
from calbench.benchmark.backbones._weights import _weights_of
from calbench.benchmark.core.errors import InputError


class Hostile:
    def __reduce__(self):
        return os.system, ("touch HACKED",)


def repacked(path, change, compression=zipfile.ZIP_STORED):
    """Write the members of a file of torch.save anew, each changed."""
    with zipfile.ZipFile(path) as source:
        members = [(name, change(name, source.read(name))) for name in source.namelist()]
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in members:
            target.writestr(name, data)


def pickled(path):
    path.write_bytes(pickle.dumps({"fc.weight": Hostile()}))


def in_an_archive(path):
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2), "other": Hostile()}}, path)


def in_an_old_file(path):
    torch.save({"fc.weight": Hostile()}, path, _use_new_zipfile_serialization=False)


def a_whole_module(path):
    torch.save(torch.nn.Linear(2, 2), path)


def bytes_without_end(path):
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    call = b"\x80\x02cbuiltins\nbytearray\n" + pickle.dumps((8 * 10**9,), 2)[2:-1] + b"R."
    path.write_bytes(head + call + pickle.dumps([], 2))


def compressed_zeros(path):
    torch.save({"fc.weight": torch.zeros(1)}, path)
    repacked(path, lambda name, data: bytes(3 * 10**7) if name.endswith("data/0") else data, zipfile.ZIP_DEFLATED)


def larger_than_its_storage(path):
    torch.save({"fc.weight": torch.zeros(7)}, path)
    number = pickle.dumps(2 * 10**9, 2)[2:-1]
    repacked(path, lambda name, data: data.replace(b"K\x07", number) if name.endswith("data.pkl") else data)


def one_number_as_many(path):
    torch.save({"fc.weight": torch.zeros(1).expand(10**5, 10**5)}, path)


def old_storage_beyond_the_file(path):
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(7)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    place = data.rindex((7).to_bytes(8, "little"))
    path.write_bytes(data[:place] + (2 * 10**9).to_bytes(8, "little") + data[place + 8 :])


CASES = {
    pickled: "damaged, or not from torch.save",
    in_an_archive: "it asks for (posix|nt).system",
    in_an_old_file: "it asks for (posix|nt).system",
    a_whole_module: "it asks for torch.nn.modules.linear.Linear",
    bytes_without_end: "it asks for builtins.bytearray",
    compressed_zeros: "it is compressed, which torch.save never does",
    larger_than_its_storage: "a tensor is larger than its storage",
    one_number_as_many: "refers to the same data again and again",
    old_storage_beyond_the_file: "a storage lies outside of the file",
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_hostile_checkpoint_is_refused_in_one_line(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    make(path)
    size = path.stat().st_size
    assert size < 100_000
    with pytest.raises(InputError, match=rf"^checkpoint x\.pth: cannot be read as weights: .*{CASES[make]}"):
        backbones.create("timm:resnet18", checkpoint=str(path)).build(10, 3, 8)
    assert os.listdir(tmp_path) == ["x.pth"], "it ran something"


READ = """
import resource, sys
from pathlib import Path
from calbench.benchmark.backbones import registry, _weights
from calbench.benchmark.backbones._weights import _weights_of
from calbench.benchmark.core.errors import InputError
import timm, timm.models

pages = int(Path("/proc/self/statm").read_text().split()[0])
memory = pages * resource.getpagesize() + (1 << 28)
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
for name in sys.argv[1:]:
    try:
        _weights._weights_of(name)
        print("read")
    except InputError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_none_takes_more_than_a_quarter_of_a_gigabyte(tmp_path):
    for make in CASES:
        make(tmp_path / f"{make.__name__}.pth")
    names = [f"{make.__name__}.pth" for make in CASES]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, *names], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(CASES)
    assert all("cannot be read as weights" in line for line in lines), lines


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for name in (str(tmp_path / "pipe.pth"), os.devnull):
        with pytest.raises(InputError, match=r"checkpoint .*: not a regular file"):
            backbones.create("timm:resnet18", checkpoint=name).identity()
        with pytest.raises(InputError, match=r"checkpoint .*: not a regular file"):
            backbones.create("timm:resnet18", checkpoint=name).build(10, 3, 8)


@pytest.mark.parametrize("new", [True, False])
def test_what_training_scripts_save_with_the_weights_is_no_obstacle(tmp_path, new):
    torch.manual_seed(3)
    model = backbones.create("vit-micro").build(10, 3, 32).model
    optimizer = torch.optim.AdamW(model.parameters())
    loss = sum(value.square().sum() for value in model.parameters())
    loss.backward()
    optimizer.step()
    saved = {
        "epoch": 7, "best": 0.5, "arch": "vit", "size": torch.Size([3, 32, 32]), "optimizer": optimizer.state_dict(),
        "model": {f"module.{name}": value.bfloat16() for name, value in model.state_dict().items()},
    }  # fmt: skip
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    read = _weights_of(str(tmp_path / "x.pth"))
    assert list(read) == list(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(read[name], value.bfloat16().float()), name
