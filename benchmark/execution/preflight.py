"""One small batch through each recipe before the first epoch: a mistake in it is one line, not a column of failures.

The batch is of random images on the CPU, without pretrained weights, so that it takes a moment and downloads nothing.
"""

import copy
import dis
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.entry import Recipe
from calbench.benchmark.core.errors import InputError, nearest
from calbench.benchmark.core.registry import Component
from calbench.benchmark.core.threads import threads
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.store.store import Store
from calbench.datasets import Split
from calbench.methods import Augmentation, Calibrator, Outputs

BATCH = 8
"""Images of the batch; enough for batch normalisation, for mixing and for losses of whole batches."""

FEWEST_ROWS, ROWS_PER_CLASS = 200, 4
"""Rows that a calibrator is fitted on; enough for five folds of ten classes."""

LISTED = 12
"""Attributes that a message lists at most."""

_HEAD_GIVES = "the logits (N, K), and the temperatures (N,) or None"
_SHIPPED = "calbench."
_NOT_OF_THE_CODE = (MemoryError, OSError)
"""Errors that the cell itself is to meet and to record, since another machine may not have them."""


def preflight(todo: Iterable[Work], store: Store, refresh: bool = False) -> None:
    """Try what `todo` needs, each part of it once; with a plug-in, once for each dataset and backbone.

    Calibrators that come with calbench are tested on far more than a batch, and are not tried again.

    Args:
        todo: the cells to come.
        store: where finished cells are, which are not trained again.
        refresh: whether they are.

    Raises:
        InputError: a recipe or calibrator cannot work; the message names the file and line of the mistake.
    """
    works = list(todo)
    to_train = [w.cell for w in works if isinstance(w.cell, Cell) and (refresh or store.status(w.cell.key) != "done")]
    with threads(1), torch.random.fork_rng(devices=[]):
        for cell in _one_of_each(to_train):
            _try_recipe(cell)
        for calibrator, classes, features in _calibrators(works):
            _try_calibrator(calibrator, classes, features)


def _one_of_each(cells: Iterable[Cell]) -> Iterator[Cell]:
    """One cell of each recipe and of each network, and of each combination of them with code of the user's own."""
    known: set[tuple[str, ...]] = set()
    for cell in cells:
        network = (cell.dataset.spelled(), cell.backbone.spelled())
        keys = {("recipe", cell.recipe.name), ("network", *network)}
        if any(_is_own(part) for part in (*cell.recipe.methods, cell.backbone, cell.dataset)):
            keys.add(("both", cell.recipe.name, *network))
        if not keys <= known:
            known |= keys
            yield cell


def _calibrators(works: Iterable[Work]) -> Iterator[tuple[Calibrator, int, int]]:
    """Each calibrator from a plug-in, with a number of classes and of features that it will meet."""
    known: set[tuple[str, int]] = set()
    for work in works:
        own = [c for entry in work.entries for c in (*entry.member_calibrators, *entry.calibrators) if _is_own(c)]
        if not own:
            continue
        if isinstance(work.cell, Cell):
            classes, features = work.cell.dataset.num_classes, work.cell.backbone.info(work.cell.dataset).num_features
        else:
            classes, features = 10, 16  # of files of predictions these are known when they are read
        for calibrator in own:
            if (calibrator.spelled(), classes) not in known:
                known.add((calibrator.spelled(), classes))
                yield calibrator, classes, features


def _is_own(part: Component) -> bool:
    """Whether a part is the user's own, from a plug-in or another installed package."""
    return not type(part).__module__.startswith(_SHIPPED)


