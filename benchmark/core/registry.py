"""The one generic registry: methods, datasets, backbones and metrics are declared through it, each in one class.

A declaration is a class with a decorator; its dataclass fields are its options. Names on the command line, table
labels, citations, cache keys, documentation rows and the parametrised tests all follow from it.
"""

import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from calbench.benchmark.core.declaration import check_declaration
from calbench.benchmark.core.errors import OWN, InputError, check_names
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.core.text import name as one_name

AFFECTS_RESULTS = False

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Spec:
    """The name of a declaration, its label in tables, and the key of its paper in ``results/reference/papers``."""

    name: str
    label: str
    paper: str | None = None


class Component:
    """Base of everything with options: a dataclass whose fields are checked against their types when it is made."""

    spec: ClassVar[Spec]

    def __post_init__(self) -> None:
        """Check every option against its annotation.

        Raises:
            InputError: an option has the wrong type or is out of its range.
        """
        for name, value in checked_options(type(self), self.options()).items():
            if value is not getattr(self, name):
                object.__setattr__(self, name, value)

    def options(self) -> dict[str, Any]:
        """All options with their values."""
        return {field.name: getattr(self, field.name) for field in option_fields(type(self))}

    def changed_options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        defaults = option_defaults(type(self))
        return {k: v for k, v in self.options().items() if k not in defaults or v != defaults[k]}

    def identity(self) -> dict[str, Any]:
        """What determines this component's part of a result, as plain data: name, source digest and every option."""
        return {"name": self.spec.name, "source": source_digest(type(self)), "options": self.options()}

    def spelled(self) -> str:
        """The component as written in a suite: ``name`` or ``name(option=value)`` with the changed options.

        Paths are cut to their last part: this is the one name of the component in every table and file.
        """
        changed = one_name(", ".join(f"{k}={v}" for k, v in self.changed_options().items()))
        return f"{self.spec.name}({changed})" if changed else self.spec.name


def option_fields(cls: type[Component]) -> list[Field[Any]]:
    """The dataclass fields of `cls` that are options (those its constructor takes)."""
    return [field for field in fields(cls) if field.init] if is_dataclass(cls) else []


def option_defaults(cls: type[Component]) -> dict[str, Any]:
    """Option name to default value; options without a default are left out."""
    found: dict[str, Any] = {}
    for field in option_fields(cls):
        if field.default is not MISSING:
            found[field.name] = field.default
        elif field.default_factory is not MISSING:
            found[field.name] = field.default_factory()
    return found


@cache
def _adapters(cls: type[Component]) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in option_fields(cls)}


def checked_options(cls: type[Component], options: dict[str, Any]) -> dict[str, Any]:
    """Check `options` by name and type.

    Raises:
        InputError: an unknown option (with the nearest name) or a value of the wrong type.
    """
    name = cls.spec.name if hasattr(cls, "spec") else cls.__name__
    adapters = _adapters(cls)
    if set(options) - set(adapters) and inspect.get_annotations(cls) and not is_dataclass(cls):
        raise InputError(f"{name}: class {cls.__name__} has no options; write @dataclass above it")
    check_names(f"option of {name}", options, adapters)
    checked: dict[str, Any] = {}
    for key, value in options.items():
        try:
            checked[key] = adapters[key].validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(f"{name}: option {key}={value!r}: {reason}") from None
    return checked


C = TypeVar("C", bound=type)
D = TypeVar("D", bound=type)


_NOT_LISTED = ("corruption", "shifted-set")
"""The nouns that the command ``list`` does not have."""


