"""Contention: probes with several on the machine: other users, another server, another program."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median

from edgechat.bench import text
from edgechat.bench.alone import ANSWER, Figures, said
from edgechat.bench.client import Answer, Client, Reading, Unmeasured

READER = 512  # tokens of the reader's answer: longer than it takes to read the newcomer
NEWCOMER = 1200  # tokens of the newcomer's prompt
STEADY = 8  # pieces of text after which a reader is under way
USERS, USER = 8, 96  # how many together, tokens each
FLOOD, FLOODED, LIGHT = 12, 150, 40  # requests, tokens of each, tokens of the light user's answer
TOGETHER, TOGETHER_S = 256, 30.0  # tokens that two ask for, and how long the two are watched
CROWDS, CROWDED = (1, 2, 4, 8, 16, 32), 32  # people at once, tokens each
SOAKERS, SOAKED, SOAK_S = 6, 48, 60.0  # people, tokens of an answer, seconds
MANY, SECRETS, SECRET = 32, 6, 96  # readers, words of each, tokens of each answer

# Ends by itself when whoever started it is gone, or after three minutes.
BUSY = (
    "import os, time\n"
    "parent, end = os.getppid(), time.monotonic() + 180\n"
    "print('busy', flush=True)\n"
    "while os.getppid() == parent and time.monotonic() < end:\n"
    "    for _ in range(1_000_000):\n"
    "        pass\n"
)


@asynccontextmanager
async def asking(*asks: tuple[Client, str, int, str]) -> AsyncIterator[list[Answer]]:
    """Answers that come in the background, one per (client, prompt, tokens, user); given up at the end."""
    answers = [Answer() for _ in asks]
    tasks = [
        asyncio.create_task(client.ask([said(prompt)], most, user, answer))
        for (client, prompt, most, user), answer in zip(asks, answers, strict=True)
    ]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            answer.end()  # one that was given up before it began, too


async def pieces(answer: Answer, count: int) -> None:
    """Wait until `answer` has `count` pieces of text, or ended."""
    while len(answer.times) < count and answer.over is None:
        await answer.changed.wait()


async def any_of(answers: Sequence[Answer], count: int, seconds: float | None = None) -> None:
    """Wait until one of `answers` has `count` pieces of text, or ended; at most `seconds`."""
    waiting = [asyncio.create_task(pieces(answer, count)) for answer in answers]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def longest_gap(times: Sequence[float], start: float, end: float) -> float:
    """The longest time between two neighbours of `times` that touches the span from `start` to `end`."""
    touching = (later - earlier for earlier, later in pairwise(times) if later > start and earlier < end)
    return max(touching, default=0.0)


def pace(times: Sequence[float], start: float, end: float) -> float:
    """Pieces per second within (start, end]."""
    return sum(start < moment <= end for moment in times) / (end - start) if end > start else 0.0


async def newcomer(here: Client) -> Figures:
    """How long a reader stalls while a long prompt is read, and what that costs the newcomer."""

    async def arrive() -> Reading:
        return (await here.ask([said(text.cold(NEWCOMER, text.ONE_WORD))], 8, "newcomer")).checked()

    return await beside_a_reader(
        here, arrive, lambda n: f"the reader's answer ended after {n} pieces, before the newcomer was read"
    )


async def beside_a_reader(
    here: Client, arrive: Callable[[], Awaitable[Reading]], early: Callable[[int], str]
) -> Figures:
    """How long a reader stalls while what `arrive` asks is read, and what that costs whoever asks: alone, then beside.

    Raises Unmeasured where the reader ended before, after so many pieces as `early` tells.
    """
    alone = await arrive()
    async with asking((here, text.count(), READER, "reader")) as (reader,):
        await pieces(reader, STEADY)
        arrived = await arrive()
        await pieces(reader, len(reader.times) + 1)
    heard = arrived.sent + arrived.first_s
    if not reader.times or reader.times[-1] < heard:
        raise Unmeasured(reader.error or early(len(reader.times)))
    return {
        "stall": longest_gap(reader.times, arrived.sent, heard) * 1000,
        "solo": alone.first_s * 1000,
        "first": arrived.first_s * 1000,
        "ratio": arrived.first_s / alone.first_s,
    }


async def users(here: Client) -> Figures:
    """Several people with a short question each."""
    alone = (await here.ask([said(text.short(0))], USER, "user-0")).checked()
    asks = (here.ask([said(text.short(number))], USER, f"user-{number}") for number in range(USERS))
    readings = [reading.checked() for reading in await asyncio.gather(*asks)]
    wall = max(reading.over for reading in readings) - min(reading.sent for reading in readings)
    return {
        "alone": alone.tokens / alone.took_s,
        "together": sum(reading.tokens for reading in readings) / wall,
        "slowest": min(reading.tokens / reading.took_s for reading in readings),
    }


async def crowd(here: Client) -> Figures:
    """More and more people at once, with a short answer each."""
    found: Figures = {}
    for people in CROWDS:
        asks = (here.ask([said(text.short(number))], CROWDED, f"crowd-{number}") for number in range(people))
        readings = [reading.checked() for reading in await asyncio.gather(*asks)]
        wall = max(reading.over for reading in readings) - min(reading.sent for reading in readings)
        found[f"users{people}"] = sum(reading.tokens for reading in readings) / wall
    return found


async def soak(here: Client, seconds: float = SOAK_S) -> Figures:
    """Mixed load for a while: long and short prompts, second turns, people who leave in the middle."""
    end, errors, firsts = time.monotonic() + seconds, 0, list[float]()
    done = left = 0

    async def person(number: int) -> None:
        nonlocal errors, done, left
        while time.monotonic() < end:
            kind = (number + done + left) % 4
            prompt = text.cold(NEWCOMER // 4, text.ONE_WORD) if kind == 1 else text.short(number)
            if kind == 2:
                async with asking((here, prompt, SOAKED, f"soak-{number}")) as (answer,):
                    await pieces(answer, 2)
                left += 1
                continue
            reading = await here.ask([said(prompt)], SOAKED, f"soak-{number}")
            done += 1
            if reading.error is not None or not reading.ended:
                errors += 1
            elif reading.times:
                firsts.append(reading.first_s * 1000)

    await asyncio.gather(*(person(number) for number in range(SOAKERS)))
    found: Figures = {"answers": done, "left": left, "errors": errors}
    half = len(firsts) // 2
    if half:
        found |= {"early": median(firsts[:half]), "late": median(firsts[half:])}
    return found


async def flood(here: Client) -> Figures:
    """A short question while somebody else's many requests are there."""
    solo = (await here.ask([said(text.count())], LIGHT, "light")).checked()
    async with asking(*((here, text.count(), FLOODED, "flooder") for _ in range(FLOOD))) as flooding:
        while not any(answer.times for answer in flooding):
            going = [answer for answer in flooding if answer.over is None]
            if not going:
                raise Unmeasured(f"none of the flooder's requests was answered: {flooding[0].error}")
            await any_of(going, 1)
        behind = (await here.ask([said(text.count())], LIGHT, "light")).checked()
        refused = sum(answer.error is not None for answer in flooding)
    found = {"solo": solo.took_s * 1000, "behind": behind.took_s * 1000, "slowdown": behind.took_s / solo.took_s}
    return found | {"refused": float(refused)}


