"""Lets the reference show our docstrings and names as they are meant."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Takes the section `Example:` for what Griffe calls `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Renames the section in the docstring of every object."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                "^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )


class Functions(griffe.Extension):
    """Takes `linear_probe` for the function, not for the module that it comes from.

    That is what Python does when `__init__.py` imports the one from the other.
    """

    def on_package(
        self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any
    ) -> None:
        """Puts functions in the place of modules of the same name."""
        # Aliases are found by their path, which is gone once the module is.
        loader.resolve_aliases(implicit=True)
        for room in list(pkg.modules.values()):
            for name, module in list(room.modules.items()):
                if name in (room.exports or ()) and name in module.members:
                    function = griffe.Alias(name, module.members[name], parent=room)
                    room.set_member(name, function)
