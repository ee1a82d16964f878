"""Errors that users can fix: the tools print their message without a traceback."""

import difflib
import re


class UserError(Exception):
    """Invalid user input, such as a path, a flag, a config or a checkpoint. The message tells how to fix it."""


def explain_unknown_type(message: str) -> str | None:
    """Explain MMEngine's error of an unregistered type, with similar types; None if the message is a different one."""
    found = re.search(r'(\S+) is not in the (?:\S+::)?(.+?) registry', message)
    if found is None:
        return None
    # Imported here, so that tools for timm models do not need MMEngine.
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
