"""What the next step computes: a token for each chosen reader, then slices of prompts. Pure.

A step takes longer with everyone in it. So where several clients are here, nobody's answers fill the step: it takes as
many readers as leave every client its share of the machine (pace.py knows what a reader costs here), each client gets
one place before anyone gets a second, and a client whose prompt is being read has its place in the slice.

    flooder  ▮▮▮▮▮▮▮▮▮▮▮▮  12 answers take turns in   ┌──────────────────────┐
    light    ▮                                     ►  │ flooder · light      │  one step: twice as long as alone
                                                      └──────────────────────┘
"""

from collections import Counter
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
    readers = _chosen(running, pace)
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


def _chosen(running: list[Answer], pace: Pace) -> list[Answer]:
    """The readers of one step: every client's longest waiting one first, then their others, as many as is fair.

    Beside people who wait, all background answers together are one more client.
    """
    together = not all(answer.background for answer in running)
    owner = {one.id: "background" if together and one.background else f"client {one.client}" for one in running}
    waiting = sorted((one for one in running if not one.reading), key=lambda one: (one.last_token, one.said, one.id))
    newcomers = set(owner.values()) - {owner[one.id] for one in waiting}
    places = pace.readers(len(set(owner.values())), PLACES) - len(newcomers)
    before: Counter[str] = Counter()
    turns = []
    for place, answer in enumerate(waiting):
        turns.append((before[owner[answer.id]], answer.background and together, place))
        before[owner[answer.id]] += 1
    return [waiting[place] for _, _, place in sorted(turns)[: max(1, places)]]
