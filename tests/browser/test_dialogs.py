"""Settings, presets, data, models, shortcuts, the way in with a key."""

import json
import zipfile
from pathlib import Path

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import MODEL, Script
from tests.pictures import drawn, encoded

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def settings(chat: Chat) -> None:
    """Open the settings, and wait for the server's defaults."""
    expect(chat.page.locator("#app")).to_be_visible()  # after a reload, keys are heard from then on
    chat.page.keyboard.press("Control+,")
    expect(chat.page.locator(".default").filter(has_text="Default: 0.7")).to_be_visible()


def test_settings_stand_beside_the_defaults_and_go_with_the_question(chat: Chat, script: Script) -> None:
    settings(chat)
    field = chat.page.get_by_label("Temperature (higher is more varied)")
    expect(field).to_have_attribute("placeholder", "0.7")
    field.fill("0.2")
    chat.page.get_by_role("textbox", name="System prompt").fill("Be brief.")
    chat.page.get_by_text("More", exact=True).click()
    chat.page.get_by_label("Stop words").fill("END, STOP")
    chat.page.keyboard.press("Escape")
    script.will_say("Yes.")
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[0]["params"] == {"temperature": 0.2, "stop": ["END", "STOP"], "system": "Be brief."}
    chat.page.reload()
    settings(chat)
    expect(field).to_have_value("0.2")
    chat.button("Reset to default").first.click()
    expect(field).to_have_value("")
    assert json.loads(chat.page.evaluate("localStorage.getItem('edgechat.params')")) == {"stop": ["END", "STOP"]}


def test_what_is_out_of_range_is_marked_and_not_kept(chat: Chat) -> None:
    settings(chat)
    field = chat.page.get_by_label("Temperature (higher is more varied)")
    field.fill("5")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert chat.page.evaluate("localStorage.getItem('edgechat.params')") is None


def test_theme_and_size_hold(chat: Chat) -> None:
    settings(chat)
    chat.page.get_by_label("Theme").select_option("dark")
    chat.page.get_by_label("Text size").select_option("large")
    chat.page.reload()
    expect(chat.page.locator("html")).to_have_attribute("data-theme", "dark")
    assert chat.page.evaluate("getComputedStyle(document.documentElement).fontSize") == "18px"
    assert chat.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(24, 24, 22)"


def test_prompts_are_kept_under_a_name(chat: Chat, script: Script) -> None:
    settings(chat)
    text = chat.page.get_by_role("textbox", name="System prompt")
    text.fill("You are a teacher.")
    chat.page.get_by_role("textbox", name="Name").fill("Teacher")
    chat.button("Save").click()
    saved = chat.page.get_by_label("Saved prompts")
    expect(saved.locator("option")).to_have_count(2)
    assert script.presets["presets"] == [{"name": "Teacher", "text": "You are a teacher."}]
    text.fill("")
    saved.select_option("Teacher")
    expect(text).to_have_value("You are a teacher.")
    chat.button("Delete this prompt").click()
    expect(saved.locator("option")).to_have_count(1)
    assert script.presets["presets"] == []


def test_import_is_all_or_nothing_and_says_what_is_wrong(chat: Chat, tmp_path: Path) -> None:
    files = {
        "good": '{"conversations": [{}, {}]}',
        "bad": '{"messages": []}',
        "broken": '{"messages": [',
        "png": "\x89PNG",
    }
    for name, content in files.items():
        (tmp_path / f"{name}<img src=x onerror=alert(1)>.json").write_text(content)
    settings(chat)
    report = chat.page.locator(".report").first
    choose = chat.page.locator("input[type=file]")
    expected = {
        "good": "2 conversations imported.",
        "bad": "messages[3].role: <img src=x onerror=alert(1)>",
        "broken": "is not a JSON file, so nothing was imported",
        "png": "is not a JSON file",
    }
    for name, said in expected.items():
        choose.set_input_files(tmp_path / f"{name}<img src=x onerror=alert(1)>.json")
        expect(report).to_contain_text(said)


