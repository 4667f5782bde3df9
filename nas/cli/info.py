"""nas info, nas --version"""

from __future__ import annotations

import typer


def print_version(asked: bool) -> None:
    """Print the version and end, where it was asked for."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"nas {version('nas-antispoofing')}")
        raise typer.Exit


def info() -> None:
    """Versions, devices, threads and compilers, and which extras are installed: what to write into a bug report.

    Example: nas info
    """
    from nas.installation import describe_installation

    for name, value in describe_installation().items():
        typer.echo(f"{name:<18}{value}")