def _try_recipe(cell: Cell) -> None:
    from calbench.benchmark.training.model import build_classifier  # heavy: timm

    recipe, dataset = copy.deepcopy(cell.recipe), cell.dataset
    parts = (*recipe.methods, cell.backbone, dataset)
    try:
        backbone = cell.backbone.without_weights(dataset)
        count, size = min(BATCH, max(2, cell.training.batch_size)), backbone.data_config(dataset).image_size
        images = torch.randn(count, dataset.channels, size, size)
        labels = torch.arange(count) % dataset.num_classes
        model = build_classifier(dataset, backbone, recipe, cell.seed)
        if recipe.head is not None and model.head is not None:
            model.head.register_forward_hook(_pair_check(recipe.head))
        if cell.training.epochs == 0:
            with torch.inference_mode():
                _check_outputs(model.eval()(images), count, dataset.num_classes, recipe)
            return
        images, targets = _mixed(recipe, images, labels, dataset.num_classes)
        outputs = model.train()(images)
        _check_outputs(outputs, len(images), dataset.num_classes, recipe)
        loss = recipe.objective.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.shape != () or not loss.requires_grad:
            raise _Wrong(recipe.objective, f"the loss is {_shown(loss)}; expected a scalar tensor with a gradient")
        loss.backward()
        if recipe.is_extended:
            _train_a_little(replace(cell, backbone=backbone, recipe=recipe), labels)
    except _NOT_OF_THE_CODE:
        return
    except Exception as error:
        raise InputError(
            f"{recipe.name} on {dataset.spelled()} / {cell.backbone.spelled()}: {_reason(error, parts)}"
        ) from error


def _train_a_little(cell: Cell, labels: Tensor) -> None:
    """One epoch of one batch by the trainer of recipes with methods that act on a whole run."""
    from calbench.benchmark.data.splits import CellData
    from calbench.benchmark.training.devices import make_devices
    from calbench.benchmark.training.extended import ExtendedTrainer

    config, shape = cell.backbone.data_config(cell.dataset), (cell.dataset.channels, *2 * [cell.dataset.image_size])
    images = torch.randint(0, 256, (len(labels), *shape), dtype=torch.uint8)
    split = Split(images, labels)
    devices = make_devices("cpu", "float32")
    try:
        ExtendedTrainer(cell, CellData(split, {"calibration": split, "test": split}, config), devices).train_epoch()
    finally:
        devices.release()