def test_several_files_and_archives_are_imported_and_what_is_missing_is_named(
    chat: Chat, script: Script, tmp_path: Path
) -> None:
    conversation = {"title": "One", "mapping": {}}
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("user.json", "{}")
        archive.writestr("conversations-000.json", json.dumps([conversation]))
        archive.writestr("conversations-001.json", json.dumps([conversation | {"title": "字" * 3_000_000}] * 4))
    (tmp_path / "other.json").write_text('{"conversations": [{}, {}]}')
    with zipfile.ZipFile(tmp_path / "strange.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    script.imports = [
        {"imported": 1, "skipped": 2, "left_out": [{"place": "[4]", "title": "", "why": "no_conversation"}]},
        {"imported": 2, "without": {"pictures": 3}},
        {"imported": 2, "left_out": [{"place": "[1]", "title": "<b>Old", "why": "no_text"}]},
    ]
    settings(chat)
    chat.page.locator("input[type=file]").set_input_files(
        [tmp_path / name for name in ("export.zip", "other.json", "strange.zip")]
    )
    report = chat.page.locator(".report").first
    expect(report.locator("p, li")).to_have_text(
        [
            "5 conversations imported.",
            "2 were there already.",
            "3 pictures were left out: the file does not have them.",
            "2 entries were not imported:",
            "[4]: not a conversation in a known format",
            "<b>Old: no message with text",
            "2 conversations imported.",
            "strange.zip is not a JSON file, so nothing was imported: conversations.json?",
        ],
        timeout=30_000,
    )


def test_an_archives_pictures_are_given_to_the_server_first(chat: Chat, script: Script, tmp_path: Path) -> None:
    parts = [{"asset_pointer": f"file-service://file-{name}"} for name in ("Ab3", "gone", "Ab3")]
    picture = encoded(drawn(), "PNG")
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([{"mapping": {"q": {"message": {"parts": parts}}}}]))
        archive.writestr("user/file-Ab3-flag.png", picture)
    script.imports = [{"imported": 1}]
    settings(chat)
    chat.page.locator("input[type=file]").set_input_files(tmp_path / "export.zip")
    expect(chat.page.locator(".report").first).to_contain_text("1 conversation imported.")
    ((sha256, (name, _, content)),) = script.held.items()
    assert (name, content) == ("flag.png", picture)
    (sent,) = script.imported
    told = [part["asset_pointer"] for part in sent[0]["mapping"]["q"]["message"]["parts"]]
    assert told == [f"sha256:{sha256}", "file-service://file-gone", f"sha256:{sha256}"]


def test_everything_goes_only_by_the_word(chat: Chat, script: Script) -> None:
    script.records.add("One", "q", "a")
    settings(chat)
    button = chat.button("Delete all")
    expect(button).to_be_disabled()
    word = chat.page.get_by_label("Delete all conversations")
    word.fill("delet")
    expect(button).to_be_disabled()
    word.fill("delete")
    button.click()
    expect(chat.page.locator(".toast")).to_contain_text("All conversations were deleted.")
    assert all(found["deleted"] for found in script.records.conversations.values())


def test_models_are_chosen_and_downloaded(chat: Chat, script: Script) -> None:
    row = {"size": 400_000_000, "ram": 700_000_000, "quantisation": "Q4_K_M"}
    script.models = [
        row | {"name": MODEL, "state": "loaded"},
        row | {"name": "larger", "state": "installed", "ram": 9_000_000_000},
        row | {"name": "absent", "state": "available"},
    ]
    chat.page.locator("#model").click()
    rows = chat.page.locator(".models li")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("In use")
    expect(rows.nth(1)).to_contain_text("Needs 9 GB, but only 2.4 GB is free")
    rows.nth(2).get_by_role("button", name="Download").click()
    script.models[2] |= {"state": "downloading", "progress": 0.5, "received": 2e8, "rate": 4e6, "left": 50}
    expect(rows.nth(2)).to_contain_text("200 MB of 400 MB · 4 MB/s · 50 s left")
    rows.nth(2).get_by_role("button", name="Cancel").click()
    rows.nth(1).get_by_role("button", name="Use").click()
    expect(rows.nth(1)).to_contain_text("In use")
    script.models[2] = row | {"name": "absent", "state": "available", "why": "the hub is away"}
    expect(rows.nth(2)).to_contain_text("Failed: the hub is away")
    assert script.asked == ["download absent", "cancel absent", "load larger"]
    chat.page.keyboard.press("Escape")
    script.will_say("Yes.")
    chat.ask("Hello")
    expect(chat.answer).to_have_text("Yes.")
    assert script.requests[0]["model"] == "larger"


