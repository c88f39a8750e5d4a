"""The report: what is in it from hand-made explanation, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcap_tf.caption import Caption
from medcap_tf.explain.entries import entry_of
from medcap_tf.explain.explanation import Explanation, Likeness, WordReading
from medcap_tf.explain.grid import over_image
from medcap_tf.explain.plate import color_table
from medcap_tf.explain.report import audit_tables, write_report

HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=document.title='broken'>"
CUI = "C0000001"


def peak(row: int, column: int) -> np.ndarray:
    """A map of 4 x 4 regions with all its weight in one."""
    grid = np.zeros((4, 4), np.float32)
    grid[row, column] = 1
    return grid


def picture(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def explanation_of(
    name: str = "scan.png", words=("brain", "masses", "left"), score: float = -0.5, **others
) -> Explanation:
    n = len(words)
    caption = Caption(Path(name), tuple(words), tuple(w.rstrip("es") for w in words), np.arange(n), score)
    maps = np.stack([peak(i % 4, 3 - i % 4) for i in range(n)]) if n else np.zeros((0, 4, 4), np.float32)
    weights = np.arange(1, n + 1, dtype=np.float32)
    given = np.array([[0.5, -0.25, 1.0, *[0] * n][:n]], np.float32)
    reading = WordReading(tuple(words), weights / weights.sum(), ((CUI, 0.9),), given) if n else None
    values = {"image": picture(), "attention": maps, "grad_cam": maps[:, ::-1], "reading": reading, **others}
    return Explanation(caption, **values)


# The first word was copied from the upper right of a training image whose lower left is like this image's upper left.
LIKE = Likeness(
    peak(0, 0), np.array([0.7, 0], np.float32), picture(40, 40), peak(3, 0),
    np.stack([peak(0, 3), np.zeros((4, 4), np.float32)]),
)  # fmt: skip
UNSEEN = Likeness(peak(3, 3), np.array([0.05, 0], np.float32))


def entries_in(page: Path) -> list[dict]:
    found = re.findall(r'<script type="application/json" class="entry">(.*?)</script>', page.read_text("utf-8"))
    return [json.loads(text) for text in found]


def test_an_entry_holds_what_the_arrays_hold():
    reference = WordReading(("mass", "seen"), np.array([0.75, 0.25], np.float32), (), np.zeros((0, 2), np.float32))
    layers = {"conv": np.stack([np.full((2, 3), value, np.float32) for value in (0, 5, 2)], -1)}
    explanation = explanation_of(reference="Mass seen.", reference_reading=reference, layers=layers)
    named = dataclasses.replace(explanation.caption, concept_names={CUI: "a tumor"})
    entry = entry_of(dataclasses.replace(explanation, caption=named))
    assert entry["caption"] == "brain masses left"
    assert entry["certainty"] == pytest.approx(np.exp(-0.5), abs=1e-4)
    assert [word["shared"] for word in entry["words"]] == [False, True, False]
    assert entry["words"][2]["importance"] == 0.5
    assert entry["words"][2]["copied"] is None and entry["similar"] == []
    assert entry["maps"]["attention"][0][0] == [0, 0, 0, 16]  # all weight in one of 16 regions
    ((region,), *_) = entry["regions"]["attention"]
    assert region["place"] == "upper third, image right" and region["box"][1:3] == [0, 1]
    assert [word["finding"] for word in entry["words"]] == [False, True, False]
    (concept,) = entry["concepts"]
    assert concept == {
        "code": CUI, "name": "a tumor", "score": None, "word_score": 0.9, "contributions": [0.5, -0.25, 1.0]
    }  # fmt: skip
    assert entry["reference"]["scores"]["bleu_1"] == pytest.approx(1 / 3, abs=1e-4)
    assert [word["shared"] for word in entry["reference"]["words"]] == [True, False]
    (layer,) = entry["layers"]
    assert layer["size"] == [2, 3, 3]
    assert layer["active"] == pytest.approx(2 / 3, abs=1e-4)
    assert [channel["channel"] for channel in layer["channels"]] == [1, 2, 0]
    assert json.loads(json.dumps(entry)) == entry


def test_a_concept_has_the_models_score_and_that_of_the_words_alone():
    explanation = explanation_of(concept_scores={CUI: 0.25, "C2": 0.75, "C3": 0.125, "C4": 0.0})
    reading = dataclasses.replace(explanation.reading, scores={CUI: 0.9, "C2": 0.5, "C3": 0.0, "C4": 0.0})
    caption = dataclasses.replace(explanation.caption, concepts=(("C2", 0.75), ("C3", 0.125)))
    entry = entry_of(dataclasses.replace(explanation, caption=caption, reading=reading))
    found = {concept["code"]: (concept["score"], concept["word_score"]) for concept in entry["concepts"]}
    # The first is read in the words, the others are named by the model; the fourth by neither.
    assert found == {CUI: (0.25, 0.9), "C2": (0.75, 0.5), "C3": (0.125, 0.0)}
    assert list(found) == [CUI, "C2", "C3"]


def test_a_score_of_one_word_says_what_it_cannot_mean():
    entry = entry_of(explanation_of(words=("cyst",), reference="Cyst."))
    assert entry["reference"]["scores"]["meteor"] == 0.5  # and yet it is right
    assert "0.50 of 1" in entry["reference"]["notes"]["meteor"]
    assert entry_of(explanation_of(reference="mass of the left lung"))["reference"]["notes"] == {}


def test_a_large_image_is_made_smaller_at_its_own_proportions():
    entry = entry_of(explanation_of(image=picture(400, 1280)))
    data = base64.b64decode(entry["image"]["src"].removeprefix("data:image/jpeg;base64,"))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (200, 640, 3)
    assert (entry["image"]["width"], entry["image"]["height"]) == (1280, 400)


def test_claims_that_should_not_be_believed_are_listed():
    words = ("arrow", "left", "lung")
    grid = np.zeros((3, 2, 2), np.float32)
    grid[:, :, 0] = 0.5  # on the image's left, where by convention the patient's right is
    caption = Caption(words=words, stems=words, attention=grid, concepts=(("C1", 0.9),), concept_names={"C1": "Chest"})
    explanation = Explanation(caption, np.arange(48, dtype=np.uint8).reshape(4, 4, 3), attention=grid)
    found = [(doubt["rule"], doubt["claim"]) for doubt in entry_of(explanation)["doubts"]]
    assert found == [("mark", "arrow"), ("side", "left lung")]


@pytest.mark.parametrize(
    ("explanation", "notes"),
    [
        (explanation_of(), []),
        (explanation_of(words=()), ["The model generated no words."]),
        (explanation_of(image=np.full((8, 9, 3), 7, np.uint8)), ["This image has a single color."]),
        (explanation_of(image=np.zeros((1, 1, 3), np.uint8)), ["This image has a single color."]),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(explanation, notes):
    assert entry_of(explanation)["notes"] == notes


def test_an_image_unlike_the_training_images_is_called_so():
    known = explanation_of()
    known = dataclasses.replace(known, caption=dataclasses.replace(known.caption, confidence=0.81234, novelty=99.25))
    entry = entry_of(known)
    assert (entry["confidence"], entry["novelty"]) == (0.8123, 99.25)
    assert entry["notes"] == [
        "This image is unlike the training images (novelty 99.2 of 100): what is said of it means little."
    ]
    silent = dataclasses.replace(explanation_of(words=()), caption=known.caption.unless_novel())
    assert entry_of(silent)["notes"] == [f"No caption: {silent.caption.abstained}."]
    unknown = entry_of(explanation_of())
    assert unknown["confidence"] is None and unknown["novelty"] is None


def test_an_unreadable_image_has_its_line_alone():
    entry = entry_of(Explanation(Caption(Path("in/bad.png"), error="in/bad.png: the file is empty")))
    assert entry == {"name": "bad.png", "path": "in/bad.png", "error": "in/bad.png: the file is empty"}


def test_markup_stays_data(tmp_path):
    hostile = explanation_of(words=(HOSTILE, "left"), reference=HOSTILE)
    page = write_report(tmp_path / "report.html", [hostile], title=HOSTILE)
    text = page.read_text("utf-8")
    assert text.count("<script") == text.count("</script>") == 3  # colors, the entry, the code
    assert "<img" not in text
    assert entries_in(page)[0]["words"][0]["word"] == HOSTILE


def test_each_entry_is_written_before_the_next_is_asked_for(tmp_path):
    sizes = []

    def stream():
        for i in range(40):
            (beside,) = tmp_path.glob(".*.part")
            sizes.append(beside.stat().st_size)
            yield explanation_of(f"{i}.png")

    page = write_report(tmp_path / "report.html", stream())
    assert 0 < sizes[20] < sizes[39] < page.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert len(entries_in(page)) == 40


def test_an_interrupted_report_leaves_nothing(tmp_path):
    def stream():
        yield explanation_of()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path / "report.html", stream())
    assert list(tmp_path.iterdir()) == []


def test_an_audit_becomes_tables():
    flat, nested = audit_tables(
        {"pointing_game": {"attention": 0.5, "images": 3}, "deletion": {"grad_cam": {"area": 0.25}, "random": {"n": 2}}}
    )
    assert (flat.title, flat.columns, flat.rows) == (
        "Pointing game", ["value"], [["attention", "0.500"], ["images", "3"]],
    )  # fmt: skip
    assert (nested.columns, nested.rows) == (["area", "n"], [["grad cam", "0.250", ""], ["random", "", "2"]])


# In the browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    def stream():
        yield explanation_of("b-first.png", reference="A mass of the brain.", layers={"conv": np.random.rand(9, 9, 20)})
        yield explanation_of(
            "a-second.png", words=("chest", "clear"), score=-0.05,
            attention=np.stack([peak(0, 0), 0.7 / 16 + 0.3 * peak(1, 1)]),
            grad_cam=np.full((2, 4, 4), 1 / 16, np.float32),
        )  # fmt: skip
        yield explanation_of(
            f"{HOSTILE}.png".replace("/", "∕"), words=(HOSTILE, "left"), score=-2.0, reference=HOSTILE,
            retrieval_share=np.array([0.75, 0], np.float32),
            similar=((HOSTILE, HOSTILE, 0.6), ("train7", "left mass", 0.1)), likenesses=(LIKE, UNSEEN),
        )  # fmt: skip
        yield Explanation(Caption(Path("bad.png"), error=f"bad.png: not an image {HOSTILE}"))
        yield explanation_of(
            "silent.png", words=(), image=np.zeros((1, 1, 3), np.uint8),
            similar=(("train7", "left mass", 0.1),), likenesses=(UNSEEN._replace(copied=np.zeros(0, np.float32)),),
        )  # fmt: skip
        for i in range(40):
            yield explanation_of(f"more{i}.png", score=-3.0)

    audit = {"summary": ["Believe it."], "pointing_game": {"attention": 0.61, "random": 0.04}}
    return write_report(tmp_path_factory.mktemp("page") / "report.html", stream(), "Report", audit)


@pytest.fixture
def opened(browser, page):
    """The page, fresh; afterwards no complaint may stand in the console, and nothing may have been asked for."""
    from selenium.webdriver.support.wait import WebDriverWait

    browser.set_window_size(1280, 900)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(lambda it: it.find_elements("css selector", "button.word"), "it draws no words")
    yield browser
    assert browser.get_log("browser") == []
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked, "the browser's own log is empty"
    assert [url for url in asked if not url.startswith(("data:", page.as_uri()))] == []


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def built(browser, nth: int):
    """The nth image's card, in sight; cards are built when they come near."""
    from selenium.webdriver.support.wait import WebDriverWait

    card = browser.find_element("css selector", f"article:nth-of-type({nth})")
    browser.execute_script("arguments[0].scrollIntoView()", card)
    WebDriverWait(browser, 60).until(lambda it: card.find_elements("css selector", ".why"), "it is not built")
    return card


