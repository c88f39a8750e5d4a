"""The web page: what it makes of answers and of files that are none, and how it behaves in a real browser."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.explain.explanation import Explanation
from medcap_tf.webpage import explain_file, framed
from tests.conftest import ROOT, run_command
from tests.serving.server import free_port

HOSTILE = "<img src=x onerror=\"document.title='broken'\">${document.title='broken'}{{value}}"


class Says:
    """A captioner with one answer for every image."""

    def __init__(self, **fields):
        self.fields = fields

    def caption(self, paths):
        return (Caption(path, **self.fields) for path in paths)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    return path


def entry_in(frame: str) -> dict:
    page = unescape(re.search('srcdoc="([^"]*)"', frame)[1])
    (entry,) = re.findall(r'<script type="application/json" class="entry">(.*?)</script>', page)
    return json.loads(entry)


def spoken(word: str = "mass") -> Says:
    even = np.full((1, 2, 2), 0.25, np.float32)
    weight = np.ones(1, np.float32)
    return Says(
        words=(word,), stems=(word,), score=-1.0, attention=even, word_importance=weight, concepts=(("C1", 0.7),)
    )


def test_a_caption_without_its_model_becomes_the_reports_entry(picture):
    entry = entry_in(framed(explain_file(spoken(), picture)))
    assert (entry["caption"], entry["name"], entry["path"]) == ("mass", "scan.png", "scan.png")
    assert entry["maps"] == {"attention": [[[1, 1], [1, 1]]]}
    (word,) = entry["words"]
    assert word == {
        "word": "mass", "stem": "mass", "importance": 1, "copied": None, "seen": None, "shared": False, "finding": True
    }  # fmt: skip
    assert entry["regions"] == {"attention": [[]]}  # the map is flat
    assert entry["similar"] == []
    assert entry["concepts"] == [{"code": "C1", "name": "", "score": 0.7, "word_score": None, "contributions": None}]


def test_what_was_copied_and_from_whom_is_shown_where_it_is_told(picture):
    fields = {
        **spoken().fields,
        "retrieval_share": np.full(1, 0.8, np.float32),
        "similar": (("left mass", 0.7), ("cyst", 0.0)),
    }
    entry = entry_in(framed(explain_file(Says(**fields), picture)))
    assert [word["copied"] for word in entry["words"]] == [0.8]
    assert entry["similar"] == [{"id": "", "caption": "left mass", "weight": 0.7}]


def test_a_model_at_hand_tells_its_own_reasons_under_the_files_own_name(picture):
    def tell(caption, image):
        assert caption.path == picture and image.shape == (40, 60, 3)
        return Explanation(
            caption, image, caption.attention, grad_cam=caption.attention, similar=(("t7", "cyst", 0.5),)
        )

    entry = entry_in(framed(explain_file(spoken(), picture, tell)))
    assert entry["path"] == "scan.png" and set(entry["maps"]) == {"attention", "grad_cam"}
    assert entry["similar"] == [{"id": "t7", "caption": "cyst", "weight": 0.5}]


def test_an_answer_without_words_has_its_note(picture):
    silent = Says(attention=np.zeros((0, 2, 2), np.float32), word_importance=np.zeros(0, np.float32))
    assert entry_in(framed(explain_file(silent, picture)))["notes"] == ["The model generated no words."]


def test_markup_from_a_server_stays_inside_the_frame_as_data(picture):
    frame = framed(explain_file(spoken(HOSTILE), picture))
    assert frame.count("<") == 2  # the frame's own tags
    assert 'sandbox="allow-scripts"' in frame
    assert entry_in(frame)["words"][0]["word"] == HOSTILE


def test_an_unreadable_file_is_one_line_without_its_folder(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    explanation = explain_file(spoken(), broken)
    assert explanation.caption.error.startswith("broken.png: not a readable image")
    assert str(tmp_path) not in framed(explanation)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_a_bomb_of_pixels_is_refused_before_memory_is_spent(tmp_path, suffix):
    """10,200 x 10,200 pixels of one color; the GIF has such a size in its header alone."""
    bomb = tmp_path / f"bomb{suffix}"
    if suffix == ".gif":
        size = np.array([60000, 60000], "<u2").tobytes()
        bomb.write_bytes(b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + size + b"\0\2\2D\1\0;")
    else:
        assert cv2.imwrite(str(bomb), np.zeros((10200, 10200), np.uint8))
    code = (
        "import resource, sys; from pathlib import Path; import medcap_tf.webpage as page\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(page.explain_file(None, Path(sys.argv[1])).caption.error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    said, more = run_command("-c", code, bomb).stdout.splitlines()
    assert said.startswith(f"bomb{suffix}: ")
    assert int(more) < 50_000  # KiB


def test_without_gradio_it_says_what_to_install(tmp_path):
    (tmp_path / "gradio.py").write_text("raise ImportError")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = run_command("-m", "medcap_tf", "demo", "--url", "http://127.0.0.1:1", check=False, env=environment)
    assert (done.returncode, done.stderr) == (
        1, "error: the web page needs Gradio; run: pip install 'medcap_tf[demo]'\n",
    )  # fmt: skip


@pytest.mark.parametrize("source", [(), ("--url", "http://127.0.0.1:1", "--model", "x")])
def test_it_wants_one_source_of_captions(source):
    assert run_command("-m", "medcap_tf", "demo", *source, check=False).returncode == 2


# In the browser


@contextmanager
def serving_page(*arguments, **environment):
    """The page as a person starts it, on a free port; its URL."""
    pytest.importorskip("gradio", reason="gradio is not installed (pip install -e '.[demo]')")
    command = [sys.executable, "-m", "medcap_tf", "demo", *arguments, "--port", str(free_port())]
    environment = {**os.environ, **environment}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stdout.read()
        yield line.split()[0]
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


@pytest.fixture(scope="module")
def outside():
    """A proxy that lets nothing through and keeps what was asked of it: its URL and the list."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(200))

        threading.Thread(target=refuse, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def page(browser, server, outside, tmp_path_factory):
    """The page before the server, in a process that has no TensorFlow and finds no way out but a closed proxy."""
    without, kept = tmp_path_factory.mktemp("without"), tmp_path_factory.mktemp("kept")
    for name in ("tensorflow", "keras"):
        (without / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), outside[0])
    loopback = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONPATH": str(without), "TMPDIR": str(kept)}
    arguments = ("--url", server.rest, "--max-megabytes", "1", "--concept-threshold", "0")
    with serving_page(*arguments, **proxies, **loopback) as url:
        yield url
        assert list(kept.rglob("*.png"))
    assert list(kept.iterdir()) == []  # nobody's images are left behind


