"""Tolerant reader: what a request says that has no effect here is accepted and told, never accepted in silence.

    a member of the body ─┬─ honoured                              ─► the answer
                          ├─ would change it, and is not honoured  ─► 400 (fields.py: neutral)
                          ├─ a slip of a known one                 ─► 400 with the name that was meant
                          └─ without effect, or known to nobody    ─► `edgechat.ignored`, X-Edgechat-Ignored, the log

Clients bring new members with every release. The setting `strict` refuses what has no effect.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request

from edgechat.api.fields import Body
from edgechat.errors import InvalidRequest
from edgechat.types import ModelInfo

HEADER = "X-Edgechat-Ignored"
MOST = 64  # kinds of members without effect in one body
LONGEST = 64  # characters of a name; a longer one is no slip
CLOSE = 0.88  # of 1: `max_tokenss` is as close as that, `max_output_tokens` is not

ANY = ModelInfo(0, 0, 0, 0, 0, "", 0, "")  # for bodies to which no model makes a difference

Place = tuple[str | int, ...]

log = structlog.get_logger("api")


def ignored_by(body: Body, request: Request, info: ModelInfo = ANY) -> tuple[str, ...]:
    """The members of `body` without effect on a model like `info`, by their path: of each kind the first.

    They are noted for the header (`header_of`) and counted in the log. Raises InvalidRequest for a slip, and for any of
    them where the settings are strict.
    """
    kinds: dict[Place, str] = {}
    for place, one in _without_effect(body, info, ()):
        kind = tuple(part for part in place if isinstance(part, str))
        if kind in kinds:
            continue
        path = kinds[kind] = ".".join(map(str, place))
        if meant := _meant(place[-1], one):
            raise InvalidRequest(f"{path} is not a parameter of this route: {meant} is.", path)
        if request.app.state.runtime.settings.strict:
            raise InvalidRequest(f"{path} has no effect here, and the setting `strict` refuses what has none.", path)
        if len(kinds) > MOST:
            raise InvalidRequest(f"more than {MOST} kinds of parameters have no effect here.", path)
    if kinds:
        log.info("parameters without effect", count=len(kinds), route=request.url.path)
    request.state.ignored = tuple(kinds.values())
    return tuple(kinds.values())


def header_of(request: Request) -> dict[str, str]:
    """The header that tells of them. Names come from strangers: what is no plain ASCII is percent-encoded."""
    ignored: Iterable[str] = getattr(request.state, "ignored", ())
    named = (quote(path, safe="")[: 2 * LONGEST] or '""' for path in ignored)  # a header may not end with a blank
    return {HEADER: ", ".join(named)} if ignored else {}


def beginning(ignored: tuple[str, ...]) -> dict[str, Any]:
    """What the first event of a stream says of them, if there are any."""
    return {"edgechat": {"ignored": ignored}} if ignored else {}


def _without_effect(value: Any, info: ModelInfo, at: Place) -> Iterator[tuple[Place, Body]]:
    """Where in `value` such members are, and whose they are."""
    if isinstance(value, Body):
        yield from (((*at, name), value) for name in value.without_effect(info))
        for name, inner in vars(value).items():
            if isinstance(inner, Body | list):
                yield from _without_effect(inner, info, (*at, type(value).model_fields[name].alias or name))
    elif isinstance(value, list) and value and isinstance(value[0], Body):
        for index, one in enumerate(value):
            yield from _without_effect(one, info, (*at, index))


def _meant(name: str | int, of: Body) -> str | None:
    """The known member that `name` is a slip of, if it looks like one."""
    known = of.known()
    if not isinstance(name, str) or name in known or len(name) > LONGEST or name in _anywhere(Body):
        return None
    return next(iter(get_close_matches(name.lower(), known, 1, CLOSE)), None)


@cache
def _anywhere(of: type[Body]) -> frozenset[str]:
    """What any dialect calls a member: `seed` is OpenAI's, and no slip of Anthropic's `speed`."""
    return of.known().union(*map(_anywhere, of.__subclasses__()))