def overlay(browser, nth: int = 0) -> np.ndarray:
    """The nth image's overlay, uint8 [H, W, 4]."""
    height, width, data = browser.execute_script(
        # Read from a copy: Chromium complains of readings from a canvas that is not meant for them.
        "const c = document.querySelectorAll('article canvas')[arguments[0]];"
        "const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });"
        "copy.drawImage(c, 0, 0);"
        "return [c.height, c.width, [...copy.getImageData(0, 0, c.width, c.height).data]]",
        nth,
    )
    return np.array(data, np.uint8).reshape(height, width, 4)


def shown(browser) -> list[str]:
    """Names of the images on the page, in their order."""
    return browser.execute_script(
        "return [...document.querySelectorAll('article:not([hidden]) .title')].map((t) => t.firstChild.textContent)"
    )


def enter(browser, name: str, value: str, event: str) -> None:
    browser.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event(arguments[2]))",
        *(name, value, event),
    )


def test_pointing_at_a_word_lays_its_map_over_the_image(opened):
    from selenium.webdriver import ActionChains

    assert not overlay(opened).any()
    words = opened.find_elements("css selector", "article:first-child button.word")
    for word, place in zip(words, [(0, 3), (1, 2), (2, 1)]):
        ActionChains(opened).move_to_element(word).perform()
        drawn = overlay(opened)
        level = np.clip(over_image(peak(*place), drawn.shape[:2]), 0, 1)
        np.testing.assert_allclose(drawn[..., 3], 255 * 0.75 * (0.2 + 0.8 * level), atol=2)
        row, column = np.unravel_index(level.argmax(), level.shape)
        np.testing.assert_allclose(drawn[row, column, :3], color_table("cividis")[255], atol=8)
    said = opened.find_element("class name", "said").text
    assert said.startswith("“left”, Attention: middle third, image left; center 0.25, 0.50")
    assert said.endswith("of the map. Peak: 16.0 times an even share.")


