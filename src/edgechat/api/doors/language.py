"""Content negotiation: the routes of the page give reasons in the language that it shows; programs read English."""

from starlette.types import ASGIApp, Receive, Scope, Send

from edgechat import i18n
from edgechat.api.errors import OPENAI, dialect_of


class Language:
    """ASGI middleware: what is said of a request to the page's own routes follows its Accept-Language.

    A program may know a sentence of an API by heart; so /v1 and other dialects speak English to everyone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with i18n.speaking(_wanted(scope) if scope["type"] == "http" else i18n.ENGLISH):
            await self._app(scope, receive, send)


def _wanted(scope: Scope) -> str:
    if scope["path"].startswith("/v1/") or dialect_of(scope) is not OPENAI:
        return i18n.ENGLISH
    return i18n.of_header(dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1"))
