"""Refusals and errors: what is said instead of an answer, and how one goes on from there."""

import re

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import Script, delta, failed, problem

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_error_before_the_first_byte(chat: Chat, script: Script) -> None:
    script.will_refuse(500, problem("engine_failed", "the engine died <b>twice</b>"))
    chat.ask("Hello")
    alert = chat.answers.last.get_by_role("alert")
    expect(alert).to_contain_text("The model stopped in the middle.")
    expect(alert).to_contain_text("try again in a moment")
    alert.get_by_text("Details").click()
    expect(alert.locator(".raw")).to_have_text("the engine died <b>twice</b>")
    expect(chat.questions.locator(".text")).to_have_text("Hello")
    script.will_say("Back again.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Back again.")
    expect(alert).to_have_count(0)
    expect(chat.questions).to_have_count(1)
    assert script.requests[1] == script.requests[0]


def test_error_after_the_first_byte(chat: Chat, script: Script) -> None:
    script.will(delta("So far"), failed("engine_failed", "the engine's process ended"))
    chat.ask("Hello")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text("The model stopped in the middle.")
    expect(chat.answer).to_have_text("So far")
    script.will_say("Whole.")
    chat.button("Try again").click()
    expect(chat.answer).to_have_text("Whole.")
    assert script.requests[1] == {"conversation_id": "c-1", "parent_id": "m-2"}


@pytest.mark.parametrize(
    ("status", "body", "said", "raw"),
    [
        (400, problem("new", "top_p is out of range"), "refused this request", "top_p is out of range"),
        (429, "slow down", "The server is busy", "slow down"),
        (502, "", "went wrong on the server", "HTTP 502"),
        (507, problem("out_of_memory", "needs 900 MB"), "not enough memory", "needs 900 MB"),
    ],
)
def test_any_refusal_is_told(chat: Chat, script: Script, status: int, body: str, said: str, raw: str) -> None:
    script.will_refuse(status, body)
    chat.ask("Hello")
    expect(chat.answers.last.get_by_role("alert")).to_contain_text(said)
    expect(chat.answers.last.locator(".raw")).to_have_text(raw)


def test_too_many_requests_are_counted_down_and_tried_once_more(chat: Chat, script: Script) -> None:
    script.will_refuse(429, problem("busy", "slow down"), **{"Retry-After": "2"})
    script.will_say("Now.")
    chat.ask("Hello")
    expect(chat.status).to_have_text(re.compile(r"Too many requests\. Again in [12] s\."))
    expect(chat.answer).to_have_text("Now.")
    assert script.keys[0] == script.keys[1]  # the same turn


def test_a_chat_that_no_longer_fits_can_start_over(chat: Chat, script: Script) -> None:
    script.will_refuse(400, problem("context_length_exceeded", "5000 of 4096"))
    chat.ask("A long question")
    chat.button("New chat with this question").click()
    expect(chat.answers).to_have_count(0)
    expect(chat.input).to_have_value("A long question")


def test_the_length_limit_is_named(chat: Chat, script: Script) -> None:
    script.will_say("A very long answ", reason="length")
    chat.ask("Go on")
    expect(chat.answers.last.locator(".badge")).to_have_text("Reached the length limit")
    expect(chat.button("Continue")).to_be_visible()


def test_a_full_context_is_named_and_gone_on_with_where_something_older_can_be_left_out(
    chat: Chat, script: Script
) -> None:
    for question in ("First", "Second"):
        script.will_say("A very long answ", reason="length", used=4096)
        chat.ask(question)
        expect(chat.answers.last.locator(".badge")).to_have_text("The context is full")
        expect(chat.button("Continue")).to_have_count(int(question == "Second"))