def test_a_words_colors_end_at_its_own_peak_and_a_flat_map_stays_faint(opened):
    card = built(opened, 2)
    before = len(opened.find_elements("css selector", "article:first-child canvas"))
    for word, most in zip(card.find_elements("css selector", "button.word"), ("16.0", "5.5")):
        word.click()
        assert card.find_element("css selector", ".scale span:nth-of-type(2)").text == most
        assert overlay(opened, before)[..., 3].max() == pytest.approx(255 * 0.75, abs=6)
    card.find_element("xpath", ".//button[text()='Grad-CAM']").click()
    assert overlay(opened, before)[..., 3].max() == pytest.approx(255 * 0.75 * (0.2 + 0.8 / 4), abs=2)


def test_strength_and_kind_of_map_change_the_overlay(opened):
    opened.find_element("css selector", "button.word").click()
    attention = overlay(opened)
    opened.find_element("xpath", "//article[1]//button[text()='Grad-CAM']").click()
    gradient = overlay(opened)
    for drawn, grid in ((attention, peak(0, 3)), (gradient, peak(0, 3)[::-1])):
        level = np.clip(over_image(grid, drawn.shape[:2]), 0, 1)
        np.testing.assert_allclose(drawn[..., 3], 255 * 0.75 * (0.2 + 0.8 * level), atol=2)
    opened.execute_script(
        "const e = document.querySelector('.show input'); e.value = 0.25; e.dispatchEvent(new Event('input'))"
    )
    np.testing.assert_allclose(overlay(opened)[..., 3], gradient[..., 3] / 3, atol=1.5)


