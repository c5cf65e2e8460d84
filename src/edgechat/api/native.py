"""edgechat's own routes: liveness and readiness probes, and the one-line chat of the article it grew out of."""

from typing import Annotated, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from edgechat.api.examples import QUESTION, Example
from edgechat.api.fields import Strict
from edgechat.api.reply import accepted, whole
from edgechat.api.requests import TheCaller, TheRuntime, until_gone
from edgechat.api.routes import Asks, Facts, Need, Router
from edgechat.types import GenRequest, Message

EXAMPLE = Example({"input": QUESTION}, lambda: {"reply": "It is Paris."})

router = Router()


class ChatInput(Strict):
    """Body of POST /chat."""

    input: Annotated[str, Field(min_length=1)]


@router.get("/healthz", Facts(Need.PUBLIC), "The process is alive")
@router.get("/livez", Facts(Need.PUBLIC), "The same, under Kubernetes' name")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", Facts(Need.PUBLIC), "The model answers (200), or why not yet (503)")
async def readyz(runtime: TheRuntime) -> Response:
    readiness = runtime.readiness
    return JSONResponse(readiness.told(), 200 if readiness.state == "ready" else 503)


@router.get("/health", Facts(Need.PUBLIC), "The same, as other engines' clients ask for it")
async def health(runtime: TheRuntime) -> Response:
    state = runtime.readiness.state
    return JSONResponse({"status": "ok" if state == "ready" else state}, 200 if state == "ready" else 503)


@router.post("/chat", Facts(Need.KEY, Asks.NOW, example=EXAMPLE), "One question, one answer")
async def chat(body: ChatInput, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(None, caller)
    answer = await accepted(request, model, GenRequest((Message.of("user", body.input),), model.served.sampling))

    async def reply() -> dict[str, Any]:
        return {"reply": (await whole(answer)).text}

    return await until_gone(request, reply())
