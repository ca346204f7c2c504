import io
import os
import stat
import tarfile
import zipfile

import pytest
from examples import at_most
from hypothesis import given
from hypothesis import strategies as st

from calbench.benchmark.core.errors import InputError
from calbench.datasets.io.archives import safe_extract


def make_tar(path, members, mode="w:gz"):
    """Members: (name, bytes) or (TarInfo, None)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is not None:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if content is not None else None)
    return path


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def everything_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_unpacks_regular_files_of_a_tar(tmp_path, mode):
    archive = make_tar(tmp_path / "a.tar", [("x/y.txt", b"one"), ("z.txt", b"two")], mode)
    safe_extract(archive, tmp_path / "out")
    assert (tmp_path / "out/x/y.txt").read_bytes() == b"one"
    assert everything_below(tmp_path / "out") == ["x", "x/y.txt", "z.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_unpacked_files_and_folders_have_the_mode_of_the_umask(tmp_path, umask):
    archive = make_tar(tmp_path / "a.tar", [("x/y.txt", b"one"), ("z.txt", b"two")])
    before = os.umask(umask)
    try:
        safe_extract(archive, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*")}
    assert modes == {"x": 0o777 & ~umask, "y.txt": 0o666 & ~umask, "z.txt": 0o666 & ~umask}


def test_unpacks_a_zip_into_a_folder_that_has_files(tmp_path):
    (tmp_path / "out/x").mkdir(parents=True)
    (tmp_path / "out/x/kept.txt").write_text("kept")
    (tmp_path / "out/x/y.txt").write_text("old")
    safe_extract(make_zip(tmp_path / "a.zip", [("x/y.txt", b"new"), ("x/", b"")]), tmp_path / "out")
    assert (tmp_path / "out/x/y.txt").read_text() == "new"
    assert (tmp_path / "out/x/kept.txt").read_text() == "kept"


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_refuses_paths_outside_and_leaves_nothing(tmp_path, name, kind):
    members = [("good.txt", b"good"), (name, b"evil")]
    archive = make_tar(tmp_path / "a.tar", members) if kind == "tar" else make_zip(tmp_path / "a.zip", members)
    with pytest.raises(InputError, match="outside the folder"):
        safe_extract(archive, tmp_path / "in" / "out")
    assert everything_below(tmp_path / "in") == ["out"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_refuses_links_and_devices_in_a_tar(tmp_path, kind):
    archive = make_tar(tmp_path / "a.tar", [(special("link", kind, "/etc"), None), ("link/passwd", b"evil")])
    with pytest.raises(InputError, match="link or no regular file"):
        safe_extract(archive, tmp_path / "out")
    assert everything_below(tmp_path / "out") == []


def test_refuses_a_symbolic_link_in_a_zip(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match="link or no regular file"):
        safe_extract(make_zip(tmp_path / "a.zip", [(link, b"/etc/passwd")]), tmp_path / "out")


def test_refuses_two_members_of_one_name(tmp_path):
    archive = make_tar(tmp_path / "a.tar", [("x", b"one"), ("./x", b"two")])
    with pytest.raises(InputError, match="one name"):
        safe_extract(archive, tmp_path / "out")


@pytest.mark.parametrize("keep", [10, 200])
def test_a_cut_archive_leaves_nothing(tmp_path, keep):
    whole = make_tar(tmp_path / "whole.tar.gz", [("x", bytes(range(256)) * 40), ("y", b"two")]).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[:keep])
    with pytest.raises(InputError, match=r"cut\.tar\.gz"):
        safe_extract(tmp_path / "cut.tar.gz", tmp_path / "out")
    assert everything_below(tmp_path / "out") == []


@pytest.mark.slow
@at_most(80)
@given(st.data())
def test_any_change_of_an_archive_gives_files_below_or_a_clear_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    members = [("a/b.txt", b"text" * 50), ("c.bin", bytes(range(256)))]
    if data.draw(st.booleans()):
        archive = make_zip(folder / "x.zip", members)
    else:
        archive = make_tar(folder / "x.tar", members, data.draw(st.sampled_from(["w", "w:gz", "w:xz"])))
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)
    refused = False
    try:
        safe_extract(archive, folder / "out")
    except InputError:
        refused = True
    assert not refused or not everything_below(folder / "out")
    assert {p.name for p in folder.iterdir()} == {archive.name, "out"}
    assert not [p for p in folder.rglob("*") if p.is_symlink()]
