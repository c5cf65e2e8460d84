"""The page's files: served whole, typed, compressed, and within their weight."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from edgechat.api.page.assets import MEDIA_TYPES, WEB, Page, mount_page
from tests.api.page.web import INDEX, SCRIPTS, code, code_of, imports, modules

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; worker-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types dompurify"
)
BUDGET_BYTES = 90_000
# By kind: what comes with the page up to the end of its first plain answer, compressed.
BUDGET = {"html": 3_000, "css": 9_000, "svg": 5_000, "js": 42_000, "vendor": 31_000, "i18n": 5_000}
BUDGET_REQUESTS = 20


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI()
    mount_page(app)
    with TestClient(app, headers={"Accept-Encoding": "identity"}) as client:
        yield client


def addresses(html: str) -> list[str]:
    """Every file the document mentions, without the part after #."""
    return [found.partition("#")[0] for found in re.findall(r'(?:href|src)="(\./[^"]+)"', html)]


# Serving


def test_index_headers(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    etag = answer.headers.pop("etag")
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    assert int(answer.headers.pop("content-length")) == len(answer.content)
    assert dict(answer.headers) == {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), payment=(), usb=(), microphone=(self)",
        "vary": "Accept-Encoding",
    }


def test_every_address_in_the_document_answers(client: TestClient) -> None:
    html = client.get("/").text
    found = addresses(html)
    assert len(found) > 10
    for address in found:
        url = urljoin("/", address)
        assert url.startswith("/ui/"), address
        answer = client.get(url)
        assert answer.status_code == 200, address
        assert answer.headers["content-type"] == MEDIA_TYPES[Path(address).suffix]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_every_address_in_the_modules_and_styles_is_a_file() -> None:
    for script in SCRIPTS:
        for name in imports(script):
            assert name.startswith(("./", "../vendor/")), f"{script.name} imports {name}"
            assert (script.parent / name).is_file(), f"{script.name} imports {name}"
        for name in re.findall(r'new URL\("([^"]+)", import\.meta\.url', code(script)):
            assert (script.parent / name).is_file(), f"{script.name} loads {name}"
        for name in re.findall(r'\bsheet\("([^"]+)"\)', code(script)):
            assert (WEB / f"{name}.css").is_file(), f"{script.name} loads {name}.css"
    for name, file in Page.read().files.items():
        assert not name.endswith(".css") or not re.search(r"url\(|@import", file.plain.decode()), name


