"""Footprint: what a server takes of the machine, memory, energy, time to come up. Read from the system, not from the
server, which is asked only how large its model is.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from edgechat.bench import text
from edgechat.bench.alone import ANSWER, PROMPT, Figures, said
from edgechat.bench.client import Client, Unmeasured
from edgechat.bench.restart import restarted

RAPL = Path("/sys/class/powercap")
WATCH_S = 0.1  # between two looks at the memory while an answer is read


async def memory(here: Client) -> Figures:
    """Proportional memory of the processes behind the address: before, and at most while a long prompt is answered."""
    tree = listener(here.address.port)
    idle = pss(tree)
    asking = asyncio.create_task(here.ask([said(text.cold(PROMPT, text.COUNT))], ANSWER))
    most = idle
    while not asking.done():
        await asyncio.wait({asking}, timeout=WATCH_S)
        most = max(most, pss(tree))
    (await asking).checked()
    return {"idle": idle / 1e6, "most": most / 1e6}


async def size(here: Client) -> Figures:
    """How many weights the model has, as the server tells."""
    reading = (await here.ask([said("Hello")], 1)).checked()
    match await here.tell_of(reading.model):
        case {"model_info": {"general.parameter_count": int(count)}}:
            return {"parameters": count / 1e6}
        case _:
            raise Unmeasured("the server does not tell how many weights its model has")


async def startup(here: Client) -> Figures:
    """From the end of the old server to the first answer of a new one. The restart command's own pauses count."""
    began = time.perf_counter()
    gone = await restarted(here)
    return {"ready": (time.perf_counter() - gone) * 1000, "whole": (time.perf_counter() - began) * 1000}


async def energy(here: Client) -> Figures:
    """What the processor took for one answer, per token of it; prompt and idling included."""
    before, began = joules(), time.perf_counter()
    reading = (await here.ask([said(text.short(0))], ANSWER)).checked()
    spent, seconds = joules() - before, time.perf_counter() - began
    if spent < 0:
        raise Unmeasured("the energy counter began anew meanwhile; run it again")
    return {"token": spent / max(1, reading.tokens), "watts": spent / seconds}


def listener(port: int) -> psutil.Process:
    """The process that listens on `port`, or Unmeasured."""
    try:
        every = psutil.net_connections("tcp")
    except psutil.Error as error:
        raise Unmeasured(f"the system does not tell who listens: {error}") from None
    found = {one.pid for one in every if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port}
    owners = [pid for pid in found if pid is not None]
    if not owners:
        raise Unmeasured(f"nobody of this user listens on port {port}")
    return psutil.Process(min(owners))


def pss(root: psutil.Process) -> int:
    """Bytes of `root` and everything it started; what several share is counted once, in parts."""
    total = 0
    for process in _tree(root):
        try:
            total += int(process.memory_full_info().pss)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        except (psutil.AccessDenied, AttributeError):
            raise Unmeasured("the system does not show this server's memory: run it as the server's user") from None
    return total


def _tree(root: psutil.Process) -> Iterator[psutil.Process]:
    try:
        yield from (root, *root.children(recursive=True))
    except psutil.NoSuchProcess:
        raise Unmeasured("the server is gone") from None


def counters(folder: Path = RAPL) -> list[Path]:
    """The processor packages' energy counters that can be read."""
    found = []
    for path in sorted(folder.glob("intel-rapl:?/energy_uj")):
        try:
            path.read_text()
        except OSError:
            continue
        found.append(path)
    return found


def joules(folder: Path = RAPL) -> float:
    """What all packages have taken since some moment. Raises Unmeasured where it cannot be read."""
    found = counters(folder)
    if not found:
        raise Unmeasured(f"no energy counter can be read in {folder}")
    return sum(int(path.read_text()) for path in found) / 1e6