def test_the_threshold_hides_what_is_below_a_share_of_the_peak(opened):
    opened.find_element("css selector", "button.word").click()
    before = overlay(opened)
    assert (before[..., 3] > 0).all()
    opened.execute_script(
        "const e = document.querySelector('.show .least'); e.value = 0.5; e.dispatchEvent(new Event('input'))"
    )
    assert opened.find_element("css selector", ".show output").text == "50%"
    level = over_image(peak(0, 3), before.shape[:2])
    hidden = level < 0.5 * level.max()
    after = overlay(opened)
    clear = np.abs(level - 0.5 * level.max()) > 0.01  # rounding decides at the threshold itself
    assert not after[..., 3][hidden & clear].any()
    np.testing.assert_array_equal(after[~hidden & clear], before[~hidden & clear])


def test_boxes_lie_around_the_regions_and_can_be_hidden(opened):
    opened.find_element("css selector", "button.word").click()
    frame = opened.find_element("css selector", "article:first-child .frame")
    (box,) = frame.find_elements("css selector", ".boxes i")
    left, top, right, bottom = entry_of(explanation_of())["regions"]["attention"][0][0]["box"]
    wide, high = frame.size["width"], frame.size["height"]
    assert box.location["x"] - frame.location["x"] == pytest.approx(left * wide, abs=1.5)
    assert box.location["y"] - frame.location["y"] == pytest.approx(top * high, abs=1.5)
    assert (box.size["width"], box.size["height"]) == pytest.approx(
        ((right - left) * wide, (bottom - top) * high), abs=1.5
    )
    opened.find_element("css selector", ".show .boxed").click()
    assert not opened.find_elements("css selector", ".boxes i")