def test_every_icon_that_is_used_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([^"]+)"', (WEB / "icons.svg").read_text(encoding="utf-8")))
    used = set(re.findall(r"icons\.svg#([a-z]+)", INDEX))
    for script in SCRIPTS:
        used |= set(re.findall(r'(?:icon|iconButton|textButton)\(\s*"([a-z]+)"', code(script)))
        used |= set(re.findall(r'\["([a-z]+)", (?:"|[\w.#!]+ \?)', code(script))) & sprite  # items of menus
        used |= set(re.findall(r'show\("([a-z]+)", ', code(script)))
    assert used == sprite


def test_every_module_that_is_needed_at_once_is_preloaded() -> None:
    preloaded = {f"js/{name}" for name in re.findall(r'rel="modulepreload" href="\./js/([^"]+)"', INDEX)}
    assert preloaded == modules("js/app.js")


def test_every_file_has_a_known_type() -> None:
    unknown = [path.name for path in WEB.rglob("*") if path.is_file() and path.suffix not in MEDIA_TYPES]
    assert [name for name in unknown if "LICENSE" not in name] == []


@pytest.mark.parametrize("accept", ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.5", "*", "GZIP"])
def test_gzip_when_accepted(client: TestClient, accept: str) -> None:
    for url in ("/", f"/ui/{Page.read().version}/app.css"):
        plain = client.get(url)
        with client.stream("GET", url, headers={"Accept-Encoding": accept}) as packed:
            raw = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "Accept-Encoding"
        assert len(raw) == int(packed.headers["content-length"]) < len(plain.content)
        assert gzip.decompress(raw) == plain.content
        assert packed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("accept", ["", "identity", "br", "gzip;q=0", "gzip; q=0.0", "*;q=0", "gzip;q=0, *"])
def test_plain_when_gzip_is_not_accepted(client: TestClient, accept: str) -> None:
    answer = client.get("/", headers={"Accept-Encoding": accept})
    assert "content-encoding" not in answer.headers
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_not_modified(client: TestClient, coding: str) -> None:
    for url in ("/", f"/ui/{Page.read().version}/js/app.js"):
        first = client.get(url, headers={"Accept-Encoding": coding})
        etag = first.headers["etag"]
        for tags in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            again = client.get(url, headers={"Accept-Encoding": coding, "If-None-Match": tags})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
            assert again.headers["cache-control"] == first.headers["cache-control"]
        assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_head(client: TestClient) -> None:
    head, full = client.head("/"), client.get("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == full.headers


@pytest.mark.parametrize(
    "path", ["nothing.js", "index.html", "../api/page.py", "..%2fapi%2fpage.py", "js/", "", "js//app.js"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(f"/ui/{Page.read().version}/{path}").status_code == 404


def test_another_version_is_not_served(client: TestClient) -> None:
    assert client.get("/ui/0123456789abcdef/app.css").status_code == 404


def test_only_reading_and_not_in_the_schema(client: TestClient) -> None:
    assert client.post("/").status_code == 405
    assert client.get("/openapi.json").json()["paths"] == {}


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    def version(css: str, name: str = "a.css") -> str:
        folder = tmp_path / f"{name}-{css}"
        folder.mkdir(exist_ok=True)
        for document in ("index", "dashboard"):
            (folder / f"{document}.html").write_text('<link href="./a.css">', encoding="utf-8")
        (folder / name).write_text(css, encoding="utf-8")
        (folder / "notes.txt").write_text("not served", encoding="utf-8")
        read = Page.read(folder)
        assert read.index.plain == f'<link href="./ui/{read.version}/a.css">'.encode() == read.dashboard.plain
        assert list(read.files) == [name]
        return read.version

    assert version("one") == version("one")
    assert len({version("one"), version("two"), version("one", "b.css")}) == 3


# Weight


def test_first_load_is_within_budget() -> None:
    """Everything up to the end of the first plain answer, by kind, in bytes as they are sent; all of it in memory."""
    read = Page.read()
    at_once = {urlsplit(address).path.removeprefix("./") for address in addresses(INDEX)}
    strings = max((name for name in read.files if name.startswith("i18n/")), key=lambda n: len(read.files[n].packed))
    needed = at_once | modules("js/chat.js", "js/panel.js") | {"messages.css", strings}
    weight = dict.fromkeys(BUDGET, 0)
    for name in needed:
        folder, _, _ = name.rpartition("/")
        kind = folder or name.rpartition(".")[2]
        weight[kind] += len(read.files[name].packed)
    weight["html"] = len(read.index.packed)
    print(weight, sum(weight.values()))
    assert {kind: size for kind, size in weight.items() if size > BUDGET[kind]} == {}
    assert sum(weight.values()) <= BUDGET_BYTES
    requests = 1 + len(at_once) + 3  # the document, its files, the strings, /readyz, the list of conversations
    assert requests <= BUDGET_REQUESTS
    assert sum(len(file.plain) + len(file.packed) for file in read.files.values()) <= 1_500_000


def test_the_first_code_block_is_within_budget() -> None:
    files = Page.read().files
    core = len(files["vendor/hljs/core.js"].packed)
    largest = max(
        len(file.packed) for name, file in files.items() if "/hljs/" in name and name != "vendor/hljs/core.js"
    )
    assert core + largest <= 14_000


def test_comments_stay_at_home_and_nothing_else_does() -> None:
    """Modules go out without them; every line has its number, every string its text. Others go out as they are, style
    sheets with what they import."""
    for name, file in Page.read().files.items():
        source = (WEB / name).read_text(encoding="utf-8")
        sent = file.plain.decode()
        if name.startswith("js/"):
            assert [line for line in sent.splitlines() if re.match(r"\s*(//|/\*)", line)] == []
            assert len(sent.splitlines()) == len(source.splitlines())
            assert set(filter(str.strip, sent.splitlines())) <= set(source.splitlines())
            assert re.sub(r"\s", "", code_of(sent)) == re.sub(r"\s", "", code(WEB / name))
        elif "@import" not in source:
            assert sent == source


def test_a_style_sheet_goes_out_with_all_that_it_imports_in_its_order() -> None:
    files, seen = Page.read().files, []
    for sheet in WEB.glob("*.css"):
        pieces = re.findall(r'@import "\./(css/[a-z]+\.css)"', sheet.read_text(encoding="utf-8"))
        sent = files[sheet.name].plain.decode()
        places = [sent.index((WEB / piece).read_text(encoding="utf-8").strip()) for piece in pieces]
        assert places == sorted(places)
        seen += pieces
    assert sorted(seen) == sorted(name for name in files if name.startswith("css/"))
    assert len(seen) > 10
