"""nas search"""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import Output, Overrides, Quiet, RecipeArgument, show_log


def search(
    recipe: RecipeArgument,
    output: Output,
    overrides: Overrides = None,
    strategy: Annotated[
        str | None, typer.Option(help="A strategy in place of search.strategy: pcdarts, darts, random, evolution ...")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Where the study is, for several machines: postgresql+psycopg://..., grpc://...")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Search an architecture: bi-level optimisation of a supernet, or trying genotypes.

    Writes a run directory with the genotype taken (genotype.json), the genotypes on the way, history.csv, a log, and
    what the search cost (cost.json). A search that tries genotypes goes on when it is run again.

    Example: nas search raw_pcdarts/mel_fixed data.root=/data/LA --output runs/search

    Example: nas search raw_pcdarts/mel_fixed data.root=/data/LA --strategy evolution --output runs/evolution
    """
    import nas
    from nas.commands import after_search
    from nas.searching.search import search as search_by_strategy

    show_log()
    changes = [*(overrides or ()), *([f"search.strategy={strategy}"] if strategy else [])]
    changed = nas.load_recipe(recipe, changes)
    result = search_by_strategy(changed, output, not quiet, storage)
    print(f"genotype of {result.unit} {result.epoch}, dev EER {result.eer:.2f} %: {result.genotype_file}")
    if changed.search.black_box.objectives and result.unit == "trial":
        print(f"Pareto front: {result.folder / 'pareto.md'}")
    print(after_search(result.folder))