class Registry(Generic[C]):
    """Declared classes by name, with plug-ins from the entry-point group ``calbench.<plural>``.

    Args:
        noun: what one declaration is, for messages (``"method"``); its plural names the entry-point group.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.group = f"calbench.{noun}s"
        self.listing = "" if noun in _NOT_LISTED else f"calbench list {noun}s"
        self._classes: dict[str, C] = {}
        self._entry_points_loaded = False

    def register(self, name: str, *, label: str | None = None, paper: str | None = None) -> Callable[[D], D]:
        """Return the decorator that declares a class under `name`.

        Raises:
            InputError: the name is taken or is not made of lower-case letters, digits, ``.``, ``_`` and ``-``; or the
                class lacks a method that its kind needs, or misspells one of its attributes.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # @register without parentheses
            raise InputError(f'@register needs a name: write @register("my-{self.noun}")')
        if not _NAME.fullmatch(name):
            raise InputError(f"{self.noun} name {name!r}: use lower-case letters, digits, '.', '_' and '-'")

        def decorate(cls: D) -> D:
            taken = self._classes.get(name)
            if taken is not None and _are_two(taken, cls):
                raise InputError(
                    f"{self.noun} {name!r} is declared twice: class {taken.__name__} in {_home(taken)} and class "
                    f"{cls.__name__} in {_home(cls)}; give one of them another name"
                )
            missing = sorted(getattr(cls, "__abstractmethods__", ()))
            if missing:
                raise InputError(f"{self.noun} {name!r}: class {cls.__name__} has no {' and no '.join(missing)}")
            if not cls.__module__.startswith(_SHIPPED):
                check_declaration(f"{self.noun} {name!r}", cls, Component)
            cls.spec = Spec(name, label or name, paper)
            self._classes[name] = cast("C", cls)
            return cls

        return decorate

    @property
    def ending(self) -> str:
        """The end of a message about an unknown name: how to name a file of one's own, until one was named."""
        return "" if _plugin_digests or not self.listing else OWN

    def __iter__(self) -> Iterator[str]:
        self._load_entry_points()
        return iter(sorted(self._classes))

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, name: str) -> C:
        """The class declared as `name`; an `InputError` with the nearest name if there is none."""
        self._load_entry_points()
        check_names(self.noun, [name], sorted(self._classes), self.listing, self.ending)
        return self._classes[name]

    def create(self, name: str, **options: Any) -> Any:
        """Make one, with its options checked by name and type (an `InputError` otherwise)."""
        cls = self[name]
        checked = checked_options(cls, options)
        missing = [f.name for f in option_fields(cls) if f.name not in checked | option_defaults(cls)]
        if missing:
            raise InputError(f"{self.noun} {name!r} needs the option {missing[0]!r}")
        return cls(**checked)

    def _load_entry_points(self) -> None:
        if self._entry_points_loaded:
            return
        self._entry_points_loaded = True
        for point in importlib.metadata.entry_points(group=self.group):
            try:
                point.load()
            except Exception as error:
                self._entry_points_loaded = False  # the next use fails too, and does not go on without the plug-in
                raise InputError(f"plug-in {point.value} ({self.group}) fails to import: {error!r}") from error


_plugin_digests: dict[str, str] = {}
_SHIPPED = "calbench."


def _are_two(first: type, second: type) -> bool:
    """Whether two classes are two declarations, not one that was edited or imported again."""
    if first.__module__ == second.__module__:
        return first.__qualname__ != second.__qualname__
    return _origin(first) != _origin(second)


def _home(cls: type) -> str:
    """Where a class is, for people: the name of a plug-in's file, or the module."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None) if cls.__module__ in _plugin_digests else None
    return Path(file).name if file else cls.__module__


def _origin(cls: type) -> str:
    """The module of a declaration; for a plug-in without the hash of its text, so that an edited one replaces it."""
    module = cls.__module__
    return module.removesuffix(_plugin_digests[module]) if module in _plugin_digests else module


@dataclass(frozen=True)
class Plugin:
    """A user's file of declarations, imported once."""

    path: Path
    module: str

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Import `path`; what it declares is in the registries afterwards.

        Raises:
            InputError: the file is missing or fails to import; the message names the file and the cause.
        """
        path = Path(path).expanduser().resolve()
        if not path.is_file():
            raise InputError(f"plug-in {path.name}: no such file")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        module = f"calbench_plugin_{path.stem}_{digest}"
        if module in sys.modules:
            return cls(path, module)
        _plugin_digests[module] = digest
        spec = importlib.util.spec_from_file_location(module, path)
        if spec is None or spec.loader is None:
            raise InputError(f"plug-in {path.name}: not a Python file")
        sys.modules[module] = loaded = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(loaded)
        except InputError as error:
            del sys.modules[module]
            raise InputError(f"plug-in {path.name}{_line_in(error, str(path))}: {error}") from error
        except Exception as error:
            del sys.modules[module]
            line = _line_in(error, str(path))
            text = error.msg if isinstance(error, SyntaxError) else error
            raise InputError(f"plug-in {path.name}{line} fails to import: {type(error).__name__}: {text}") from error
        return cls(path, module)


def _line_in(error: BaseException, path: str) -> str:
    """``", line n"`` of the last frame of `error` that lies in `path`, or ``""``."""
    lines: list[int] = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines else ""
