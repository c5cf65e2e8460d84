"""Session login: the page sends the key once, then a cookie that scripts cannot read and other sites cannot send."""

from typing import Annotated, Any

import structlog
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from edgechat.api.doors.access import COOKIE, WRONG_KEY, session_of
from edgechat.api.errors import response as problem
from edgechat.api.fields import Strict
from edgechat.api.requests import TheCaller
from edgechat.api.routes import Facts, Need, Router
from edgechat.keys import SESSION_S, Keys, Sessions

router = Router("/api")
log = structlog.get_logger("api")


class Login(Strict):
    """Body of POST /api/login."""

    key: Annotated[str, Field(min_length=1, max_length=256)]


@router.get("/login", Facts(Need.PUBLIC), "Whether a key is needed, and who is logged in")
async def who(caller: TheCaller) -> dict[str, Any]:
    return {"needed": not (caller.operator or caller.realm), "name": caller.name, "operator": caller.operator}


@router.post("/login", Facts(Need.PUBLIC), "Log the page in with a key")
async def login(body: Login, request: Request, caller: TheCaller) -> Response:
    keys: Keys = request.app.state.keys
    key = keys.find(body.key)
    if key is None:
        log.warning("a login failed", client=caller.client)
        return problem(request.scope, WRONG_KEY)
    response = JSONResponse({"needed": False, "name": key.name, "operator": key.operator})
    _set(response, request, _sessions(request).open(key), SESSION_S)
    return response


@router.post("/logout", Facts(Need.KEY), "Log the page out")
async def logout(request: Request) -> Response:
    if token := session_of(request.headers.get("cookie", "")):
        _sessions(request).close(token)
    response = Response(status_code=204)
    _set(response, request, "", 0)
    return response


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _set(response: Response, request: Request, value: str, age: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, value, max_age=age, path="/", secure=secure, httponly=True, samesite="strict")
