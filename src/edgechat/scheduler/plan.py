"""A batch: what the next step computes, a token for each chosen writer, then slices of prompts. Pure.

A step takes longer with everyone in it. So where several clients are here, nobody's answers fill the step: it takes as
many writers as leave every client its share of the machine (pace.py knows what a writer costs here), each client gets
one place before anyone gets a second, and a client whose prompt is being read has its place in the slice. Whoever is
being answered already reads on beside others only now and then: a slice can cost more than all writers of a step.

    flooder  ▮▮▮▮▮▮▮▮▮▮▮▮  12 answers take turns in   ┌──────────────────────┐
    light    ▮                                     ►  │ flooder · light      │  one step: twice as long as alone
                                                      └──────────────────────┘

Who arrived together is read together: a prompt beside a writer is read in small slices, which take twice the time for
each token. So those whose answer has just begun wait for the prompts of those who were here before, where that is soon.
"""

from collections import Counter
from typing import NamedTuple

from edgechat.scheduler.answer import Answer
from edgechat.scheduler.fair import FairQueue
from edgechat.scheduler.pace import Pace

PLACES = 8  # writers of one step
BACKGROUND = "background"
TOGETHER = 1.5  # seconds that an answer waits at most after its first token, while other prompts are read
SPARING = 4  # steps from one slice to the next, for a client that has a writer beside other clients


class Part(NamedTuple):
    """`tokens` of `answer` in the next step."""

    answer: Answer
    tokens: list[int]


def plan(running: list[Answer], clients: FairQueue, pace: Pace, most: int, turn: int, now: float) -> list[Part]:
    """The parts of step number `turn`, at most `most` tokens, at least one."""
    owners = _owners(running)
    newcomers = [answer for answer in running if answer.prefilling]
    newcomers.sort(key=lambda one: (one.background, clients.served(one.client), one.arrived))
    writers = [] if newcomers and _all_wait(newcomers[0], running, pace, now) else _chosen(running, owners, pace)
    parts = [Part(answer, answer.next_tokens(1)) for answer in writers]
    left = min(pace.slice(len(writers)), most - len(writers))
    if writers and turn % SPARING and len(set(owners.values())) > 1:
        patient = {owners[answer.id] for answer in writers} | {BACKGROUND}
        newcomers = [answer for answer in newcomers if owners[answer.id] not in patient]
    for answer in newcomers:
        if left <= 0:
            break
        tokens = answer.next_tokens(left)
        parts.append(Part(answer, tokens))
        left -= len(tokens)
    return parts


def _all_wait(newcomer: Answer, running: list[Answer], pace: Pace, now: float) -> bool:
    """Whether all who are answered have just begun, and `newcomer` came before that and is soon read.

    Nobody waits for the next prompt of another client that is being answered already, nor for one in the background.
    """
    writers = [one for one in running if not one.prefilling]
    answered = {one.client for one in writers}
    until = now + pace.seconds(len(newcomer.tokens) - newcomer.done)
    return all(
        newcomer.arrived <= (one.first_token or now) >= until - TOGETHER
        and (newcomer.client == one.client or newcomer.client not in answered)
        and newcomer.background <= one.background
        for one in writers
    )


def _owners(running: list[Answer]) -> dict[int, str]:
    """Whose share of the machine an answer takes, by its id.

    Beside people who wait, all background answers together are one more client.
    """
    together = not all(answer.background for answer in running)
    return {one.id: BACKGROUND if together and one.background else f"client {one.client}" for one in running}


def _chosen(running: list[Answer], owners: dict[int, str], pace: Pace) -> list[Answer]:
    """The writers of one step: every client's longest waiting one first, then their others, as many as is fair."""
    waiting = sorted((one for one in running if not one.prefilling), key=lambda one: (one.last_token, one.said, one.id))
    newcomers = set(owners.values()) - {owners[one.id] for one in waiting}
    places = pace.writers(len(set(owners.values())), PLACES) - len(newcomers)
    before: Counter[str] = Counter()
    turns = []
    for place, answer in enumerate(waiting):
        owner = owners[answer.id]
        turns.append((before[owner], owner == BACKGROUND, place))
        before[owner] += 1
    return [waiting[place] for _, _, place in sorted(turns)[: max(1, places)]]
