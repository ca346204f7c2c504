"""Groups the arrays of a file by model and split."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from calbench.benchmark.core.errors import InputError, nearest
from calbench.benchmark.predictions import names
from calbench.benchmark.predictions.columns import Field, common_part, fields_of, stacked
from calbench.benchmark.predictions.contents import Contents, listing

CALIBRATION, TEST, ALL = "calibration", "test", "all"
_SCORES = frozenset((*names.LOGITS, *names.PROBABILITIES, *names.UNCLEAR))
_SHOWN = 10


@dataclass(frozen=True)
class Part:
    """The fields of one split.

    Attributes:
        fields: its arrays, the words for splits taken out of their names.
        scores: the logits or probabilities, where the user named them.
    """

    fields: tuple[Field, ...]
    scores: Field | None = None


@dataclass(frozen=True)
class _Placed:
    split: str | None
    field: Field
    original: Field


def find_parts(contents: Contents, key: str | None) -> dict[str, Part]:
    """The parts of a file: ``calibration`` and ``test`` where the names say so, otherwise ``all``.

    Args:
        contents: the file.
        key: what the user called the logits or probabilities, or the group that they are in.

    Raises:
        InputError: nothing has the name `key`, or several models have predictions and none is named.
    """
    fields = fields_of(contents)
    placed = [_place(field) for field in fields]
    if key is not None:
        chosen = named(contents, fields, key)
        if chosen is not None:
            return {ALL: _around(chosen, placed)}
    models = _models(placed, key)
    if key is not None and not models:
        known = [field.name for field in fields] + _folders(placed)
        raise InputError(f"nothing is named {key!r}{nearest(key, known)}; the file has {file_listing(fields)}")
    if len(models) > 1:
        shown = ", ".join(sorted(models)[:_SHOWN]) + (" ..." if len(models) > _SHOWN else "")
        raise InputError(f"contains several models; name one (--key): {shown}")
    model = models[0] if models else ""
    words = None if key is None or key.strip("/") == model else key
    return _by_split(_with_labels(placed, model), model, words)


def named(contents: Contents, fields: Iterable[Field], key: str) -> Field | None:
    """The field of a name, of a list of columns ``a,b,c``, or of a range of columns ``a:c``; None if there is none."""
    key = key.strip("/") if key.strip("/") else key
    for field in fields:
        if key in (field.name, field.stem):
            return field
    if key in contents.leaves:
        return Field(key, key, contents.leaves[key])
    columns = [part.strip() for part in key.split(",")]
    if len(columns) == 1 and key.count(":") == 1:
        first, last = (part.strip() for part in key.split(":"))
        known = list(contents.leaves)
        if first not in known or last not in known:
            return None
        columns = known[known.index(first) : known.index(last) + 1]
    if len(columns) < 2:
        return None
    missing = [name for name in columns if name not in contents.leaves]
    if len(missing) == len(columns):
        return None
    if missing:
        raise InputError(f"no column is named {missing[0]!r}{nearest(missing[0], contents.leaves)}")
    return stacked(contents, columns, classes=common_part(columns))


def file_listing(fields: Iterable[Field]) -> str:
    """What a file has, in one line."""
    return listing((field.name, field.leaf) for field in fields)


def _place(field: Field) -> _Placed:
    """The split that a name speaks of, and the field without the word for it: ``val/logits``, ``labels_cal``."""
    *folders, leaf = field.stem.split("/")
    for number in reversed(range(len(folders))):
        split = names.SPLITS.get(names.normal(folders[number]))
        if split is not None:
            stem = "/".join([*folders[:number], *folders[number + 1 :], leaf])
            return _Placed(split, replace(field, stem=stem), field)
    words = names.normal(leaf).split("_")
    said = [word for word in words if word in names.SPLITS]
    if len(said) == 1 and len(words) > 1 and said[0] in (words[0], words[-1]):
        words.remove(said[0])
        return _Placed(names.SPLITS[said[0]], replace(field, stem="/".join([*folders, "_".join(words)])), field)
    return _Placed(None, field, field)


def _around(chosen: Field, placed: list[_Placed]) -> Part:
    """The part of an array that the user named: the others of its split and of its groups."""
    split = _place(chosen).split
    near = [
        one
        for one in placed
        if _contains(one.original.folder, chosen.folder) or _contains(one.field.folder, chosen.folder)
    ]
    if split is None:
        return Part(tuple(one.original for one in near), chosen)
    return Part(tuple(one.field for one in near if one.split in (None, split)), _place(chosen).field)


def _contains(folder: str, model: str) -> bool:
    """Whether the arrays in `folder` belong to a model: they lie in its folder or above."""
    return not folder or model == folder or model.startswith(f"{folder}/")


def _with_labels(placed: list[_Placed], model: str) -> list[_Placed]:
    """The arrays of a model: those in its folder and above; without labels among them, those of folders without scores.

    Records such as ``{"output": {"logits": ...}, "target": {"label": ...}}`` have the two in folders of their own.
    """
    near = [one for one in placed if _contains(one.field.folder, model)]
    if any(names.is_label_name(one.field.stem) for one in near):
        return near
    models = _models(placed, None)
    apart = [one for one in placed if not any(_contains(one.field.folder, other) for other in (model, *models))]
    return near + [one for one in apart if not any(one.field.folder.startswith(f"{other}/") for other in models)]


def _folders(placed: list[_Placed]) -> list[str]:
    return list(dict.fromkeys(one.field.folder for one in placed if one.field.folder))


def _models(placed: list[_Placed], key: str | None) -> list[str]:
    """The folders in which there are predictions; with `key`, those that it names or in which it names an array."""
    scores = [one for one in placed if may_be_scores(one.field)]
    if key is None:
        return list(dict.fromkeys(one.field.folder for one in scores))
    key = key.strip("/")
    folders = _folders(placed)
    inside = [folder for folder in folders if folder == key or folder.startswith(f"{key}/")]
    if inside:
        return [key] if key in inside else [f for f in inside if any(one.field.folder == f for one in scores)] or inside
    same = [one for one in placed if key == one.field.stem or names.normal(key) == one.field.word]
    return list(dict.fromkeys(one.field.folder for one in same))


def may_be_scores(field: Field) -> bool:
    """Whether a field can be logits or probabilities by its name and shape."""
    if field.word in _SCORES:
        return field.leaf.is_numeric and (
            not field.leaf.is_vector or field.leaf.kind == "f" or field.leaf.shape[1:] == (1,)
        )
    return False


def _by_split(placed: list[_Placed], model: str, key: str | None) -> dict[str, Part]:
    def is_scores(field: Field) -> bool:
        return may_be_scores(field) if key is None else key.strip("/") == field.stem or names.normal(key) == field.word

    scores: dict[str | None, Field] = {}
    for one in placed:
        if is_scores(one.field) and (key is not None or _contains(model, one.field.folder)):
            scores.setdefault(one.split, one.field)
    splits = [split for split in (CALIBRATION, TEST) if split in scores]
    if len(splits) < 2 and None in scores:
        splits = []
    if not splits and None not in scores and "train" in scores:
        splits = ["train"]
    if not splits:
        fields = tuple(one.original for one in placed)
        return {ALL: Part(fields, scores.get(None) if key is not None else None)}
    parts = {
        split: Part(
            tuple(one.field for one in placed if one.split in (None, split)), scores[split] if key is not None else None
        )
        for split in splits
    }
    return parts if len(parts) == 2 else {ALL: next(iter(parts.values()))}


def label_parts(contents: Contents) -> dict[str, tuple[Field, ...]]:
    """The fields of a file of labels, by split where names of both splits are there."""
    placed = [_place(field) for field in fields_of(contents)]
    splits = {one.split for one in placed if one.split is not None}
    if {CALIBRATION, TEST} <= splits:
        return {
            split: tuple(one.field for one in placed if one.split in (None, split)) for split in (CALIBRATION, TEST)
        }
    return {ALL: tuple(one.original for one in placed)}
