"""Pictures on the page: how they come in, what becomes of them, what is seen of them."""

import io
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import READY, Script
from tests.browser.test_states import speak, violations
from tests.media.test_picture import at, is_blue
from tests.pictures import drawn, encoded, upright

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

SEES: dict[str, Any] = READY | {"senses": ["picture"], "patch": 32}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DROP = """async ([name, kind, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], name, { type: kind }));
    const how = { dataTransfer: data, clipboardData: data, bubbles: true, cancelable: true };
    const pasted = name.startsWith("pasted");
    document.body.dispatchEvent(pasted ? new ClipboardEvent("paste", how) : new DragEvent("drop", how));
}"""


@pytest.fixture
def seeing(script: Script, chat: Chat) -> Chat:
    """The page before a model that takes pictures."""
    script.ready = dict(SEES)
    return chat.open()


def file(name: str, size: tuple[int, int] = (60, 40), kind: str = "PNG", **how: Any) -> Any:
    """A picture as a file that somebody chooses."""
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": encoded(drawn(size), kind, **how)}


def choose(chat: Chat, *files: Any) -> None:
    """Choose `files` with the button."""
    with chat.page.expect_file_chooser() as chooser:
        chat.button("Add pictures").click()
    chooser.value.set_files(list(files))


def cards(chat: Chat) -> Any:
    return chat.page.locator(".tray li:not([aria-busy])")


def kept(script: Script) -> Image.Image:
    """The newest picture that reached the server."""
    return Image.open(io.BytesIO(list(script.held.values())[-1][2]))


def test_a_picture_is_attached_asked_about_and_seen_in_the_conversation(seeing: Chat, script: Script) -> None:
    script.will_say("Half blue, half red.")
    choose(seeing, file("flag.png", (1200, 800)))
    expect(cards(seeing)).to_have_text("flag.pngabout 488 tokensSharper")
    seeing.shot("pictures-tray")
    seeing.ask("What is it?")
    expect(seeing.answer).to_have_text("Half blue, half red.")
    expect(cards(seeing)).to_have_count(0)
    (sha256,) = script.held
    assert script.requests[0]["attachments"] == [sha256]
    image = kept(script)
    assert image.width * image.height <= 512 * 32 * 32
    assert abs(image.width / image.height - 1.5) < 0.01
    picture = seeing.questions.get_by_role("img", name="Picture flag.png")
    expect(picture).to_be_visible()
    seeing.page.reload()
    seeing.questions.get_by_role("button", name="Show picture flag.png").click()
    whole = seeing.page.get_by_role("dialog").get_by_role("img", name="Picture flag.png")
    expect(whole).to_be_visible()
    seeing.shot("pictures-whole")


def test_it_is_upright_and_says_no_place(seeing: Chat, script: Script) -> None:
    exif = upright(6)
    exif.get_ifd(0x8825)[1] = "N"  # where it was taken
    choose(seeing, file("phone.jpg", (200, 100), "JPEG", exif=exif))
    expect(cards(seeing)).to_have_count(1)
    image = kept(script)
    assert image.size == (100, 200)
    assert not image.getexif()
    assert is_blue(at(next(reversed(script.held.values()))[2], 0.5, 0.25)), "what was on the left is above"


def test_a_picture_may_be_sharper_and_its_cost_is_told(seeing: Chat, script: Script) -> None:
    choose(seeing, file("map.png", (1600, 1200)))
    sharper = seeing.button("Sharper")
    expect(cards(seeing)).to_contain_text("about 496 tokens")
    sharper.click()
    expect(cards(seeing)).to_contain_text("about 974 tokens")
    expect(sharper).to_have_attribute("aria-pressed", "true")
    assert kept(script).size == (36 * 32, 27 * 32)
    seeing.shot("pictures-sharper")
    seeing.button("Remove").click()
    choose(seeing, file("small.png"))
    expect(cards(seeing)).to_contain_text("small.png")
    expect(sharper).to_be_hidden()


