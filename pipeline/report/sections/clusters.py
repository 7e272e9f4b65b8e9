"""Clusters of image vectors, each with the words that most of its pictures are nearest to.

In: the vectors of a sample of rows. Out: clusters, largest first, each with guesses at what they show and the rows
closest to its centre. If the model can be loaded, each picture votes for the one of a list of broad categories that it
is nearest to, by how much nearer than the average of all pictures is, because some words are near to everything. The
share of the votes is the evidence: a guess may be wrong. The dataset's own texts nearest to the centre are shown too.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.vectors import IMAGE, TEXT, Vectors, matrix
from pipeline.errors import HanclipError
from pipeline.report.material import Material
from pipeline.report.pictures import Key, ShownRow

SAMPLE_ROWS = 16_384
_MOST_CLUSTERS, _ROWS_PER_CLUSTER = 16, 60
_SHOWN, _NAMES, _NAME_LENGTH = 9, 3, 16
_SEED = 20
#: With fewer votes, the first word says little about the cluster.
_SURE = 0.25


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster.

    Attributes:
        share: of the sample.
        words: categories, each with the share of the cluster's pictures that are nearest to it, most first.
        sure: whether the first has enough of them to be a guess at all.
        texts: the most distinctive short texts.
        rows: those closest to its centre.
    """

    share: float
    words: list[tuple[str, float]]
    sure: bool
    texts: list[str]
    rows: list[ShownRow]


@dataclass(frozen=True, slots=True)
class ClustersSection:
    """The section. `sampled` of `rows` rows were drawn; `without_words`: why the categories were not used, if so."""

    sampled: int
    rows: int
    clusters: list[Cluster]
    without_words: str

    @property
    def categories(self) -> int:
        """How many categories a picture votes among."""
        return len(CATEGORIES)