@pytest.fixture
def opened(browser, page, outside):
    """The page, fresh; afterwards no error stands in the console, and nothing was asked of another host."""
    browser.set_window_size(1280, 1000)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page)
    wait_for(browser, "#image input[type=file]")
    yield browser
    browser.switch_to.default_content()
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked, "the browser's own log is empty"
    assert [url for url in asked if not url.startswith(("data:", "blob:", "about:", page))] == []
    assert outside[1] == []


def until(browser, condition, message=""):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 60).until(condition, message)


def wait_for(browser, selector):
    return until(browser, lambda it: it.find_elements("css selector", selector), selector)[0]


def give(browser, path: Path) -> None:
    """Choose a file, and step into the frame with its result."""
    wait_for(browser, "#image input[type=file]").send_keys(str(path))
    browser.switch_to.frame(wait_for(browser, f"#view iframe[title*='{path.name.split('<')[0]}']"))
    wait_for(browser, "article")


def words_in(browser) -> list[str]:
    wait_for(browser, "button.word")
    return browser.execute_script("return [...document.querySelectorAll('button.word b')].map((b) => b.textContent)")


OVERLAY = (
    "const c = document.querySelector('article canvas');"
    "const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });"
    "copy.drawImage(c, 0, 0);"
    "return [...copy.getImageData(0, 0, c.width, c.height).data]"
)