async def neighbour(here: Client) -> Figures:
    """Decode beside a program that takes what it gets."""
    alone = _decode(await here.ask([said(text.count())], ANSWER))
    async with busy():
        beside = _decode(await here.ask([said(text.count())], ANSWER))
    return {"alone": alone, "beside": beside, "kept": beside / alone}


def _decode(reading: Reading) -> float:
    decode = reading.checked().decode
    if decode is None:
        raise Unmeasured("the answer is too short to have a speed")
    return decode


@asynccontextmanager
async def busy() -> AsyncIterator[int]:
    """A Python loop in a process of its own, under way; its id. Ended at the end."""
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", BUSY, stdout=pipe, stderr=nowhere)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def two(here: Client, other: Client) -> Figures:
    """Decode of `here` while `other` decodes too: both are watched until the first of them ends."""
    alone = (await here.ask([said(text.count())], ANSWER)).checked()
    speed = pace(alone.times, alone.times[0], alone.times[-1])
    if not speed:
        raise Unmeasured("the answer is too short to have a speed")
    async with asking(*((client, text.count(), TOGETHER, "bench") for client in (here, other))) as answers:
        await any_of(answers, TOGETHER * 2, TOGETHER_S)  # more than can come: until one ends
        mine, theirs = (answer.reading for answer in answers)
    if broken := mine.error or theirs.error:
        raise Unmeasured(broken)
    if not (mine.times and theirs.times):
        raise Unmeasured(f"one of the two had no text when the other one ended, or after {TOGETHER_S:.0f} s")
    beside = pace(mine.times, max(mine.times[0], theirs.times[0]), min(mine.over, theirs.over))
    return {"alone": speed, "beside": beside, "kept": beside / speed}


async def many(here: Client) -> Figures:
    """Many at once, each with words that nobody else has: whatever is mixed up shows."""
    secrets = text.words(MANY, SECRETS)
    asks = (
        here.ask([said(f"Repeat exactly: {' '.join(words)}")], SECRET, f"reader-{number}")
        for number, words in enumerate(secrets)
    )
    return mixed_up(secrets, await asyncio.gather(*asks))


def mixed_up(secrets: Sequence[tuple[str, ...]], readings: Sequence[Reading]) -> Figures:
    """How many answers failed, did not end, hold another's words; how many hold their own exactly once."""
    owners = {word: owner for owner, words in enumerate(secrets) for word in words}
    foreign = (
        any(word in reading.text for word, owner in owners.items() if owner != number)
        for number, reading in enumerate(readings)
    )
    exact = (reading.text.count(" ".join(words)) == 1 for words, reading in zip(secrets, readings, strict=True))
    return {
        "errors": float(sum(reading.error is not None for reading in readings)),
        "unended": float(sum(reading.error is None and not reading.ended for reading in readings)),
        "foreign": float(sum(foreign)),
        "exact": float(sum(exact)),
    }
