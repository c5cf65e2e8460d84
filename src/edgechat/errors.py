"""The exception hierarchy: everything that can go wrong, as one tree.

    EdgechatError                   code, exit status; the message is one line: what happened, what to do
    ├── ConfigError                 settings or usage                                  exit 2
    │   └── UnknownName             a name that is not in a table; lists the nearest
    ├── StorageError                the disk does not take it                          exit 3
    │   ├── NoSpace
    │   └── HistoryDamaged          the conversations' file is damaged, gone or replaced
    ├── AddressInUse                                                                   exit 4
    │   └── HomeInUse               another server has this home folder
    ├── HubError                    a model could not be fetched
    │   ├── Offline                 EDGECHAT_OFFLINE forbids the connection
    │   ├── HubUnreachable          no route, no answer, or the hub itself failed
    │   ├── NotOnHub                repository, revision or file is not there
    │   ├── UnsafeListing           the hub's listing names a place outside the store
    │   └── HashMismatch            the bytes are not the pinned ones
    ├── ModelError
    │   ├── ModelDamaged            the bytes on disk are not those that were published
    │   ├── ModelFileInvalid        not a GGUF, cut off, or beyond the reader's bounds
    │   ├── ModelUnsupported        whole, but of a kind that is not served
    │   └── TemplateInvalid         the model's chat template does not render
    ├── RequestError                the client asked for something that cannot be done
    │   ├── InvalidRequest          names the parameter
    │   ├── UnsupportedMedia        a picture, sound or document, and no model that takes it
    │   ├── InvalidMedia            one that is damaged, or beyond the bounds on its size
    │   ├── ModelNotFound
    │   ├── OperatorOnly            the caller's key is not an operator's
    │   ├── ContextLengthExceeded
    │   ├── NotFound                no such thing, or somebody else's
    │   │   └── ResponseGone        an answer that was to be built on is not kept any more
    │   ├── Stale                   it was changed since the client looked; carries what it is now
    │   ├── KeyReused               an Idempotency-Key that came with another body before
    │   └── RequestRefused          it ended the engine's process more than once
    └── ServiceError                the client may try again
        ├── QueueFull               more requests wait than the queue holds
        │   └── LimitReached        the client has used what it may use for now
        ├── NotReady                no model answers yet
        ├── EngineFailed            the engine's process died, hung or refused
        │   └── EngineOutOfMemory
        ├── Paused                  an operator has paused it
        ├── ShuttingDown            the server is being stopped
        └── Interrupted             the server stopped before the answer was whole

`code` crosses process borders and reaches clients; `from_code` finds the class again.
"""

from difflib import get_close_matches

from edgechat.types import Failed


class EdgechatError(Exception):
    """Base of all errors whose message is meant for a reader."""

    code = "internal_error"
    exit_status = 1


class ConfigError(EdgechatError):
    """A setting, flag or file that cannot be used."""

    code = "config_invalid"
    exit_status = 2


class UnknownName(ConfigError):
    """`what` named `name` is not among `choices`."""

    code = "unknown_name"

    def __init__(self, what: str, name: str, choices: list[str]) -> None:
        longer = [choice for choice in choices if choice.startswith(name.replace(":", "-"))]  # Ollama's qwen2.5:0.5b
        near = longer or get_close_matches(name, choices, n=1)
        there = f"there is: {', '.join(sorted(choices))}." if choices else "there is none yet."
        hint = f"did you mean {near[0]!r}?" if near else there
        super().__init__(f"unknown {what} {name!r}; {hint}")


class StorageError(EdgechatError):
    """The data folder cannot be written."""

    code = "storage_failed"
    exit_status = 3


class NoSpace(StorageError):
    """Fewer bytes are free than the operation needs."""

    code = "storage_full"


class HistoryDamaged(StorageError):
    """The conversations' file is damaged, gone or replaced. It is left as it is."""

    code = "history_damaged"


class AddressInUse(EdgechatError):
    """Another process listens on the address."""

    code = "address_in_use"
    exit_status = 4


class HomeInUse(AddressInUse):
    """Another server has this home folder."""

    code = "home_in_use"


class HubError(EdgechatError):
    """A model could not be fetched."""

    code = "hub_failed"


class Offline(HubError):
    """A connection is needed and `EDGECHAT_OFFLINE` forbids it."""

    code = "offline"


class HubUnreachable(HubError):
    """The hub gives no answer, or answers that it is broken. `pause_s` is how long it asks to be left alone."""

    code = "hub_unreachable"
    pause_s: float | None = None


class NotOnHub(HubError):
    """The hub answers, but has no such repository, revision or file."""

    code = "not_on_hub"