@pytest.mark.slow
class TestInTheBrowser:
    """Before a server, in Chromium."""

    def test_an_image_is_captioned_and_words_show_where_it_looked(self, opened, server, image_paths):
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        assert "Software for research, not a medical device." in opened.find_element("tag name", "body").text
        wanted = server.ask("explain", [image_paths[0].read_bytes()])
        give(opened, image_paths[0])
        assert words_in(opened) == wanted["caption"][0].decode().split()
        assert len(opened.find_elements("css selector", ".chip")) == wanted["concept"].shape[1]
        assert not any(opened.execute_script(OVERLAY))
        ActionChains(opened).move_to_element(opened.find_element("css selector", "button.word")).perform()
        first = opened.execute_script(OVERLAY)
        assert any(first)
        opened.find_element("css selector", "button.word").click()
        ActionChains(opened).send_keys(Keys.ARROW_RIGHT).perform()
        assert opened.find_elements("css selector", "button.word")[1].get_attribute("aria-pressed") == "true"
        assert opened.execute_script(OVERLAY) != first
        assert opened.execute_script("return document.documentElement.scrollHeight <= innerHeight + 1")

    def test_the_result_can_be_taken_away(self, opened, image_paths, tmp_path):
        allowed = {"behavior": "allow", "downloadPath": str(tmp_path)}
        opened.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
        give(opened, image_paths[0])
        opened.switch_to.default_content()
        wait_for(opened, "#download").click()
        taken = tmp_path / "report.html"
        until(opened, lambda _: taken.exists())
        assert f'"name": "{image_paths[0].name}"' in taken.read_text("utf-8")

    def test_pasting_works_too(self, opened, image_paths):
        opened.execute_script(
            "const held = new DataTransfer();"
            "held.items.add(new File([Uint8Array.from(arguments[0])], 'image.png', { type: 'image/png' }));"
            "document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: held, bubbles: true }))",
            list(image_paths[0].read_bytes()),
        )
        opened.switch_to.frame(wait_for(opened, "#view iframe"))
        assert words_in(opened)

    def test_what_is_no_image_has_its_line_and_the_next_image_goes_on(self, opened, image_paths, tmp_path):
        broken = tmp_path / f"broken {HOSTILE}.png"
        broken.write_text("no image")
        title = opened.title
        give(opened, broken)
        (note,) = opened.find_elements("css selector", "article .note")
        assert "not a readable image" in note.text and "\n" not in note.text
        opened.switch_to.default_content()
        assert opened.title == title
        assert not opened.find_elements("css selector", "img[src=x]")
        give(opened, image_paths[1])
        assert words_in(opened)

    def test_several_people_each_get_their_own_answer(self, opened, page, server, image_paths):
        wanted = server.ask("explain", [path.read_bytes() for path in image_paths[:4]])["caption"]
        first, tabs = opened.current_window_handle, []
        for path in image_paths[:4]:
            opened.switch_to.new_window("tab")
            tabs.append(opened.current_window_handle)
            opened.get(page)
            wait_for(opened, "#image input[type=file]").send_keys(str(path))
        for tab, caption in zip(tabs, wanted):
            opened.switch_to.window(tab)
            opened.switch_to.frame(wait_for(opened, "#view iframe"))
            assert words_in(opened) == caption.decode().split()
            opened.close()
        opened.switch_to.window(first)

    def test_too_large_a_file_is_refused_and_the_next_goes_on(self, opened, page, image_paths, tmp_path):
        large = tmp_path / "large.png"
        large.write_bytes(bytes(2**20 + 1))
        opened.find_element("css selector", "#image input[type=file]").send_keys(str(large))
        until(opened, lambda it: "maximum allowed size" in it.find_element("tag name", "body").text)
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(2**20 + 1)
        request = urllib.request.Request(
            f"{page}gradio_api/upload", body + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
        )
        with pytest.raises(urllib.error.HTTPError, match="413"):
            urllib.request.urlopen(request)
        give(opened, image_paths[0])
        assert words_in(opened)

    def test_a_phone_needs_no_sideways_scrolling(self, opened, image_paths):
        metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        try:
            opened.refresh()
            wait_for(opened, "#image input[type=file]")
            give(opened, image_paths[0])
            fits = "return document.documentElement.scrollWidth <= innerWidth && innerWidth <= 360"
            assert opened.execute_script(fits)
            opened.switch_to.default_content()
            assert opened.execute_script(fits)
        finally:
            opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_a_server_that_is_down_has_its_line(browser, image_paths):
    with serving_page("--url", f"http://127.0.0.1:{free_port()}", "--timeout", "0.5") as url:
        browser.get(url)
        wait_for(browser, "#image input[type=file]")
        give(browser, image_paths[0])
        assert "is the server running there" in browser.find_element("css selector", "article .note").text
        browser.switch_to.default_content()


@pytest.mark.slow
def test_an_export_and_a_run_answer_without_a_server(browser, exported, small_run, image_paths):
    said = []
    for model in (exported[0], small_run):
        with serving_page("--model", str(model)) as url:
            browser.get(url)
            wait_for(browser, "#image input[type=file]")
            give(browser, image_paths[0])
            said.append(words_in(browser))
            browser.switch_to.default_content()
    assert said[0] == said[1] != []