def _mixed(recipe: Recipe, images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The batch and its targets after the augmentations of a recipe."""
    targets = labels
    for augmentation in recipe.augmentations:
        if not isinstance(augmentation, Augmentation):
            continue
        if targets.ndim == 1:
            targets = torch.nn.functional.one_hot(targets, classes).to(images.dtype)
        images, targets = augmentation.mix(images, targets, torch.Generator().manual_seed(0))
        if images.ndim != 4 or targets.shape != (len(images), classes):
            raise _Wrong(
                augmentation,
                f"mix gives images {_shown(images)} and targets {_shown(targets)}; expected shapes "
                f"(N, C, H, W) and (N, {classes})",
            )
    return images, targets


def _pair_check(head: Component) -> Callable[[nn.Module, Any, Any], None]:
    """A hook that checks that a head's module returns two values."""

    def check(module: nn.Module, inputs: Any, result: Any) -> None:
        if not isinstance(result, tuple) or len(result) != 2:
            raise _Wrong(head, f"forward gives {_described(result)}; expected {_HEAD_GIVES}")

    return check


def _check_outputs(outputs: Outputs, count: int, classes: int, recipe: Recipe) -> None:
    part, shape = recipe.head or recipe.objective, (count, classes)
    if not isinstance(outputs.logits, Tensor) or outputs.logits.shape != shape:
        raise _Wrong(part, f"the logits are {_shown(outputs.logits)}; expected shape {shape}")
    temperature = outputs.temperature
    if temperature is not None and (not isinstance(temperature, Tensor) or temperature.shape != (count,)):
        expected = f"shape ({count},), or None for a head without one"
        raise _Wrong(part, f"the temperatures are {_shown(temperature)}; expected {expected}")


def _try_calibrator(calibrator: Calibrator, classes: int, features: int) -> None:
    rows = max(FEWEST_ROWS, ROWS_PER_CLASS * classes)
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(rows, classes, generator=generator)
    extra = {"features": torch.randn(rows, features, generator=generator)} if "features" in calibrator.needs else {}
    copy = type(calibrator)(**calibrator.options())
    try:
        _check_features(calibrator)
        fitted = copy.fit(logits, torch.arange(rows) % classes, **extra)
        if fitted is not copy:
            raise _Wrong(calibrator, f"fit returns {_shown(fitted)}; expected self")
        with torch.no_grad():
            calibrated = copy.calibrate_tensor(logits, **extra)  # without the checks of `transform`, which fail later
        if not isinstance(calibrated, Tensor) or calibrated.shape != logits.shape:
            expected = f"a tensor of shape {tuple(logits.shape)}"
            raise _Wrong(calibrator, f"transform gives {_described(calibrated)}; expected {expected}")
        changed = int((copy.transform(logits, **extra).argmax(1) != logits.argmax(1)).sum())
        if calibrator.keeps_accuracy and changed:
            raise _Wrong(
                calibrator,
                f"keeps_accuracy = True, but transform changes the predicted class of {changed} of {rows} random rows",
            )
    except _NOT_OF_THE_CODE:
        return
    except Exception as error:
        if _refuses_data(error, calibrator):
            return  # with a reason that the table shows
        raise InputError(f"{calibrator.spelled()}: {_reason(error, (calibrator,))}") from error


def _check_features(calibrator: Calibrator) -> None:
    """Check that a calibrator asks for the features if, and only if, its methods take them."""
    needed = "features" in calibrator.needs
    for function in (type(calibrator).fit, type(calibrator).transform):
        parameters = inspect.signature(function).parameters.values()
        takes = any(p.name == "features" or p.kind is p.VAR_KEYWORD for p in parameters)
        if needed and not takes:
            raise _Wrong(calibrator, f'needs has "features", but {function.__name__} has no parameter `features`')
        if not needed and any(p.name == "features" and p.default is p.empty for p in parameters):
            ask = 'write needs = frozenset({"features"}) into the class'
            raise _Wrong(calibrator, f"{function.__name__} has the parameter `features`: {ask}")


def _refuses_data(error: Exception, calibrator: Calibrator) -> bool:
    """Whether an error is how a calibrator refuses data, and no mistake in its code.

    An InputError is; a ValueError, if a statement ``raise`` in the files of the calibrator raised it. One from a
    library that the calibrator calls is a mistake.
    """
    if isinstance(error, InputError):
        return True
    place = error.__traceback__
    if not isinstance(error, ValueError) or place is None:
        return False
    while place.tb_next is not None:
        place = place.tb_next
    code, module = place.tb_frame.f_code, sys.modules[type(calibrator).__module__]
    folder = Path(getattr(module, "__file__", None) or ".").resolve().parent
    raised = code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and Path(code.co_filename).resolve().is_relative_to(folder)


class _Wrong(Exception):  # noqa: N818
    """A part that returned something else than its base class asks for."""

    def __init__(self, part: Component, reason: str) -> None:
        super().__init__(reason)
        self.part = part


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)}"
    return type(value).__name__


def _described(value: object) -> str:
    return f"a tensor {_shown(value)}" if isinstance(value, Tensor) else _shown(value)


def _reason(error: Exception, parts: Iterable[Component]) -> str:
    """An error in one line, with the place of the mistake: in the user's own files if it passed through any of them."""
    if isinstance(error, _Wrong):
        return f"{_declared_at(error.part)}: {error}"
    own = {getattr(sys.modules[type(part).__module__], "__file__", None): part for part in parts if _is_own(part)}
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename in own), None)
    text = str(error).strip().split("\n")[0] + _nearest_attribute(error)
    reason = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
    if frame:
        return f"{Path(frame.filename).name}, line {frame.lineno}: {reason}"
    return f"{_declared_at(*own.values())}: {reason}" if len(own) == 1 else reason


def _nearest_attribute(error: Exception) -> str:
    """The nearest attribute of an object that has none of this name, or all of those of a small class of calbench."""
    if not isinstance(error, AttributeError) or not error.name:
        return ""
    names = [name for name in dir(error.obj) if not name.startswith("_")]
    near = nearest(error.name, names)
    return near or (f"; known: {', '.join(names)}" if len(names) <= LISTED else "")


def _declared_at(part: Component) -> str:
    """File and line of a part's class, and its name."""
    cls = type(part)
    try:
        return f"{Path(inspect.getfile(cls)).name}, line {inspect.getsourcelines(cls)[1]}: {cls.__name__}"
    except (OSError, TypeError):
        return cls.__name__
