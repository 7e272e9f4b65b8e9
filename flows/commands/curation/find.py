"""`hanclip find`: say whether pictures are in a dataset already.

In: addresses of pictures. Out: the rows that show each of them, with the rung and the distance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from flows.terminal.json_lines import write_json
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline import units
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.encoder import encoder_of
from pipeline.curation.find.picture import SamePicture, SoughtPicture, find_picture
from pipeline.curation.search.queries import decoded, read_image
from pipeline.curation.vectors import IMAGE, require_vectors
from pipeline.dataset.dataset import Dataset


def show_find(out: str, images: Sequence[str], settings: DedupSettings, model: str | None, as_json: bool) -> None:
    """Find each of the images in the dataset at `out` and print its rows."""
    dataset = Dataset.open(out)
    require_vectors(dataset, IMAGE)
    with Console(stderr=True).status("Loading the dataset's model") as doing:
        data = {image: read_image(image) for image in images}
        encoder = encoder_of(out, model, "fp32")
        found = {}
        for image in data:
            doing.update("Comparing all rows")
            picture = decoded(encoder, data[image], image)
            vector = encoder.encode_images(picture.pixels[None])[0]
            sha256 = hashlib.sha256(data[image]).hexdigest()
            wanted = SoughtPicture(sha256, picture.pixels_xxh128(), picture.phash(), vector)
            found[image] = find_picture(out, wanted, settings)
    if as_json:
        pictures = [{"image": image, "rows": [asdict(row) for row in rows]} for image, rows in found.items()]
        write_json("find", {"out": dataset.uri, "pictures": pictures})
    else:
        for image, rows in found.items():
            _print(image, rows)


def _print(image: str, rows: Sequence[SamePicture]) -> None:
    console = Console(highlight=False)
    found = units.count(len(rows), "row") if rows else "not in the dataset"
    console.print(plain(f"{image}: {found}", "bold"), soft_wrap=True)
    if not rows:
        return
    table = Table(box=None, header_style="dim", padding=(0, 2))
    for name in ("rung", "cosine", "bits", "id"):
        table.add_column(name, no_wrap=name == "id")
    for row in rows:
        table.add_row(row.rung, f"{row.cosine:.4f}", str(row.bits), plain(row.id))
    print_table(table, console)
