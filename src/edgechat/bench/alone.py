"""Latency and throughput of one user: probes with nobody else on the server."""

from collections.abc import Awaitable, Callable

from edgechat.bench import text
from edgechat.bench.client import Client, Reading
from edgechat.bench.restart import restarted
from edgechat.types import Message

Figures = dict[str, float]

PROMPT = 600  # tokens of a long first message
ANSWER = 128  # tokens of an answer whose speed is read
SENTENCE = 48
SHARED = 300  # tokens that a branch shares with another conversation; about 30 differ


def said(content: str) -> Message:
    """A turn of the user."""
    return Message.of("user", content)


async def single(here: Client) -> Figures:
    """Prefill from the time to the first token of a cold prompt, decode from the pace of the rest."""
    reading = (await here.ask([said(text.cold(PROMPT, text.COUNT))], ANSWER)).checked()
    prefill = reading.prompt_tokens and reading.prompt_tokens / reading.first_s
    found = {"prefill": prefill, "decode": reading.decode, "first": reading.first_s * 1000}
    return {name: value for name, value in found.items() if value is not None}


async def turns(here: Client) -> Figures:
    """Two turns of one conversation."""

    async def at_once() -> None:
        return

    return await _two_turns(here, at_once)


async def restart(here: Client) -> Figures:
    """Two turns of one conversation, the server restarted between."""

    async def again() -> None:
        await restarted(here)

    return await _two_turns(here, again)


async def _two_turns(here: Client, between: Callable[[], Awaitable[None]]) -> Figures:
    opening = said(text.cold(PROMPT, "What is this text about? Answer in one sentence."))
    first = (await here.ask([opening], SENTENCE)).checked()
    await between()
    following = [opening, Message.of("assistant", first.text), said("And who might have written it?")]
    return _second_to_first(first, (await here.ask(following, SENTENCE)).checked())


async def branch(here: Client) -> Figures:
    """Two conversations with one long beginning."""
    beginning = text.cold(SHARED, "That was the text.")
    one, other = (f"{beginning} {end}" for end in text.ENDS)
    first = (await here.ask([said(one)], SENTENCE)).checked()
    return _second_to_first(first, (await here.ask([said(other)], SENTENCE)).checked())


def _second_to_first(first: Reading, second: Reading) -> Figures:
    found = {"first": first.first_s * 1000, "second": second.first_s * 1000, "ratio": second.first_s / first.first_s}
    if second.prompt_tokens is not None and second.cached_tokens is not None:
        found["read"] = second.prompt_tokens - second.cached_tokens
    return found
