"""The page of `hanclip serve` in a real browser: a sample, results, a row, the way back, pictures, texts."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from actors.serving.application import searching
from pipeline.dataset.dataset import Dataset
from pipeline.serving.search.scope import described
from pipeline.serving.settings import SearchSettings
from tests.fixtures.browser import Browser, browser_binary, chromium
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.embedded_sources import embed, folder
from tests.fixtures.serving import Served, a_picture, an_app, base64_of, hosted

pytestmark = [pytest.mark.browser, pytest.mark.skipif(browser_binary() is None, reason="needs Chromium")]

CARDS = "document.querySelectorAll('#results a.card')"
SHOWN = "[...document.querySelectorAll('#results .tile img')].filter((one) => one.naturalWidth > 0)"
#: A picture, as pasting and dropping hand it over.
GIVEN = (
    f"const bytes = Uint8Array.from(atob({json.dumps(base64_of(a_picture((200, 30, 30), (300, 200))))}),"
    " (one) => one.charCodeAt(0)); const given = new DataTransfer();"
    " given.items.add(new File([bytes], 'red.png', { type: 'image/png' }));"
)


def a_turned_photo() -> bytes:
    """A JPEG that its metadata turn upright."""
    file, turned = io.BytesIO(), Image.Exif()
    turned[0x112] = 6
    Image.new("RGB", (2560, 256)).save(file, "JPEG", exif=turned)
    return file.getvalue()


#: What the page sends of such a photo.
SENT = (
    f"(async () => {{ const bytes = Uint8Array.from(atob({json.dumps(base64_of(a_turned_photo()))}),"
    " (one) => one.charCodeAt(0)); const main = document.querySelector('script[type=module]').src;"
    " const { prepared } = await import(main.replace('main.js', 'upload.js'));"
    " return (await prepared(new File([bytes], 'turned.jpg', { type: 'image/jpeg' }))).uri; })()"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


def test_a_search_its_rows_and_the_way_back(browser: Browser, served: Served) -> None:
    page = browser.page(served.url)
    page.size(1280, 900)
    page.until("document.querySelector('#key-dialog')?.open")
    page.press("Escape")  # nothing works without a key
    page.until("document.querySelector('#key-dialog').open && document.activeElement.id === 'key'")
    page.type("密钥")  # no header can hold it
    page.press("Enter")
    page.until("!document.querySelector('#key-wrong').hidden")
    page.type("hc_wrong")
    page.press("Enter")
    page.until("!document.querySelector('#key-wrong').hidden")
    page.type(served.key)
    page.press("Enter")
    page.until("document.activeElement.id === 'q'")
    page.until(f"{CARDS}.length === 24 && {SHOWN}.length > 6")
    assert page.run("document.querySelector('#summary').innerText").startswith("A sample of the dataset.")
    assert page.run("document.querySelectorAll('#results .foot').length") == 0
    page.problems.clear()  # of the requests without a key

    page.type("红色的心")
    page.press("Enter")
    page.until(f"{CARDS}.length === 24 && {SHOWN}.length > 6 && document.querySelector('#results .foot')")
    first = page.run(f"{CARDS}[0].dataset.id")
    assert "q=" in page.run("location.search")
    assert page.run("document.querySelector('#summary').innerText").startswith("The nearest 24 of 1,")

    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.run(f"document.activeElement === {CARDS}[1]")
    page.click("#results a.card")
    page.until("document.querySelector('#detail').open && document.querySelector('#detail-picture img')?.naturalWidth")
    page.until("document.querySelectorAll('#detail-columns tr').length > 8")
    assert page.run("document.querySelectorAll('.nearest li').length") == 6
    assert first in page.run("document.querySelector('#detail-columns').innerText")
    page.press("ArrowRight")
    page.until("document.querySelector('#detail-place').innerText === '2 / 24'")
    page.press("ArrowLeft")

    page.click("#detail-like")
    page.until(f"location.search.startsWith('?like=') && {CARDS}.length === 24")
    page.until(f"{CARDS}[0].dataset.id !== {json.dumps(first)}")
    assert not page.run("document.querySelector('#detail').open")
    page.run("history.back()")
    page.until("document.querySelector('#detail').open")
    page.press("Escape")
    page.until(f"!document.querySelector('#detail').open && {CARDS}[0].dataset.id === {json.dumps(first)}")
    assert "row=" not in page.run("location.search")
    assert page.run("document.querySelector('#q').value") == "红色的心"
    assert page.problems == []


def test_a_pasted_picture_filters_and_a_link(browser: Browser, served: Served) -> None:
    page = browser.page(f"{served.url}/?q=%E7%8C%AB&where=nonsense", language="zh-CN")
    page.size(390, 844, is_phone=True)
    page.until("document.querySelector('#key-dialog')?.open")
    page.type(served.key)
    page.press("Enter")
    page.until("document.querySelector('#fault:not([hidden])')?.innerText.includes('nonsense')")
    assert page.run("document.querySelector('#search button').innerText") == "检索"
    page.problems.clear()  # of the requests without a key, and of the condition

    page.click("#clear")
    page.until(f"{CARDS}.length === 24 && !document.querySelector('#fault:not([hidden])')")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.run(f"{GIVEN} document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: given }})); 1")
    page.until(f"location.search.startsWith('?picture=') && {CARDS}.length === 24")
    assert "网址" in page.run("document.querySelector('#notices').innerText")
    assert page.problems == []


def test_a_dataset_of_texts_and_a_dropped_picture(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_images=False))
    commit(dataset, 1, some_records(40))
    routes = searching(dataset, SearchSettings(dataset=dataset.uri))
    with hosted(an_app(more=(routes,), facts={"dataset": described(dataset)})) as url:
        page = browser.page(url)
        page.until(f"{CARDS}.length === 24")
        assert page.run("document.querySelectorAll('#results .tile').length") == 0
        assert page.run("document.querySelector('#sides').hidden")
        assert page.run("document.querySelector('#q').placeholder") == "Describe a text, or paste a picture"
        sent = base64.b64decode(page.run(SENT).partition(",")[2])
        assert Image.open(io.BytesIO(sent)).size == (1280, 128)  # not turned, as the model sees it
        for kind in ("dragenter", "dragover"):
            page.run(f"{{ {GIVEN} document.dispatchEvent(new DragEvent('{kind}', {{ dataTransfer: given }})); }}")
        assert not page.run("document.querySelector('#dropping').hidden")
        page.run(f"{{ {GIVEN} document.dispatchEvent(new DragEvent('drop', {{ dataTransfer: given }})); }}")
        page.until("location.search.startsWith('?picture=') && document.querySelector('#results .foot')")
        assert page.run("document.querySelector('#dropping').hidden")
        assert page.run("document.querySelector('#example .name').innerText") == "red.png"
        page.click("#results a.card")
        page.until("document.querySelectorAll('#detail-columns tr').length > 1")
        assert page.run("document.querySelectorAll('#detail-picture *').length") == 0
        assert page.problems == []


#: Searches fail as if the server were gone, until `window.fetch = whole`.
GONE = (
    "window.whole = window.fetch; window.fetch = (url, ...more) =>"
    " String(url).endsWith('v1/search') ? Promise.reject(new TypeError('gone')) : whole(url, ...more); 1"
)


def test_what_fails_or_happens_by_accident_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    embed(folder(tmp_path / "source"), tmp_path / "out")
    dataset = Dataset.open(str(tmp_path / "out"))
    routes = searching(dataset, SearchSettings(dataset=dataset.uri))
    with hosted(an_app(more=(routes,), facts={"dataset": described(dataset)})) as url:
        page = browser.page(f"{url}/?q=%E7%8C%AB&from=2026-02-31&row=nothing")
        page.size(1280, 900)
        page.until("document.querySelector('#detail .fault')?.innerText.includes('There is no row')")
        page.problems.clear()  # of the row that is not there
        page.press("Escape")
        page.until(f"!document.querySelector('#detail').open && {CARDS}.length === 24 && {SHOWN}.length > 6")
        assert page.run("document.querySelector('#filter-count').hidden")  # there is no such day

        # More rows: those that are there stay if it fails, and the keyboard goes on with the first new one.
        page.run(GONE)
        page.run("document.querySelector('#more').focus(); 1")
        page.press("Enter")
        page.until("document.querySelector('#fault:not([hidden]) button')")
        assert (page.run(f"{CARDS}.length"), page.run("location.search")) == (24, "?q=%E7%8C%AB")
        page.run("window.fetch = whole; document.querySelector('#fault button').focus(); 1")
        page.press("Enter")
        page.until(f"{CARDS}.length === 40 && document.activeElement === {CARDS}[24]")
        assert page.run("document.querySelector('#more').hidden")

        # What is typed and not searched for survives a row; an input method's keys are its own.
        page.run("document.querySelector('#q').focus(); document.querySelector('#q').select(); 1")
        page.type("狗")
        page.run(
            "document.querySelector('#q').dispatchEvent(new KeyboardEvent('keydown',"
            " { key: 'ArrowDown', isComposing: true, bubbles: true }))"
        )
        assert page.run("document.activeElement.id") == "q"
        page.press("ArrowDown")
        page.press("Enter")
        page.until("document.querySelector('#detail-columns tr')")
        page.run("document.activeElement.blur(); 1")  # as a click on a text does
        page.press("ArrowRight")
        page.until("document.querySelector('#detail-place').innerText === '2 / 40'")
        closing = "document.querySelector('#detail').dispatchEvent(new Event('cancel', { cancelable: true }));"
        page.run(f"{closing} {closing} 1")  # a key that is held leaves the row, not the results
        page.until("!document.querySelector('#detail').open")
        assert page.run("document.querySelector('#q').value") == "狗"

        # A picture that comes with a text into a text field is a copy of cells; a day that is half typed is none.
        page.run(
            f"{{ {GIVEN} given.setData('text/plain', 'two cells'); const field = document.querySelector('#q');"
            " field.dispatchEvent(new ClipboardEvent('paste', { clipboardData: given, bubbles: true })); }"
        )
        page.run("document.querySelector('#filters-button').click(); 1")  # the page may still be scrolling
        page.run("document.querySelector('#from').focus(); 1")
        page.press("3")
        page.until("document.querySelector('#from').validity.badInput")
        page.run("document.querySelector('#filters-button').click(); 1")  # the page may still be scrolling
        page.run("document.querySelector('#q').focus(); 1")
        page.press("Enter")
        page.until("location.search === '?q=%E7%8B%97' && document.querySelector('#summary').innerText.includes('24')")
        page.run("document.documentElement.dataset.theme = 'dark'")
        page.send("Emulation.setEmulatedMedia", media="print")
        assert page.run("getComputedStyle(document.body).color") == "rgb(28, 31, 34)"  # on white paper
        assert page.problems == []


def test_a_comparison_shows_no_scores_of_another_picture(browser: Browser) -> None:
    with hosted(an_app()) as url:
        page = browser.page(url)
        page.until("!document.querySelector('#compare-view').hidden")
        page.run(f"{{ {GIVEN} document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: given }})); }}")
        page.until("document.activeElement.id === 'texts'")
        page.run("document.querySelector('#texts').value = '一只猫\\n一只狗'; 1")
        page.click("#compare button")
        page.until("document.querySelectorAll('#scores li').length === 2")
        page.run("document.querySelector('#texts').value = ''; 1")
        page.run(f"{{ {GIVEN} document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: given }})); }}")
        page.until("document.querySelectorAll('#scores li').length === 0")
        page.run("document.querySelector('#texts').value = '一只猫\\n一只狗'; 1")
        page.click("#compare button")
        page.until("document.querySelectorAll('#scores li').length === 2")
        broken = (
            "const given = new DataTransfer(); given.items.add(new File(['II*'], 'a.tiff', { type: 'image/tiff' }));"
        )
        page.run(f"{{ {broken} document.dispatchEvent(new DragEvent('drop', {{ dataTransfer: given }})); }}")
        page.until("document.querySelector('#fault:not([hidden])')")
        assert page.run("document.querySelector('#compare-picture').innerText") == "a.tiff"
        assert page.run("document.querySelectorAll('#scores li').length") == 0
