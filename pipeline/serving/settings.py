"""The options of `hanclip serve`. Validated here once and trusted inside."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.config import EXACT_ALONE, PLAIN, ModelConfig
from pipeline.validation import AutoOrNumber, Options
from pipeline.vocabulary import Dtype, TextOverflow

#: Hosts that only programs of this machine reach.
LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: A name, with `*.` for those below it, or an address.
_HOST = re.compile(r"(\*\.)?[\w.-]+|[0-9a-fA-F:.]+")


class ServedModel(ModelConfig):
    """Which model is served, and how it computes."""

    dtype: Dtype = Field(default="fp32", description="Arithmetic; with a dataset the dataset's, unless given.")
    device: str | None = Field(default=None, description="Such as cpu or cuda:1; the first GPU if there is one.")
    exact: Annotated[bool, EXACT_ALONE] = Field(
        default=False,
        description="Give an item the bits of `hanclip embed --exact`; on with a dataset that was made so.",
    )
    text_overflow: TextOverflow = Field(
        default="truncate",
        description="A text of more tokens than the model takes: cut it, average its windows, or refuse it "
        "(quarantine).",
    )
    served_name: str | None = Field(
        default=None, pattern=r"^[\w./:-]{1,200}$", description="Name of the model in requests; its own if not given."
    )


class Network(Options):
    """Where the server listens, and how it ends."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 is every one of this machine.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port; 0 is a free one.")
    max_connections: int = Field(
        default=2048,
        ge=1,
        description="Connections at once; for one more, the one that has waited longest for a request is closed.",
    )
    drain_s: float = Field(
        default=1,
        ge=0,
        le=600,
        description="After SIGTERM, go on accepting requests for so long, not ready, until load balancers know.",
    )
    grace_s: float = Field(default=30, ge=0, description="Then, time to answer the requests that were accepted.")


class AccessSettings(Options):
    """Who may ask, and how often."""

    api_keys: str | None = Field(
        default=None, description="File of keys, made by `hanclip keys add`; HANCLIP_API_KEYS may hold its lines."
    )
    no_auth: bool = Field(default=False, description="Listen on more than this machine although there are no keys.")
    requests_per_s: float | None = Field(
        default=None, gt=0, description="Requests a second of a key without a rate of its own; unlimited if not given."
    )


class ImageUrls(Options):
    """Which images are fetched."""

    no_image_urls: bool = Field(default=False, description="Fetch no image: accept those in the request alone.")
    allowed_image_hosts: tuple[str, ...] = Field(
        default=(), description="Fetch from this host only, such as img.example or *.example; several if repeated."
    )
    fetch_timeout_s: float = Field(default=10, gt=0, description="Deadline of fetching an image, redirects included.")

    @field_validator("allowed_image_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        """In the form in which they are looked up. What is no host would allow nothing."""
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host: write img.example or *.example, without scheme, port and path")
        return tuple(host.encode("idna").decode() for host in hosts)


class SearchSettings(Options):
    """What is searched."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a refused URL may carry a password

    dataset: Annotated[str | None, PLAIN] = Field(
        default=None,
        description="Answer searches over the dataset OUT, with its model; local path or URL.",
    )
    time_limit_s: float = Field(
        default=10, gt=0, description="A search ends with an error if evaluating its condition takes longer than this."
    )
    condition_memory_mb: int = Field(
        default=2048,
        ge=512,
        description="Memory of a condition of a search, in MB; one that takes more is an error. On Linux.",
    )
    refresh_s: float = Field(default=30, ge=1, description="Look so often whether the dataset changed.")
    max_queries: int = Field(default=64, ge=1, description="Queries of a search.")
    max_rows: int = Field(
        default=10_000, ge=1, description="Rows in the answer to a search: its queries, times the rows for each."
    )
    clip_back: bool = Field(
        default=False,
        description="Answer clip-retrieval's clients, too: /knn-service, /metadata, /indices-list; needs --dataset.",
    )

    @model_validator(mode="after")
    def _clip_back_searches_something(self) -> Self:
        if self.clip_back and self.dataset is None:
            raise ValueError("--clip-back searches a dataset: give --dataset OUT, or leave it out")
        return self


class RequestLimits(Options):
    """What a request may hold, and how much is in progress at once."""

    max_body_bytes: int = Field(default=32 * 2**20, ge=1024, description="Bytes of a request.")
    max_bodies_bytes: int = Field(default=512 * 2**20, ge=1024, description="Bytes of all requests in progress.")
    max_images: int = Field(default=64, ge=1, description="Images of a request.")
    max_texts: int = Field(default=2048, ge=1, description="Texts of a request; labels count once for each template.")
    max_image_bytes: int = Field(default=20 * 2**20, ge=1, description="Bytes of an encoded image.")
    max_pixels: int = Field(default=50_000_000, ge=1, description="Pixels of an image; refused by its header.")
    max_pixels_at_once: int = Field(
        default=400_000_000, ge=1, description="Pixels of large images that are decoded at once."
    )
    max_text_chars: int = Field(default=65_536, ge=1, description="Characters of a text.")
    max_requests: int = Field(default=256, ge=1, description="Requests in progress; more get 503 and try again.")
    max_waiting_images: int = Field(default=1024, ge=1, description="Images of all requests in progress.")
    max_waiting_texts: int = Field(default=16_384, ge=1, description="Texts of all requests in progress.")
    request_timeout_s: float = Field(default=60, gt=0, description="A request that takes longer gets 503.")

    @model_validator(mode="after")
    def _a_request_fits(self) -> Self:
        for one, all_of_them in (
            ("max_body_bytes", "max_bodies_bytes"),
            ("max_images", "max_waiting_images"),
            ("max_texts", "max_waiting_texts"),
            ("max_pixels", "max_pixels_at_once"),
        ):
            if getattr(self, one) > getattr(self, all_of_them):
                names = (f"--{name.replace('_', '-')}" for name in (one, all_of_them))
                raise ValueError(f"{' is more than '.join(names)}: no such request could be answered. Change one")
        return self


class ThreadCounts(Options):
    """How the cores are divided."""

    decode_threads: AutoOrNumber = Field(default="auto", description="Threads that parse requests and decode images.")
    model_threads: AutoOrNumber = Field(default="auto", description="CPU threads of a forward pass.")


class ServeSettings(Options):
    """One server. Descriptions are the command line's help."""

    model: ServedModel = Field(default_factory=ServedModel)
    network: Network = Field(default_factory=Network)
    access: AccessSettings = Field(default_factory=AccessSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    images: ImageUrls = Field(default_factory=ImageUrls)
    limits: RequestLimits = Field(default_factory=RequestLimits)
    threads: ThreadCounts = Field(default_factory=ThreadCounts)