@pytest.mark.parametrize("name", ["dropped.png", "pasted.png"])
def test_it_may_be_dropped_or_pasted(seeing: Chat, script: Script, name: str) -> None:
    seeing.page.evaluate(DROP, [name, "image/png", list(encoded(drawn(), "PNG"))])
    expect(cards(seeing)).to_have_count(1)
    seeing.button("Remove").click()
    expect(cards(seeing)).to_have_count(0)
    seeing.input.press("Enter")
    assert script.requests == []


def test_two_pictures_are_one_question(seeing: Chat, script: Script) -> None:
    places = '[{"bbox_2d": [500, 0, 1000, 1000], "label": "a red field"}]'
    script.will_say(f"There is something new:\n\n```json\n{places}\n```")
    choose(seeing, file("before.png"), file("after.png", (62, 40)))
    seeing.button("What changed?").click()
    expect(seeing.questions.locator(".text")).to_have_text("What changed between these two pictures?")
    expect(seeing.answer).to_contain_text("There is something new:")
    assert len(script.requests[0]["attachments"]) == 2
    drawing = seeing.answers.get_by_role("img", name="a red field")
    expect(drawing.locator("rect")).to_have_attribute("x", "31")
    seeing.shot("pictures-changed")


def test_places_alone_are_a_drawing_and_their_json_is_folded(seeing: Chat, script: Script) -> None:
    places = '```json\n[{"bbox_2d": [500, 0, 1000, 1000], "label": "red"}]\n```'
    script.will_say(places, reason="length")
    choose(seeing, file("flag.png"))
    expect(cards(seeing)).to_have_count(1)
    seeing.ask("Where is it red?")
    expect(seeing.answers.get_by_role("img", name="red").locator("rect")).to_be_attached()
    json = seeing.answers.locator("pre")
    expect(json).to_be_hidden()
    seeing.answers.get_by_text("Details").click()
    expect(json).to_be_visible()
    script.will_say("\nOne field.")
    seeing.button("Continue").click()
    expect(seeing.answer).to_contain_text("One field.")
    expect(json).to_be_visible()
    expect(seeing.answers.get_by_text("Details")).to_have_count(0)


def test_a_question_may_be_a_picture_alone(seeing: Chat, script: Script) -> None:
    script.will_say("A flag.")
    choose(seeing, file("flag.png"))
    expect(cards(seeing)).to_have_count(1)
    seeing.button("Send").click()
    expect(seeing.answer).to_have_text("A flag.")
    assert script.requests[0]["content"] == ""


def test_what_was_not_taken_comes_back_with_its_picture(seeing: Chat, script: Script) -> None:
    script.will_refuse(503, '{"error": {"code": "engine_failed", "message": "gone"}}')
    choose(seeing, file("flag.png"))
    expect(cards(seeing)).to_have_count(1)
    seeing.ask("What is it?")
    script.will_say("A flag.")
    seeing.button("Try again").click()
    expect(seeing.answer).to_have_text("A flag.")
    assert script.requests[0]["attachments"] == script.requests[1]["attachments"]


def test_a_model_that_does_not_see_offers_another(chat: Chat, script: Script) -> None:
    expect(chat.page.locator("#picture")).to_be_hidden()
    chat.page.evaluate(DROP, ["dropped.png", "image/png", list(encoded(drawn(), "PNG"))])
    toast = chat.page.get_by_role("status").filter(has_text="cannot see pictures")
    script.models = [{"name": "sees", "state": "installed", "senses": ["picture"], "patch": 32, "size": 1, "ram": 1}]
    toast.get_by_role("button", name="Choose another model").click()
    chat.page.get_by_role("dialog").get_by_role("button", name="Use").click()
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator("#picture")).to_be_visible()


