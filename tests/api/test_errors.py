from edgechat import errors
from edgechat.api.errors import body_of, status_of
from edgechat.api.wire import INERT, NEUTRAL, ChatRequest


def test_every_error_has_a_status() -> None:
    statuses = {kind.__name__: status_of(_example(kind)) for kind in errors.tree()}
    assert statuses["ModelNotFound"] == 404
    assert statuses["InvalidRequest"] == statuses["ContextLengthExceeded"] == 400
    assert statuses["NotReady"] == statuses["EngineFailed"] == 503
    assert statuses["EdgechatError"] == 500
    assert set(statuses.values()) <= {400, 404, 429, 500, 503, 507}


def test_the_body_has_openais_shape() -> None:
    assert body_of(errors.InvalidRequest("no", "n")) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "invalid_request"}
    }


def test_a_parameter_is_honoured_neutral_or_inert_never_two_of_these() -> None:
    honoured, neutral, inert = set(ChatRequest.model_fields), set(NEUTRAL), set(INERT)
    assert not honoured & neutral
    assert not honoured & inert
    assert not neutral & inert


def _example(kind: type[errors.EdgechatError]) -> errors.EdgechatError:
    return kind("setting", "x", []) if kind is errors.UnknownName else kind("what happened")
