"""What a suite says of a folder of images that is not as it should be: the line of the suite and the layout."""

import pytest
from PIL import Image

from calbench.benchmark.cli.main import main

SUITE = """\
datasets:
  - digits
  - image-folder(path=photos)
backbones: [vit-micro]
entries: [cross-entropy]
seeds: [0]
"""


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "photos/train: No such file or directory; expected one sub-folder of images per class, "),
        (["photos/train"], "photos/train: a folder without sub-folders; expected one sub-folder of images per class, "),
        (["photos/train/cat"], "folder 'train': class 'cat' has no images"),
        (["photos/train/cat/IMAGE"], "photos/test: No such file or directory"),
    ],
    ids=["nothing", "no classes", "no images", "no test folder"],
)
def test_a_wrong_folder_names_the_line_and_the_layout(tmp_path, monkeypatch, capsys, folders, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SUITE)
    for folder in folders:
        place = tmp_path / folder
        (place.parent if place.name == "IMAGE" else place).mkdir(parents=True)
        if place.name == "IMAGE":
            Image.new("RGB", (8, 8)).save(place.with_suffix(".png"))
    assert main(["run", "mine.yaml", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"calbench: mine.yaml, line 3: {message}"), error
    if "expected" in message:
        assert error.endswith("photos/train/<class>/<image>\n")
