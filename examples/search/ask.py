"""Ask a search server, with the standard library alone: a text, a text with a condition, and a picture.

Usage: python ask.py [--url http://localhost:8000] [--picture FILE]; the key, if the server has keys, is in HANCLIP_KEY
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def search(url: str, **fields: Any) -> list[dict[str, Any]]:
    """The rows nearest to `query`, best first; `docs/serve.md` has the fields."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("HANCLIP_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{url}/v1/search", json.dumps(fields).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return list(json.load(answer)["data"])
    except urllib.error.HTTPError as error:  # the server says what is wrong, and what to do
        raise SystemExit(json.load(error)["error"]["message"]) from error


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows below a title."""
    print(title)
    for row in rows:
        print(f"  {row['similarity']:.3f}  {row['id']}  {row['columns']['text'] or ''}")


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    show("红苹果", search(given.url, query="红苹果", top=3))
    show(
        "红苹果, of one vendor, without green",
        search(given.url, query="红苹果", where="vendor = 'noto'", **{"not": "绿色"}, top=3),
    )
    if given.picture:
        image = base64.b64encode(given.picture.read_bytes()).decode()
        show(str(given.picture), search(given.url, query={"image": image}, top=3))


if __name__ == "__main__":
    main()
