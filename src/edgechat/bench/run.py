"""The order of things: probe by probe, run by run, address after address (A B A B …), one at a time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import psutil

from edgechat.bench.client import Address, Client, Unmeasured
from edgechat.bench.company import SOAK_S
from edgechat.bench.probes import PROBES, Probe
from edgechat.types import Message, Struct

PROBE_S = 600.0  # the longest that one run of a probe may take
SETTLE_S = 1.0  # before each run, for a server to let go of what was given up
MOST_ADDRESSES, MOST_RUNS = 8, 50


class Outcome(Struct, frozen=True):
    """What one run of a probe at one address gave: figures, or why there are none."""

    probe: str
    label: str
    run: int  # from 1; 0 where none was tried
    figures: dict[str, float] | None = None
    failed: str | None = None
    skipped: str | None = None


class Measured(Struct, frozen=True):
    """Every outcome, in order, and what the model at each address calls itself.

    `busy` is how much of the processor somebody used in the pause before each run, from 0 to 1: not for us.
    """

    outcomes: tuple[Outcome, ...]
    models: dict[str, str | None]
    busy: tuple[float, ...] = ()


async def measure(
    addresses: Sequence[Address],
    probes: Sequence[str],
    runs: int,
    key: str | None = None,
    tell: Callable[[str], None] | None = None,
    keep: Callable[[Measured], None] | None = None,
    soak_s: float = SOAK_S,
) -> Measured:
    """Run `probes` against `addresses`. `tell` gets a line before each run, `keep` all there is after each probe.

    `soak_s` is how long the probe of that name lasts."""
    tell = tell or (lambda _: None)
    assert len(addresses) <= MOST_ADDRESSES
    assert runs <= MOST_RUNS
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(address, key)) for address in addresses]
        models: dict[str, str | None] = {}
        broken: dict[str, str] = {}
        for client in clients:
            tell(f"greeting {client.address.label}")
            greeting = await client.ask([Message.of("user", "Hello")], 8)
            models[client.address.label] = greeting.model
            if greeting.error is not None:
                broken[client.address.label] = greeting.error
        outcomes: list[Outcome] = []
        busy: list[float] = []
        for name in probes:
            outcomes += await _probe(name, clients, broken, runs, tell, busy, soak_s)
            if keep is not None:
                keep(Measured(tuple(outcomes), models, tuple(busy)))
    return Measured(tuple(outcomes), models, tuple(busy))


async def _probe(
    name: str,
    clients: Sequence[Client],
    broken: dict[str, str],
    runs: int,
    tell: Callable[[str], None],
    busy: list[float],
    soak_s: float,
) -> list[Outcome]:
    """All runs of one probe. An address that did not answer the greeting is not asked again."""
    probe, outcomes, ready = PROBES[name], [], []
    for client in clients:
        label, others = client.address.label, [other for other in clients if other is not client]
        unfit = [label] if label in broken else [other.address.label for other in others if probe.pair]
        why = next((broken[bad] for bad in unfit if bad in broken), None)
        if missing := probe.missing(client, others):
            outcomes.append(Outcome(name, label, 0, skipped=missing))
        elif why is not None:
            outcomes.append(Outcome(name, label, 0, failed=why))
        else:
            ready.append((client, others if probe.pair else []))
    for run in range(1, runs + 1):
        for client, others in ready:
            tell(f"{name}: run {run} of {runs} at {client.address.label}")
            busy.append(await _settle())
            outcomes.append(await _once(name, probe, run, client, others, soak_s))
    return outcomes


async def _settle() -> float:
    """Wait a little; how much of the processor others used meanwhile."""
    psutil.cpu_percent()
    await asyncio.sleep(SETTLE_S)
    return float(psutil.cpu_percent()) / 100


async def _once(name: str, probe: Probe, run: int, client: Client, others: Sequence[Client], soak_s: float) -> Outcome:
    label = client.address.label
    try:
        if name == "soak":
            return Outcome(name, label, run, figures=await probe.run(client, soak_s))
        async with asyncio.timeout(PROBE_S):
            return Outcome(name, label, run, figures=await probe.run(client, *others))
    except Unmeasured as error:
        return Outcome(name, label, run, failed=str(error))
    except TimeoutError:
        return Outcome(name, label, run, failed=f"no figure within {PROBE_S:.0f} s")
