"""Building something by the options that a person named, in a recipe or on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nas.errors import NasError, nearest

Built = TypeVar("Built")


def build_with_options(build: Callable[..., Built], what: str, *arguments: Any, **options: Any) -> Built:
    """`build(*arguments, **options)`, where the options are checked against the signature first.

    Args:
        build: a class or function; its keyword parameters beyond `arguments` are the valid options.
        what: how the error names it, e.g. "network 'aasist'".

    Raises:
        NasError: an option that `build` does not take, with the nearest valid name, or one that it needs is missing.
    """
    parameters = list(inspect.signature(build).parameters.values())[len(arguments) :]
    valid = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    # A build that takes any keyword checks them itself.
    checks_itself = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in options:
        if name not in valid and not checks_itself:
            raise NasError(f"{what} has no option {name!r}{nearest(name, valid) if valid else '; it takes none'}")
    missing = [p.name for p in parameters if p.name in valid and p.default is p.empty and p.name not in options]
    if missing:
        raise NasError(f"{what} needs {', '.join(missing)}")
    return build(*arguments, **options)


def build_with_shared(
    build: Callable[..., Built], what: str, shared: Mapping[str, Any], *arguments: Any, **options: Any
) -> Built:
    """`build_with_options`, with those of the values in `shared` that `build` takes and `options` does not give.

    Raises:
        NasError: as of `build_with_options`.
    """
    takes = list(inspect.signature(build).parameters)[len(arguments) :]
    handed = {name: value for name, value in shared.items() if name in takes}
    return build_with_options(build, what, *arguments, **{**handed, **options})
