"""Every public name is documented in one dialect, and the reference shows all of it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re

import pytest

import tfrs_barlow

griffe = pytest.importorskip("griffe")

NAMES = [
    f"{package}.{name}"
    for package in tfrs_barlow.__all__
    if not package.startswith("_")
    for name in getattr(tfrs_barlow, package).__all__
]
ORDER = ["Args", "Attributes", "Returns", "Yields", "Raises", "Examples", "References"]
# As other styles name them: none of these is a section of ours.
OTHER_TITLES = ["Example", "Arguments", "Parameters", "Keyword Args", "Reference"]
TITLE = re.compile(rf"^({'|'.join(ORDER + OTHER_TITLES)}):$", re.MULTILINE)


@functools.cache
def reference() -> griffe.Module:
    """The package as the documentation site reads it."""
    package = griffe.load("tfrs_barlow", docstring_parser="google")
    assert isinstance(package, griffe.Module)
    return package


def value_of(name: str) -> object:
    package, _, member = name.partition(".")
    return getattr(getattr(tfrs_barlow, package), member)


def documented(name: str, kind: griffe.DocstringSectionKind) -> set[str]:
    """The names in the section of a kind, as the site shows it."""
    docstring = reference()[name].docstring
    return {
        entry.name.lstrip("*")
        for section in (docstring.parsed if docstring else [])
        if section.kind is kind
        for entry in section.value
    }


def fields(value: object) -> set[str]:
    if dataclasses.is_dataclass(value):
        return {field.name for field in dataclasses.fields(value) if field.init}
    return set(getattr(value, "_fields", ()))


def arguments(value: object) -> set[str]:
    if inspect.isclass(value):
        # Not that of the class: Keras gives its models a `__new__` without names.
        parameters = list(inspect.signature(value.__init__).parameters)[1:]
    else:
        parameters = list(inspect.signature(value).parameters)
    return set(parameters)


def is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def is_documented(name: str) -> bool:
    """Constants and types of annotations have no docstrings."""
    return inspect.isclass(value_of(name)) or inspect.isfunction(value_of(name))


CALLABLES = [name for name in NAMES if is_documented(name)]


@pytest.mark.parametrize("name", CALLABLES)
def test_every_argument_is_in_the_reference(name: str) -> None:
    value = value_of(name)
    if name_of_fields := fields(value):
        kinds = griffe.DocstringSectionKind
        shown = documented(name, kinds.attributes) | documented(name, kinds.parameters)
        assert shown >= name_of_fields
    elif not is_error(value):
        shown = documented(name, griffe.DocstringSectionKind.parameters)
        assert shown == arguments(value)


@pytest.mark.parametrize("name", CALLABLES)
def test_sections_stand_in_one_order(name: str) -> None:
    titles = TITLE.findall(inspect.getdoc(value_of(name)) or "")
    assert titles == [title for title in ORDER if title in titles]


@pytest.mark.parametrize("name", CALLABLES)
def test_every_public_name_has_an_example(name: str) -> None:
    value = value_of(name)
    if is_error(value) or hasattr(value, "_fields"):
        return  # The function that raises or returns it shows it.
    docstring = inspect.getdoc(value) or ""
    assert re.search(r"^Examples:\n(.*\n)*? +>>> ", docstring, re.MULTILINE)


@pytest.mark.parametrize(
    "name", [name for name in CALLABLES if inspect.isclass(value_of(name))]
)
def test_the_constructor_is_documented_by_its_class(name: str) -> None:
    constructor = vars(value_of(name)).get("__init__")
    assert not getattr(constructor, "__doc__", None) or fields(value_of(name))
