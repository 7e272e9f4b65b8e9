"""Prices of one provider, as the user states them in YAML, and what some work costs by them.

There are no default prices: they differ by provider, region and contract. What has no price is named and not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.validation import Options, validated
from pipeline.yaml_text import read_yaml

if TYPE_CHECKING:  # a flow has prices as a parameter and loads no plan
    from pipeline.cost.work import Work


class PriceTable(Options):
    """Prices, all in one currency. What is left out has no price."""

    currency: str = Field(min_length=1, max_length=12, description="Of all prices, such as USD or CNY.")
    get_per_1000: float | None = Field(default=None, ge=0, description="1,000 GET requests.")
    list_per_1000: float | None = Field(default=None, ge=0, description="1,000 LIST requests.")
    put_per_1000: float | None = Field(default=None, ge=0, description="1,000 PUT requests.")
    read_per_gb: float | None = Field(default=None, ge=0, description="Traffic out of the store, per 10^9 bytes.")
    stored_per_gb_month: float | None = Field(default=None, ge=0, description="Storage, per 10^9 bytes and month.")
    core_hour: float | None = Field(default=None, ge=0, description="An hour of a CPU core.")
    gpu_hour: float | None = Field(default=None, ge=0, description="An hour of a GPU.")
    records_per_core_hour: float | None = Field(
        default=None, gt=0, description="Assumed until a run of the dataset has measured it."
    )
    records_per_gpu_hour: float | None = Field(
        default=None, gt=0, description="Assumed until a run of the dataset has measured it."
    )


@dataclass(frozen=True, slots=True)
class Price:
    """What some work costs.

    Attributes:
        currency: of all amounts.
        total: the sum of `parts`.
        parts: amounts by what they are for.
        monthly: what the written bytes cost each month from then on; None without a price.
        left_out: what has no price or no known amount.
    """

    currency: str
    total: float
    parts: Mapping[str, float]
    monthly: float | None
    left_out: tuple[str, ...]


def read_prices(path: Path) -> PriceTable:
    """The prices in a YAML file. Raises ConfigError with the line of each wrong key."""
    file = read_yaml(path, "Write one like infra/prices.example.yaml.")
    return validated(PriceTable, file.tree, "The prices are not valid", label=file.label)


def price(work: Work, prices: PriceTable) -> Price:
    """What `work` costs."""
    amounts = {
        "GET": (work.gets, prices.get_per_1000, 1e3),
        "LIST": (work.lists, prices.list_per_1000, 1e3),
        "PUT": (work.puts, prices.put_per_1000, 1e3),
        "traffic": (work.read_bytes, prices.read_per_gb, 1e9),
        "cores": (work.core_hours, prices.core_hour, 1),
        "GPUs": (work.gpu_hours, prices.gpu_hour, 1),
    }
    parts = {
        name: amount * each / unit
        for name, (amount, each, unit) in amounts.items()
        if amount is not None and each is not None
    }
    left_out = tuple(name for name, (amount, _, _) in amounts.items() if name not in parts and amount != 0)
    stored, each = work.written_bytes, prices.stored_per_gb_month
    monthly = stored * each / 1e9 if stored is not None and each is not None else None
    return Price(prices.currency, sum(parts.values()), parts, monthly, left_out)
