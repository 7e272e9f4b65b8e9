"""The last link: a flow run that embeds three images with the demo model, through the deployment and the cluster.

In: an `Installation`. Out: one sentence about the dataset. Everything that was written is deleted again.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from itertools import islice

from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.smoke.installation import Installation
from flows.smoke.links import answers
from pipeline import storage
from pipeline.dataset.checks.verify import verify
from pipeline.errors import RunError
from pipeline.model.files.find import demo_folder

_IMAGES = 3


def check_flow(installation: Installation) -> str:
    """Run the deployment over three images and verify the rows."""
    source, out = (storage.join(installation.folder, name) for name in ("source", "dataset"))
    try:
        for name, content in _images():
            storage.overwrite(storage.join(source, name), content)
        run = _run(installation, source, out)
        report = verify(out)
        if not report.ok or report.embedded != _IMAGES:
            raise RunError(
                f"{out} has {report.embedded} sound rows of {_IMAGES}. See the page of the flow run {run.name}."
            )
    finally:
        _remove(installation.folder)
    return f"{installation.deployment} embedded {_IMAGES} images (flow run {run.name})"


def _run(installation: Installation, source: str, out: str) -> FlowRun:
    config = {"source": {"uris": [source]}, "output": {"uri": out}, "model": {"name": "demo"}}
    with answers():
        run = run_deployment(
            installation.deployment, parameters={"config": config}, timeout=installation.timeout_s, poll_interval=2
        )
    assert isinstance(run, FlowRun)
    state = run.state
    if state is None or not state.is_final():
        raise RunError(
            f"The flow run {run.name} is {state.name if state else 'new'} after {installation.timeout_s:g} s."
            " See its page, and Ray's for pending nodes; --timeout-s waits longer."
        )
    if not state.is_completed():
        raise RunError(f"The flow run {run.name} is {state.name}: {state.message}. See its page for the log.")
    return run


def _images() -> Iterator[tuple[str, bytes]]:
    """Name and content of the first images of the demo catalog."""
    first = min((demo_folder().parent / "catalog").glob("*.tar"))
    with tarfile.open(first) as tar:
        images = (member for member in tar if member.name.endswith((".png", ".jpg", ".webp")))
        for member in islice(images, _IMAGES):
            file = tar.extractfile(member)
            assert file is not None
            yield member.name.rpartition("/")[2], file.read()


def _remove(folder: str) -> None:
    if storage.is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for info in list(storage.list_objects(folder)):
        storage.delete(info.uri)
