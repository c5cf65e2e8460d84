"""What the next step computes: a token for each chosen reader, then slices of prompts. Pure.

A step takes longer with every reader in it. So where several clients are here, nobody's answers fill the step: each
client has its share of the places, and its answers take turns in them.
"""

from typing import NamedTuple

from edgechat.scheduler.answer import Answer
from edgechat.scheduler.fair import FairQueue
from edgechat.scheduler.pace import Pace

PLACES = 8  # readers of one step


class Part(NamedTuple):
    """`tokens` of `answer` in the next step."""

    answer: Answer
    tokens: list[int]


def plan(running: list[Answer], clients: FairQueue, pace: Pace, most: int) -> list[Part]:
    """The parts of the next step, at most `most` tokens, at least one."""
    readers = _chosen([answer for answer in running if not answer.reading], clients)
    parts = [Part(answer, answer.next_tokens(1)) for answer in readers]
    left = min(pace.slice(len(readers)), most - len(readers))
    newcomers = [answer for answer in running if answer.reading]
    for answer in sorted(newcomers, key=lambda one: (one.background, clients.served(one.client), one.arrived)):
        if left <= 0:
            break
        tokens = answer.next_tokens(left)
        parts.append(Part(answer, tokens))
        left -= len(tokens)
    return parts


def _chosen(readers: list[Answer], clients: FairQueue) -> list[Answer]:
    """The readers of one step: those that were served least, no client beyond its share while others are here."""
    if len(readers) <= 1:
        return readers
    share = PLACES if clients.clients <= 1 else max(1, PLACES // clients.clients)
    chosen: list[Answer] = []
    places: dict[str, int] = {}
    for answer in sorted(readers, key=lambda one: (one.background, one.last_token, one.id)):
        if places.get(answer.client, 0) < share and len(chosen) < PLACES:
            places[answer.client] = places.get(answer.client, 0) + 1
            chosen.append(answer)
    return chosen
