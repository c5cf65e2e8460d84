from edgechat import errors


def test_the_drawing_is_the_tree() -> None:
    """The picture at the top of errors.py names every class, and no other, in order."""
    picture = (errors.__doc__ or "").splitlines()
    drawn = [word for line in picture for word in line.replace("│", " ").split() if word[:1].isupper() and "──" in line]
    drawn = [line.split("── ")[1].split()[0] for line in picture if "── " in line]
    assert drawn == [kind.__name__ for kind in errors.tree()[1:]]


def test_codes_lead_back_to_their_class() -> None:
    for kind in errors.tree():
        if kind is errors.UnknownName or kind.code == errors.RequestError.code:
            continue
        assert type(errors.from_code(kind.code, "what happened")) is kind


def test_a_request_error_keeps_its_parameter_over_a_border() -> None:
    back = errors.from_code("context_length_exceeded", "too long", "messages")
    assert isinstance(back, errors.ContextLengthExceeded)
    assert back.param == "messages"


def test_an_unknown_code_is_an_internal_error() -> None:
    assert type(errors.from_code("no_such_code", "x")) is errors.EdgechatError


def test_an_unknown_name_offers_the_nearest() -> None:
    assert "did you mean 'context'?" in str(errors.UnknownName("setting", "contxt", ["context", "port"]))
    assert "there is: context, port." in str(errors.UnknownName("setting", "zzz", ["context", "port"]))
