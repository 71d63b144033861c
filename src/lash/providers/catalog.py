"""Models as data: a table is read, and the longest prefix of a model's name wins. No code knows a model by its name.

Prices are US dollars per million tokens, as public price lists had them on the date beside them; a row without a price
is a model whose price was not known then. Prices of long prompts, batches and tiers are not in it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple, cast

from lash.core.codec import as_object, decode
from lash.core.model import Effort, ModelInfo, Price

IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
UNKNOWN: Final = ModelInfo()
"""A model nobody wrote down: modest bounds, no effort, no price. Settings it cannot keep are refused, not dropped."""
VARIANT: Final = re.compile(r"[-@:]|$")
"""What may follow a row's name: ``gpt-4o`` is no row for ``gpt-4omega``, and ``gpt-5`` none for ``gpt-5.9``."""
SAME_PRICE: Final = re.compile(r"(?:[-@](?:\d{3,}|\d{4}-\d\d-\d\d|latest|preview)(?:-\d[\d-]*)?)?$")
"""A dated or preview name of the same model. Any other variant can what its row can, at a price nobody noted."""


class Row(NamedTuple):
    prefix: str
    info: ModelInfo
    noted: str
    """The date the price was noted; empty without one."""


@cache
def rows_of(vendor: str) -> tuple[Row, ...]:
    """The rows of a vendor, the longest name first."""
    table = as_object(decode(files("lash.providers").joinpath("models.json").read_bytes()))
    vendors = as_object(table["vendors"])
    rows = [
        row_of(name, as_object(table["defaults"]) | as_object(plain))
        for name, plain in as_object(vendors.get(vendor)).items()
    ]
    return tuple(sorted(rows, key=lambda row: -len(row.prefix)))


def row_of(name: str, plain: dict[str, object]) -> Row:
    price = cast("list[float | None] | None", plain["price"])
    return Row(
        name,
        ModelInfo(
            context_tokens=cast(int, plain["context"]),
            output_tokens_max=cast(int, plain["output"]),
            efforts=tuple(cast("list[Effort]", plain["efforts"])),
            effort_budgets=cast("dict[str, int] | None", plain["budgets"]),
            media_types=tuple(cast("list[str]", plain["media"])),
            structured=cast(bool, plain["structured"]),
            temperature=cast(bool, plain["temperature"]),
            price=None if price is None else Price(*cast("list[float]", price)),
        ),
        cast(str, plain["noted"]),
    )


def row_for(vendor: str, model: str) -> Row | None:
    """The row of the longest name that ``model`` begins with, or None."""
    for row in rows_of(vendor):
        if model.startswith(row.prefix) and VARIANT.match(model, len(row.prefix)):
            if SAME_PRICE.match(model, len(row.prefix)):
                return row
            return row._replace(info=replace(row.info, price=None), noted="")
    return None


def info_of(vendor: str, model: str) -> ModelInfo:
    """What is known of ``model``; ``UNKNOWN`` where no row fits."""
    row = row_for("openai" if vendor == "openai-chat" else vendor, model)
    return UNKNOWN if row is None else row.info