class UnsafeListing(HubError):
    """The hub's listing names a path outside the store, or one we do not fetch."""

    code = "unsafe_listing"


class HashMismatch(HubError):
    """The received bytes are not the pinned ones; they were deleted."""

    code = "hash_mismatch"


class ModelError(EdgechatError):
    """A model file that cannot be served."""

    code = "model_invalid"


class ModelDamaged(ModelError):
    """The bytes on disk are missing, cut off, or not those that were published."""

    code = "model_damaged"


class ModelFileInvalid(ModelError):
    """Not a GGUF, cut off, or beyond the reader's bounds."""

    code = "model_file_invalid"


class ModelUnsupported(ModelError):
    """The file is whole, but the model is of a kind that is not served."""

    code = "model_unsupported"


class TemplateInvalid(ModelError):
    """The model's chat template does not render a conversation."""

    code = "template_invalid"


class RequestError(EdgechatError):
    """The client's request cannot be done as it stands. `param` names the field, dotted."""

    code = "invalid_request"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequest(RequestError):
    """A field that is unknown, of the wrong type, out of range, or not honoured."""


class UnsupportedMedia(RequestError):
    """A part of a message is of a kind that the model does not take."""

    code = "unsupported_media"


class InvalidMedia(RequestError):
    """A picture, sound or document is damaged, or beyond the bounds on its size."""

    code = "invalid_media"


class ModelNotFound(RequestError):
    """No model of that name is served."""

    code = "model_not_found"


class OperatorOnly(RequestError):
    """It needs an operator's key, or a server that asks for none."""

    code = "operator_only"


class ContextLengthExceeded(RequestError):
    """The prompt does not fit the context."""

    code = "context_length_exceeded"


class NotFound(RequestError):
    """There is no such thing; somebody else's looks the same."""

    code = "not_found"


class ResponseGone(NotFound):
    """An answer that was to be built on is not kept, or not any more."""

    code = "previous_response_not_found"  # and a 400, by which OpenAI's clients send all of it again


class Stale(RequestError):
    """It was changed since the client looked. `current` is what it is now."""

    code = "stale"

    def __init__(self, message: str, param: str | None = None, current: object = None) -> None:
        super().__init__(message, param)
        self.current = current


class KeyReused(RequestError):
    """The Idempotency-Key came with another body before."""

    code = "idempotency_key_reused"


class RequestRefused(RequestError):
    """The engine's process died more than once over this content: it is not given to it for a while."""

    code = "request_refused"


class ServiceError(EdgechatError):
    """The server cannot answer now; trying again may help."""

    code = "service_unavailable"


class QueueFull(ServiceError):
    """As many requests wait as the queue holds. `retry_after_s` is when a place should be free."""

    code = "rate_limit_exceeded"
    retry_after_s: float | None = None


class LimitReached(QueueFull):
    """The client has used what it may use for now."""

    code = "limit_reached"


class NotReady(ServiceError):
    """No model answers yet."""

    code = "model_not_ready"


class EngineFailed(ServiceError):
    """The engine's process died, hung or refused."""

    code = "engine_failed"


class Paused(ServiceError):
    """An operator has paused the server: answers under way go on, new ones are not begun."""

    code = "server_paused"
    retry_after_s = 10.0  # a person ends it: there is no hurry


class ShuttingDown(ServiceError):
    """The server is being stopped."""

    code = "server_shutting_down"


class Interrupted(ServiceError):
    """The server that produced the answer stopped before it was whole."""

    code = "interrupted"


class EngineOutOfMemory(EngineFailed):
    """The engine's process died for lack of memory."""

    code = "engine_out_of_memory"


def tree(root: type[EdgechatError] = EdgechatError) -> list[type[EdgechatError]]:
    """`root` and every class below it, depth first."""
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


def from_code(code: str, message: str, param: str | None = None, retry_after_s: float | None = None) -> EdgechatError:
    """The error that `code` names, carrying `message`; an unknown code is an internal error."""
    for kind in tree():
        if kind.code == code and kind is not UnknownName:
            error = kind(message, param) if issubclass(kind, RequestError) else kind(message)
            if isinstance(error, QueueFull):
                error.retry_after_s = retry_after_s
            return error
    return EdgechatError(message)


def error_of(event: Failed) -> EdgechatError:
    """What ended an answer, as an exception."""
    return from_code(event.code, event.message, event.param, event.retry_after_s)


def failed_of(error: EdgechatError) -> Failed:
    """The same the other way round."""
    return Failed(error.code, str(error), getattr(error, "param", None), getattr(error, "retry_after_s", None))
