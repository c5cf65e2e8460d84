import httpx
import pytest


@pytest.mark.parametrize("text", ["", "hello", "你好 👋🏽", "<|im_end|>"])
def test_a_text_comes_back_from_its_tokens(client: httpx.Client, text: str) -> None:
    told = client.post("/tokenize", json={"content": text}).json()
    assert told["tokens"] == list(text.encode())  # one token is one byte here, and none is a control token
    assert told["count"] == len(told["tokens"])
    assert client.post("/detokenize", json={"tokens": told["tokens"]}).json() == {"content": text}


def test_a_token_that_the_model_has_not_is_refused(client: httpx.Client) -> None:
    refused = client.post("/detokenize", json={"tokens": [259]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tokens")
    assert (
        client.post("/tokenize", json={"content": "x", "add_special": True}).json()["error"]["param"] == "add_special"
    )
    assert client.post("/tokenize", json={"content": "x", "model": "other"}).status_code == 404
