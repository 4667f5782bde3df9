"""What a search cost: cost.json of its run directory, the same for every strategy."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nas.errors import NasError
from nas.files import write_text


@dataclass(frozen=True)
class Spending:
    """
    Attributes:
        strategy: as in the recipe.
        seconds: spent by all workers together, failed trials included, a supernet that was trained before not.
        networks_trained: networks of genotypes, each trained from scratch.
        supernets_trained: supernets, this search's own or the one that judged one-shot.
        supernet_seconds: what a supernet that was trained before took; None where that is not known or there is none.
        trials: genotypes that were evaluated.
        device: what it ran on.
    """

    strategy: str
    seconds: float
    networks_trained: int = 0
    supernets_trained: int = 0
    supernet_seconds: float | None = None
    trials: int = 0
    device: str = ""

    def write(self, folder: Path) -> Path:
        """Write FOLDER/cost.json."""
        device = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
        )
        values = asdict(self) | {"seconds": round(self.seconds, 2), "device": self.device or device}
        return write_text(folder / "cost.json", json.dumps(values, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Spending | None:
        """The cost of a search run; None where it was not written.

        Raises:
            NasError: the file is damaged.
        """
        try:
            return cls(**json.loads((folder / "cost.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise NasError(f"{folder / 'cost.json'} is damaged") from error
