"""The figures of the READMEs, in English and Chinese: hanclip beside its peers, and what else was measured.

A row whose result is missing is left out, and so is what a result did not measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from benchmarks.figures.results import Result
from benchmarks.reporting import Row
from benchmarks.serve.goals import COMPARED, JOINED

Language = Literal["en", "zh"]
Results = Mapping[str, Result]

_WORKS = {
    "embed-tiny-640": {"en": "640 x 480, nearly no model", "zh": "640 x 480，几乎没有模型计算"},
    "embed-tiny-800": {"en": "800 x 800, nearly no model", "zh": "800 x 800，几乎没有模型计算"},
    "embed-tiny-1600": {"en": "1600 x 1200, nearly no model", "zh": "1600 x 1200，几乎没有模型计算"},
    "embed-vit-b-16": {"en": "640 x 480, ViT-B/16 in bf16", "zh": "640 x 480，ViT-B/16，bf16"},
}
_VARIANTS = {
    "hanclip": {"en": "hanclip", "zh": "hanclip"},
    "bare": {"en": "bare loop", "zh": "裸循环"},
    "loader": {"en": "PyTorch DataLoader", "zh": "PyTorch DataLoader"},
    "daft": {"en": "Daft", "zh": "Daft"},
    "ray_data": {"en": "Ray Data", "zh": "Ray Data"},
}
_HEADS = {
    "peers": {
        "en": ["JPEGs", *(names["en"] for names in _VARIANTS.values()), "hanclip / bare loop, start included"],
        "zh": ["JPEG", *(names["zh"] for names in _VARIANTS.values()), "hanclip / 裸循环（含启动）"],
    },
    "others": {
        "en": ["measured", "hanclip", "for comparison", "machine"],
        "zh": ["测量项", "hanclip", "对照", "机器"],
    },
}
_CAPTION = {
    "en": "Images/s, and CPU milliseconds per image, while all workers are busy; {machine}, {dates}.",
    "zh": "每格为所有进程满负荷时的图片/秒，以及每张图片的 CPU 毫秒数；{machine}，{dates}。",
}


def figures(results: Results, language: Language) -> str:
    """Both tables with their captions."""
    measured = [results[kind] for kind in _WORKS if kind in results]
    dates = sorted({result.date for result in measured})
    machines = sorted({result.machine for result in measured})
    joined = "、" if language == "zh" else ", "
    caption = _CAPTION[language].format(machine=joined.join(machines), dates=joined.join(dates))
    peers = [[*_peers(results[kind], names[language])] for kind, names in _WORKS.items() if kind in results]
    return "\n\n".join(
        [
            caption,
            _table(_HEADS["peers"][language], peers),
            _table(_HEADS["others"][language], list(_others(results, language))),
        ]
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _peers(result: Result, work: str) -> Iterator[str]:
    yield work
    at = {variant: result.row(variant=variant) for variant in _VARIANTS}
    for row in at.values():
        yield f"{row['steady_images_per_s']:,.0f}, {row['steady_cpu_ms_per_image']:.1f} ms" if row else ""
    own, bare = at["hanclip"], at["bare"]
    yield f"{own['whole_images_per_s'] / bare['whole_images_per_s']:.2f}" if own and bare else ""


def _others(results: Results, language: Language) -> Iterator[list[str]]:
    """Rows of the second table."""
    for kind, describe in (
        ("gpu", _gpu),
        ("stand-in", _stand_in),
        ("serve-demo", _serve),
        ("serve-demo", _serve_images),
        ("search-1e6", _search),
        ("dedup", _dedup),
        ("scale-1e8", _scale),
        ("startup-runs", _start),
    ):
        result = results.get(kind)
        cells = describe(result) if result else None
        if result and cells:
            texts = [cell[0 if language == "en" else 1] if isinstance(cell, tuple) else cell for cell in cells]
            yield [*texts, f"{result.machine}, {result.date}"]


_Cells = tuple[str | tuple[str, str], str | tuple[str, str], str | tuple[str, str]]


def _gpu(result: Result) -> _Cells | None:
    row = result.row(model="vit-b-16", images="224")
    if not row:
        return None
    return (
        ("ViT-B/16 on one GPU, 224 x 224 JPEGs", "一块 GPU 上的 ViT-B/16，224 x 224 JPEG"),
        (f"{row['sustained_images_per_s']:,} images/s", f"{row['sustained_images_per_s']:,} 张/秒"),
        (f"{row['ceiling_compiled']:,}: the compiled model alone", f"{row['ceiling_compiled']:,}：仅运行编译后的模型"),
    )


def _stand_in(result: Result) -> _Cells:
    row: Row = max((row for row in result.rows if row["pixels"] == "16 x 16"), key=lambda row: row["devices"])
    devices, rate, ceiling = row["devices"], f"{row['images_per_s']:,}", f"{row['ceiling_images_per_s']:,}"
    return (
        (f"{devices} simulated devices that use no CPU", f"{devices} 个不占 CPU 的模拟设备"),
        (f"{rate} images/s", f"{rate} 张/秒"),
        (f"{ceiling}: all of them busy", f"{ceiling}：所有设备满负荷"),
    )


def _serve(result: Result) -> _Cells | None:
    names = ("`serve`, texts of 64 clients", "`serve`，64 个客户端的文本")
    return _of_clients(result, "text", names, "plain FastAPI", ("FastAPI without joined passes", "不合批的 FastAPI"))


def _serve_images(result: Result) -> _Cells | None:
    names = ("`serve`, images of 64 clients", "`serve`，64 个客户端的图片")
    return _of_clients(result, "image", names, JOINED, ("the same work without a server", "不经服务器直接计算"))


def _of_clients(result: Result, kind: str, names: tuple[str, str], other: str, about: tuple[str, str]) -> _Cells | None:
    """Requests a second of 64 clients, beside those of another server or of a loop."""
    own = result.row(server="uvicorn", kind=kind, clients=COMPARED)
    peer = result.row(server=other, kind=kind, clients=None if other == JOINED else COMPARED)
    if not own or not peer:
        return None
    rate, beside = f"{own['requests_per_s']:,}", f"{peer['requests_per_s']:,}"
    return names, (f"{rate} requests/s", f"{rate} 次请求/秒"), (f"{beside}: {about[0]}", f"{beside}：{about[1]}")


def _search(result: Result) -> _Cells | None:
    own = result.row(index="ivf", search="nearest 10", clients=1)
    exact = result.row(index="flat", search="nearest 10", clients=1)
    if not own or not exact:
        return None
    return (
        ("`/v1/search` over 1,000,000 rows, with an index", "`/v1/search` 检索 1,000,000 行，使用索引"),
        (f"95 % within {own['p95_ms']:.0f} ms", f"95% 不超过 {own['p95_ms']:.0f} 毫秒"),
        (
            f"{exact['p95_ms']:.0f} ms: every vector compared",
            f"{exact['p95_ms']:.0f} 毫秒：逐一比较所有向量",
        ),
    )


def _dedup(result: Result) -> _Cells | None:
    own = result.row(vectors=200_000, differ_in=512, way="hanclip")
    peer = result.row(vectors=200_000, differ_in=512, way="ivf")
    if not own or not peer:
        return None
    return (
        ("near duplicates among 200,000 vectors", "200,000 个向量中的近似重复"),
        (f"{own['wall_s']} s", f"{own['wall_s']} 秒"),
        (f"{peer['wall_s']} s: inverted file of faiss", f"{peer['wall_s']} 秒：faiss 倒排索引"),
    )


def _scale(result: Result) -> _Cells | None:
    row = result.row(night="first")
    if not row:
        return None
    return (
        (f"plan of a table of {row['rows']:,} rows", f"为 {row['rows']:,} 行的表制定计划"),
        (
            f"{row['wall_s'] / 60:.1f} min, {row['peak_mib']:,} MiB",
            f"{row['wall_s'] / 60:.1f} 分钟，{row['peak_mib']:,} MiB",
        ),
        "",
    )


def _start(result: Result) -> _Cells | None:
    row = result.row(command="hanclip embed of 10 images", code="now")
    if not row:
        return None
    return (
        ("ten images, from the command to the first vector", "十张图片，从命令到第一个向量"),
        (f"{row['first_image_s']} s", f"{row['first_image_s']} 秒"),
        "",
    )