def test_each_finding_has_a_map_of_its_own(opened):
    (finding,) = opened.find_elements("css selector", "article:first-child .finding")
    assert finding.text.splitlines()[0] == "masses"
    assert finding.text.splitlines()[1] == entry_of(explanation_of())["regions"]["attention"][1][0]["place"]
    assert overlay(opened, 1).any()
    finding.click()
    assert finding.get_attribute("aria-pressed") == "true"
    assert opened.find_element("class name", "said").text.startswith("“masses”")


def test_keys_move_between_words_and_images(opened):
    from selenium.webdriver.common.keys import Keys

    def focused() -> str:
        return opened.execute_script(
            "const a = document.activeElement;"
            "return a.closest('article')?.querySelector('.title').firstChild.textContent + ' ' + a.ariaLabel"
        )

    press(opened, Keys.ARROW_RIGHT)
    assert focused().startswith("b-first.png brain, word 1")
    first = overlay(opened)
    press(opened, Keys.ARROW_RIGHT)
    assert focused().startswith("b-first.png masses, word 2")
    assert (overlay(opened) != first).any()
    press(opened, Keys.ARROW_LEFT)
    assert (overlay(opened) == first).all()
    press(opened, Keys.ARROW_DOWN)
    assert focused().startswith("a-second.png chest, word 1")
    press(opened, "k")
    assert focused().startswith("b-first.png brain, word 1")
    press(opened, Keys.ESCAPE)
    assert not overlay(opened).any()


def test_words_show_how_much_of_them_was_copied_and_from_whom(opened):
    third = built(opened, 3)
    bars = third.find_elements("css selector", "button.word .copied")
    assert [bar.get_attribute("title") for bar in bars] == [
        "75% from similar training images", "0% from similar training images",
    ]  # fmt: skip
    width, height = bars[0].size["width"], bars[0].size["height"]
    assert width > 20 and height == 3
    assert "75% from similar images" in third.find_element("css selector", "button.word").get_attribute("aria-label")
    rows = third.find_elements("css selector", ".similar li")
    assert [row.text for row in rows] == [f"60% {HOSTILE} {HOSTILE}", "alike?\n10% left mass train7"]
    first = opened.find_element("css selector", "article:first-child")
    assert first.find_elements("css selector", ".copied, .similar") == []  # this one was written by the decoder alone


def test_pointing_at_a_word_or_a_similar_image_lights_both_images(opened):
    from selenium.webdriver import ActionChains

    third = built(opened, 3)
    seen, unseen = third.find_elements("css selector", ".twin")
    assert len(seen.find_elements("css selector", "img")) == 1
    assert unseen.find_elements("css selector", "img, canvas") == []  # it was not at hand

    def brightest(selector):
        # By a copy: the browser warns of a canvas that is read again and again.
        script = """const it = arguments[0].querySelector(arguments[1]), {width, height} = it;
            const copy = Object.assign(document.createElement('canvas'), {width, height}).getContext('2d');
            copy.drawImage(it, 0, 0);
            const data = copy.getImageData(0, 0, width, height).data; let at = -1, best = 0;
            for (let i = 3; i < data.length; i += 4) if (data[i] > best) { best = data[i]; at = (i - 3) / 4; }
            return at < 0 ? null : [Math.floor(at / width) / height, (at % width) / width]"""
        return opened.execute_script(script, third, selector)

    def point(node):
        ActionChains(opened).move_to_element(node).perform()

    point(third.find_element("css selector", "button.word"))
    assert third.find_element("css selector", ".given").text.startswith("gave 70% of")
    row, column = brightest(".twin canvas")
    assert row < 0.2 and column > 0.6
    point(seen)
    row, column = brightest(".twin canvas")
    assert row > 0.6 and column < 0.2
    row, column = brightest(".where canvas")
    assert row < 0.2 and column < 0.2
    assert "more alike than most" in third.find_element("css selector", ".said").text
    point(unseen)
    row, column = brightest(".where canvas")
    assert row > 0.6 and column > 0.6
    assert brightest(".twin canvas") is not None  # back to the word's
    point(third.find_elements("css selector", "button.word")[1])
    assert brightest(".twin canvas") is None  # that word was not copied
    assert third.find_element("css selector", ".given").text == ""