def clusters(material: Material, model: str | None) -> ClustersSection | None:
    """The section; None if there are too few images for clusters."""
    if not material.has(IMAGE) or material.rows < 2 * _ROWS_PER_CLUSTER:
        return None
    rows = _sample(material)
    vectors = matrix(rows[IMAGE])
    number = min(_MOST_CLUSTERS, len(vectors) // _ROWS_PER_CLUSTER)
    material.on_phase(f"clustering {len(vectors):,} vectors", 0, None)
    means = faiss.Kmeans(
        vectors.shape[1], number, niter=25, seed=_SEED, spherical=True, min_points_per_centroid=1, nredo=3
    )
    means.train(vectors)
    centres = np.asarray(means.centroids, np.float32)
    cluster_of = (vectors @ centres.T).argmax(1)
    sizes = np.bincount(cluster_of, minlength=number)
    directions = (centres - np.average(centres, axis=0, weights=sizes)).astype(np.float32)
    votes, without_words = _votes(material, vectors, model)
    texts = _texts(rows, directions)
    plain = rows.drop([*_vector_columns(rows)])
    groups = _groups(material, plain)
    found = []
    for at in np.argsort(-sizes, kind="stable"):
        members = np.flatnonzero(cluster_of == at)
        if len(members):
            nearest = members[np.argsort(-(vectors[members] @ centres[at]), kind="stable")]
            words = _elected(votes[members]) if votes is not None else []
            sure = bool(words) and words[0][1] >= _SURE
            found.append(
                Cluster(len(members) / len(vectors), words, sure, texts[at], _wall(plain, nearest.tolist(), groups))
            )
    return ClustersSection(len(vectors), material.rows, found, without_words)


def _elected(votes: npt.NDArray[np.intp]) -> list[tuple[str, float]]:
    """The categories with the most votes, and their shares."""
    counts = np.bincount(votes, minlength=len(CATEGORIES))
    first = np.argsort(-counts, kind="stable")[:_NAMES]
    return [(CATEGORIES[i], float(counts[i] / len(votes))) for i in first if counts[i]]


def _groups(material: Material, plain: pa.Table) -> dict[Key, tuple[str, int]]:
    """Name and size of the groups of duplicates of these rows, by key."""
    material.work.register("drawn", plain.select(["id", "source_fingerprint"]))
    rows = material.work.rows("SELECT id, source_fingerprint, name, size FROM grouped SEMI JOIN drawn USING (id)")
    return {(id_, state): (name, int(size)) for id_, state, name, size in rows}


def _wall(plain: pa.Table, nearest: list[int], groups: dict[Key, tuple[str, int]]) -> list[ShownRow]:
    """The first of these rows, one of each group."""
    shown: list[ShownRow] = []
    seen = set[str]()
    for at in nearest:
        row = {name: plain[name][at].as_py() for name in plain.column_names}
        name, size = groups.get((row["id"], row["source_fingerprint"]), ("", 1))
        if name not in seen or not name:
            shown.append(ShownRow(row["id"], row["source_fingerprint"], row.get("text"), alike=size - 1))
        seen.add(name)
        if len(shown) == _SHOWN:
            break
    return shown


def _sample(material: Material) -> pa.Table:
    material.on_phase("drawing a sample of the vectors", 0, None)
    columns = [name for name in ("id", "source_fingerprint", "text", IMAGE, TEXT) if material.has(name)]
    tables = material.current.read(columns, material.current.sample(SAMPLE_ROWS))
    return pa.concat_tables(tables).combine_chunks()


def _vector_columns(rows: pa.Table) -> list[str]:
    return [name for name in (IMAGE, TEXT) if name in rows.column_names]


def _texts(rows: pa.Table, directions: Vectors) -> list[list[str]]:
    """For each cluster the most distinctive short texts of the sample."""
    if TEXT not in rows.column_names:
        return [[] for _ in directions]
    with_text = rows.filter(rows[TEXT].is_valid())
    firsts = {
        text: at for at, text in reversed(list(enumerate(with_text["text"].to_pylist()))) if len(text) <= _NAME_LENGTH
    }
    return _best(list(firsts), matrix(with_text[TEXT])[list(firsts.values())], directions)


def _votes(material: Material, vectors: Vectors, model: str | None) -> tuple[npt.NDArray[np.intp] | None, str]:
    """(N,) for each picture the number of the category that it is nearest to, or why they cannot be used."""
    material.on_phase("loading the model for the names of the clusters", 0, None)
    identity = material.dataset.identity
    try:
        # Lets a report be written where torch is not installed.
        from pipeline.curation.encoder import encoder_of
        from pipeline.model.files.find import find_files

        # Writing a report must not download a model.
        find_files(model or identity.model, None if model else identity.revision, fetch=bool(model))
        words = encoder_of(material.dataset.uri, model, "fp32").encode_texts(CATEGORIES)
    except (HanclipError, ImportError) as error:
        return None, str(error)
    return ((vectors - vectors.mean(0)) @ words.T).argmax(1), ""


def _best(names: list[str], vectors: Vectors, directions: Vectors) -> list[list[str]]:
    scores: npt.NDArray[np.float32] = directions @ vectors.T
    return [[names[i] for i in np.argsort(-row, kind="stable")[:_NAMES]] for row in scores]


_WORDS = """
女装 男装 童装 连衣裙 上衣 裤子 外套 内衣 运动服 帽子 鞋子
运动鞋 高跟鞋 包 行李箱 眼镜 手表 首饰 手机 电脑 相机 耳机
电视 家用电器 厨房用品 餐具 灯 家具 沙发 床上用品 收纳 清洁用品
工具 玩具 乐器 文具 书 化妆品 护肤品 香水 药品 食品 水果 蔬菜
肉类 海鲜 甜点 零食 饮料 酒 茶 咖啡 菜肴 汽车 自行车 摩托车
飞机 船 火车 建筑 房间 城市 街道 道路 桥 商店 学校 医院 人物
女人 男人 孩子 老人 婴儿 家庭 人群 职业 手势 表情 笑脸 脸
头发 身体 动物 猫 狗 鸟 鱼 昆虫 野生动物 家畜 植物 花 树
风景 山 海 天空 云 天气 夜晚 雪 火 运动 球类 音乐 舞蹈 游戏
节日 婚礼 旅行 钱 时间 钟表 文字 数字 箭头 符号 标志 旗帜
地图 图表 截图 海报 包装 尺码表 二维码 几何图形 心形 图案 插画
空白图片
"""


CATEGORIES: tuple[str, ...] = tuple(_WORDS.split())