def test_what_is_no_picture_is_said(seeing: Chat) -> None:
    choose(seeing, {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(seeing.page.get_by_role("alert")).to_contain_text("no.png cannot be read as a picture.")
    expect(cards(seeing)).to_have_count(0)


RECORDED = """async () => {
    if (!window.MediaRecorder?.isTypeSupported("video/webm")) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [160, 96];
    const context = canvas.getContext("2d");
    const draw = (colour) => ((context.fillStyle = colour), context.fillRect(0, 0, 160, 96));
    draw("rgb(20, 20, 220)");
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: "video/webm" });
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    const over = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    for (const colour of ["rgb(20, 20, 220)", "rgb(220, 20, 20)"]) {
        const begun = performance.now();
        while (performance.now() - begun < 800) {
            draw(colour);
            await new Promise(requestAnimationFrame);
        }
    }
    recorder.stop();
    await over;
    return [...new Uint8Array(await new Blob(pieces).arrayBuffer())];
}"""


def test_a_video_becomes_still_pictures(seeing: Chat, script: Script) -> None:
    """One as a browser records it, whose length nobody has written down: blue first, then red."""
    recorded = seeing.page.evaluate(RECORDED)
    if not recorded:
        pytest.skip("this browser records no video")
    seeing.page.evaluate(DROP, ["film.webm", "video/webm", recorded])
    toast = seeing.page.get_by_role("status").filter(has_text="film.webm is shown to the model as 4 still pictures.")
    expect(toast).to_be_visible()
    expect(cards(seeing)).to_have_count(4)
    expect(cards(seeing).first).to_contain_text("film.webm 0:00")
    frames = list(script.held.values())
    assert {kind for _, kind, _ in frames} == {"image/jpeg"}
    assert {Image.open(io.BytesIO(content)).size for _, _, content in frames} == {(160, 96)}
    assert {is_blue(at(content, 0.5, 0.5)) for _, _, content in frames} == {True, False}


def test_what_is_no_video_is_said(seeing: Chat) -> None:
    seeing.page.evaluate(DROP, ["film.webm", "video/webm", list(b"\x1aE\xdf\xa3 and no more")])
    expect(seeing.page.get_by_role("alert")).to_contain_text("film.webm cannot be read as a picture.")
    expect(cards(seeing)).to_have_count(0)


def test_a_phone_has_its_camera(new_chat: Open, script: Script) -> None:
    script.ready = dict(SEES)
    script.will_say("A flag.")
    chat = new_chat(**PHONE).open()
    chat.button("Add pictures").tap()
    with chat.page.expect_file_chooser() as chooser:
        chat.button("Take a picture").tap()
    assert not chooser.value.is_multiple()
    chooser.value.set_files([file("camera.jpg", (1200, 1600), "JPEG")])
    expect(cards(chat)).to_have_count(1)
    chat.shot("pictures-phone-tray")
    chat.input.fill("What is it?")
    chat.button("Send").tap()
    expect(chat.answer).to_have_text("A flag.")
    chat.shot("pictures-phone")


@pytest.mark.parametrize(
    ("language", "scheme", "width"), [("en", "light", 1280), ("zh", "dark", 360)], ids=["wide", "narrow"]
)
def test_axe_finds_nothing_where_pictures_are(
    new_chat: Open, script: Script, language: str, scheme: Any, width: int
) -> None:
    """Beside the question, in it, whole, and with places marked."""
    script.ready = dict(SEES)
    chat = new_chat(viewport={"width": width, "height": 740}, color_scheme=scheme, reduced_motion="reduce").open()
    choose(chat, file("one.png"), file("two.png"))
    expect(cards(chat)).to_have_count(2)
    speak(chat, language)
    found = {"tray": violations(chat)}
    chat.shot(f"pictures-tray-{width}-{language}-{scheme}")
    script.will_say('[{"bbox_2d": [100, 100, 500, 600], "label": "red"}]')
    chat.ask("Where?")
    expect(chat.answers.last.locator(".places rect")).to_be_attached()
    pictures = chat.questions.locator(".held img")
    expect(pictures).to_have_count(2)
    one, two = (picture.bounding_box() for picture in pictures.all())
    assert one and two and one["y"] == two["y"]  # side by side: a question is no album
    found["question"] = violations(chat)
    chat.shot(f"pictures-question-{width}-{language}-{scheme}")
    chat.answers.last.locator(".places button").click()
    expect(chat.page.get_by_role("dialog").locator("img")).to_be_visible()
    found["whole"] = violations(chat)
    assert {state: what for state, what in found.items() if what} == {}