def test_a_similar_image_lights_one_whose_caption_has_no_words(opened):
    from selenium.webdriver import ActionChains

    silent = built(opened, 5)
    assert silent.find_element("css selector", ".said").text == ""
    ActionChains(opened).move_to_element(silent.find_element("css selector", ".twin")).perform()
    assert "more alike than most" in silent.find_element("css selector", ".said").text
    assert "lit" in silent.get_attribute("class")


def test_a_concept_lights_up_its_words(opened):
    from selenium.webdriver import ActionChains

    ActionChains(opened).move_to_element(opened.find_element("css selector", "button.chip")).perform()
    words = opened.find_elements("css selector", "article:first-child button.word")
    assert ["for" if "for" in word.get_attribute("class") else "against" for word in words] == ["for", "against", "for"]
    assert [word.text.split()[-1] for word in words] == ["+0.50", "−0.25", "+1.00"]


def test_search_filter_and_sort(opened):
    everything = shown(opened)
    assert len(everything) == 45
    enter(opened, "search", "CHEST second", "input")
    assert shown(opened) == ["a-second.png"]
    enter(opened, "search", "onerror", "input")
    assert len(shown(opened)) == 2
    enter(opened, "search", "nowhere", "input")
    assert shown(opened) == []
    assert opened.find_element("id", "count").text == "no image fits"
    enter(opened, "search", "", "input")
    enter(opened, "least", "0.5", "input")
    assert shown(opened) == ["b-first.png", "a-second.png"]
    enter(opened, "sort", "high", "change")
    assert shown(opened) == ["a-second.png", "b-first.png"]
    enter(opened, "least", "0", "input")
    enter(opened, "sort", "name", "change")
    assert shown(opened).index("more9.png") < shown(opened).index("more10.png")
    enter(opened, "score", "bleu_1", "change")
    enter(opened, "sort", "high", "change")
    assert shown(opened)[1] == "b-first.png"  # BLEU-1 2/3, after the one that is its own reference
    enter(opened, "sort", "given", "change")
    assert shown(opened) == everything


def test_images_far_below_wait(opened):
    built = "return document.querySelectorAll('article img').length"
    assert 0 < opened.execute_script(built) < 20
    before = opened.execute_script(built)
    opened.execute_async_script(
        "scrollTo(0, document.body.scrollHeight);"
        "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 100)))"
    )
    assert opened.execute_script(built) > before
    texts = opened.execute_script("return [...document.querySelectorAll('article img')].map((image) => image.alt)")
    assert all(texts)


def test_markup_in_names_and_captions_stays_text(opened):
    enter(opened, "search", "onerror", "input")
    assert opened.title == "Report"
    shown_text = opened.find_element("id", "entries").text
    assert shown_text.count(HOSTILE) >= 3
    assert opened.execute_script("return document.querySelectorAll('main script, img[src=x]').length") == 0


def test_bad_images_and_the_audit_have_their_lines(opened):
    enter(opened, "search", "silent", "input")
    opened.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 200))")
    notes = opened.execute_script("return [...document.querySelectorAll('.note')].map((n) => n.textContent)")
    assert notes[1:] == ["The model generated no words.", "This image has a single color."]
    assert notes[0].startswith("bad.png: not an image")
    assert "0.610" in opened.find_element("class name", "audit").text
    assert "Believe it." in opened.find_element("class name", "audit").text


def test_layers_are_made_when_opened(opened):
    assert not opened.find_elements("css selector", ".channels img")
    opened.find_element("tag name", "summary").click()
    opened.execute_async_script("setTimeout(arguments[0], 100)")
    assert len(opened.find_elements("css selector", ".channels img")) == 8


def test_a_phone_needs_no_sideways_scrolling(opened):
    # Headless windows have a least width; the device's metrics have none.
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        opened.refresh()
        assert opened.execute_script("return innerWidth") == 360
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
