"""nas show"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.errors import NasError

if TYPE_CHECKING:
    from nas.config import Recipe, SearchedNetwork
    from nas.genotype import Genotype
    from nas.visual.graph import Strengths

DEFAULT_SPACE = "raw_waveform"
PICTURE = "Picture to write: .svg, .png or .pdf; or the cells as a graph: .graphml or .json."


def show(
    genotype: Annotated[Path, typer.Argument(help="Genotype file, FILE:NAME of several, or a run directory.")],
    other: Annotated[Path | None, typer.Argument(help="A second genotype, for --diff.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help=PICTURE, metavar="FILE")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Draw two genotypes side by side with what changed.")] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Draw the whole network of a run: shapes, parameters, multiplications.")
    ] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Print what every part of the network costs, and measure its latency here.")
    ] = False,
    film: Annotated[
        Path | None,
        typer.Option(help="Draw a search as it happened, from a search run, into this folder.", metavar="DIR"),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space that a genotype file is held against; the one that it names.")
    ] = None,
) -> None:
    """Print a genotype in the published text form, draw its cells, and say what its search space would refuse.

    Example: nas show runs/search/genotype.json -o cells.svg

    Example: nas show runs/search --film pictures/

    Example: nas show runs/search --cost
    """
    from nas.genotype import Genotype
    from nas.space import get_space

    recipe = _recipe(genotype)
    found = Genotype.load(genotype, get_space(recipe.space) if recipe else get_space(space) if space else None)
    name = recipe.space if recipe else space or (found.mark.name if found.mark else DEFAULT_SPACE)
    typer.echo(str(found))
    try:
        found.validate(get_space(name))
    except NasError as error:
        typer.echo(f"nas: {error}", err=True)
    if diff != (other is not None):
        raise NasError("--diff compares two genotypes: nas show A B --diff -o changes.svg")
    around, samples = _around(recipe)
    if cost:
        _print_cost(found, name, around, samples)
    if film is not None:
        from nas.visual.film import draw_search

        typer.echo("\n".join(f"drawn: {path}" for path in draw_search(genotype, film)))
    if output is None:
        if diff or network:
            raise NasError("say where to draw: --output FILE (.svg, .png or .pdf)")
        return
    if other is not None:
        from nas.visual.genotype import diff_genotypes

        second = Genotype.load(other, get_space(name))
        names = (genotype.stem, other.stem) if genotype.stem != other.stem else (str(genotype), str(other))
        typer.echo(f"drawn: {diff_genotypes(found, second, output, get_space(name), names)}")
    elif network:
        from nas.cost import genotype_cost
        from nas.visual.network import draw_network

        typer.echo(f"drawn: {draw_network(genotype_cost(found, name, around, samples), output)}")
    elif output.suffix.lower() in (".graphml", ".json"):
        from nas.cost import genotype_cost
        from nas.visual.graph import save_graph

        stated = genotype_cost(found, name, around, samples)
        typer.echo(f"written: {save_graph(found, output, _strengths(genotype, found), stated)}")
    else:
        from nas.visual.genotype import draw_genotype

        typer.echo(f"drawn: {draw_genotype(found, output, get_space(name), _strengths(genotype, found))}")


def _print_cost(genotype: Genotype, space: str, around: SearchedNetwork, samples: int) -> None:
    """The stated cost of every part, and the measured time of scoring one utterance."""
    from statistics import median

    from nas.cells.derived import DerivedNetwork
    from nas.cost import genotype_cost
    from nas.networks.benchmark import measure_scoring

    typer.echo(genotype_cost(genotype, space, around, samples).to_markdown())
    times = measure_scoring(DerivedNetwork(genotype, space, around), samples, rounds=5)
    plain, prepared = (1000 * median(part) for part in (times.plain, times.prepared))
    typer.echo(f"CPU latency of an utterance, one thread: {plain:.1f} ms, prepared for inference {prepared:.1f} ms")


def _strengths(path: Path, genotype: Genotype) -> Strengths | None:
    """Strengths of the kept edges, where the path is the run directory of a search that derived the genotype."""
    if not any((path / "genotypes").glob("epoch_*.architecture.json")):
        return None
    from nas.visual.film import read_film

    film = read_film(path)
    return film.kept_strengths(film.genotypes.index(genotype)) if genotype in film.genotypes else None


def _recipe(path: Path) -> Recipe | None:
    if not path.is_dir():
        return None
    from nas.training.run import Run

    return Run.open(path).recipe


def _around(recipe: Recipe | None) -> tuple[SearchedNetwork, int]:
    """What stands around the cells of a run, and its samples; the paper's for a bare genotype."""
    from nas.config import Data, SearchedNetwork

    if recipe is None:
        return SearchedNetwork(), Data().samples
    return recipe.require_searched(), recipe.data.samples