def test_what_one_chooses_a_model_by_is_told(chat: Chat, script: Script) -> None:
    terms = {"languages": ["en", "zh"], "licence": "tongyi-qianwen-research", "commercial": False}
    script.models = [{"name": MODEL, "state": "available", "size": 4e8, "ram": 7e8, "quantisation": "Q4_K_M"} | terms]
    chat.page.locator("#model").click()
    facts = chat.page.locator(".models .default")
    expect(facts).to_have_text(
        [
            "Q4_K_M · 400 MB · needs 700 MB of memory",
            "English, Chinese · tongyi-qianwen-research (no commercial use)",
        ]
    )


def test_an_operator_gets_any_model_and_deletes_it(chat: Chat, script: Script) -> None:
    """It is deleted only after a question, and what is gone leaves the list."""
    row = {"size": 400_000_000, "state": "installed"}
    script.models = [row | {"name": MODEL, "state": "loaded"}, row | {"name": "old", "removable": True}]
    chat.page.locator("#model").click()
    rows = chat.page.locator(".models li")
    expect(rows.nth(0).get_by_role("button", name="Delete")).to_have_count(0)
    rows.nth(1).get_by_role("button", name="Delete").click()
    expect(rows.nth(1)).to_contain_text("Delete old from the disk?")
    rows.nth(1).get_by_role("button", name="Cancel").click()
    expect(rows.nth(1).get_by_role("button", name="Delete")).to_be_focused()
    assert script.asked == []
    rows.nth(1).get_by_role("button", name="Delete").click()
    rows.nth(1).get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(1)
    reference = "hf:Owner/Name-GGUF:name.gguf"
    field = chat.page.get_by_label("Download another model by its reference")
    field.fill(reference)
    field.press("Enter")
    expect(field).to_have_value("")
    script.models.append({"name": reference, "state": "available", "why": "the hub is away"})
    rows.nth(1).get_by_role("button", name="Close").click()
    expect(rows.nth(1)).to_contain_text("the hub is away")
    assert script.asked == ["remove old", f"download {reference}", f"cancel {reference}"]


def test_an_ordinary_key_is_offered_only_what_it_may_do(new_chat: Open, script: Script) -> None:
    script.key = "right"
    row = {"size": 400_000_000}
    script.models = [
        row | {"name": MODEL, "state": "loaded"},
        row | {"name": "other", "state": "installed", "removable": True},
        row | {"name": "absent", "state": "available"},
    ]
    chat = new_chat().open()
    chat.page.locator("#key").fill("right")
    chat.button("Log in").click()
    expect(chat.page.locator("#dialog")).to_be_hidden()
    chat.page.locator("#model").click()
    rows = chat.page.locator(".models li")
    expect(rows).to_have_count(2)
    expect(rows.get_by_role("button")).to_have_text(["Use"])
    expect(chat.page.locator(".another")).to_have_count(0)


def test_shortcuts_are_listed(chat: Chat) -> None:
    chat.page.keyboard.press("Control+/")
    expect(chat.page.locator(".keys div")).to_have_count(13)
    chat.page.keyboard.press("Escape")
    chat.page.keyboard.press("Control+b")
    expect(chat.page.locator("#sidebar")).to_be_hidden()
    chat.page.keyboard.press("Control+b")
    expect(chat.page.locator("#sidebar")).to_be_visible()


def test_the_way_in_with_a_key(new_chat: Open, script: Script) -> None:
    script.key = "ek-secret"
    script.records.add("Mine", "q", "a")
    chat = new_chat().open()
    field = chat.page.get_by_label("Key", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("autocomplete", "current-password")
    field.fill("wrong")
    chat.button("Log in").click()
    expect(chat.page.get_by_role("alert")).to_have_text("That key is not valid.")
    field.fill("ek-secret")
    chat.button("Log in").click()
    expect(chat.page.locator("#dialog")).to_be_hidden()
    expect(chat.rows).to_have_count(1)
