"""Errors that the user can fix: the tools print their message without a traceback."""

import difflib
import re


class UserError(Exception):
    """A mistake in what the user gave: a path, a flag, a config, a checkpoint. Its message says how to mend it."""


def explain_unknown_type(message: str) -> str | None:
    """Return a message with close names for MMEngine's error of an unknown type; None for any other error."""
    found = re.search(r'(\S+) is not in the (?:\S+::)?(.+?) registry', message)
    if found is None:
        return None
    # Imported here because tools for timm models alone run without MMEngine.
    from mmengine import registry as registries

    name, kind = found[1].lstrip('\'"'), found[2]
    known = set()
    for registry in vars(registries).values():
        if isinstance(registry, registries.Registry) and registry.name == kind:
            for each in (registry, *registry.children.values()):
                known |= each.module_dict.keys()
    close = ', '.join(difflib.get_close_matches(name.rpartition('.')[2], sorted(known)))
    hint = f' Close: {close}.' if close else ''
    return f'the config names a {kind} of type {name!r}, not registered here.{hint} custom_imports registers others.'
