"""Which files of a listing make the model, and which listings are not believed."""

from dataclasses import dataclass

import pytest

from edgechat.errors import ConfigError, NotOnHub, UnsafeListing
from edgechat.hub.choice import MAX_ROWS, check, choose, manifest_of
from edgechat.hub.reference import Repo

REPO = Repo("Qwen", "Tiny-GGUF")


@dataclass
class Listed:
    """One row."""

    path: str
    size: int = 100
    sha256: str | None = "0" * 64
    type: str = "blob"


def rows(*paths: str) -> list[Listed]:
    return [Listed(path) for path in paths]


def asked(file: str) -> Repo:
    return Repo(REPO.owner, REPO.name, file=file)


def test_the_named_file_is_chosen() -> None:
    listing = rows("a-q8_0.gguf", "a-q4_k_m.gguf", "sub/b.gguf")
    assert choose(listing, asked("sub/b.gguf")) == (listing[2],)


def test_without_a_name_it_is_the_q4_k_m() -> None:
    listing = rows("README.md", "a-q8_0.gguf", "a-Q4_K_M.gguf")
    assert choose(listing, REPO) == (listing[2],)


def test_without_a_q4_k_m_it_is_the_only_one() -> None:
    listing = rows("README.md", "a-q8_0.GGUF")
    assert choose(listing, REPO) == (listing[1],)


@pytest.mark.parametrize("listing", [rows("a-q8_0.gguf", "a-f16.gguf"), rows("a-q4_k_m.gguf", "b-q4_k_m.gguf")])
def test_several_are_listed(listing: list[Listed]) -> None:
    with pytest.raises(ConfigError, match=r"say which file, as in modelscope:Qwen/Tiny-GGUF:a-.*; there is: a-.*, "):
        choose(listing, REPO)


def test_a_file_that_is_gone_lists_what_is_there() -> None:
    with pytest.raises(NotOnHub, match=r"no such file; there is: a\.gguf, b\.gguf"):
        choose(rows("b.gguf", "a.gguf"), asked("c.gguf"))


def test_a_file_without_bytes_is_not_chosen() -> None:
    with pytest.raises(UnsafeListing, match="with 0 bytes"):
        choose([Listed("a.gguf", size=0)], REPO)


def test_none_is_said() -> None:
    with pytest.raises(NotOnHub, match=r"has no \.gguf file"):
        choose(rows("README.md", "model.safetensors"), REPO)


PARTS = ("m-q4_k_m-00001-of-00003.gguf", "m-q4_k_m-00002-of-00003.gguf", "m-q4_k_m-00003-of-00003.gguf")


@pytest.mark.parametrize("file", [None, PARTS[0]])
def test_all_parts_of_a_split_model_are_one_model(file: str | None) -> None:
    listing = rows(PARTS[2], "m-q8_0.gguf", PARTS[0], PARTS[1])
    chosen = choose(listing, Repo("Qwen", "Tiny-GGUF", file=file))
    assert tuple(row.path for row in chosen) == PARTS
    made = manifest_of(chosen, REPO, "master")
    assert (made.name, made.source) == ("m-q4_k_m", f"modelscope:Qwen/Tiny-GGUF:{PARTS[0]}")


def test_a_split_model_is_named_by_its_first_part_and_must_be_whole() -> None:
    with pytest.raises(ConfigError, match="part 2 of 3: name the first"):
        choose(rows(*PARTS), asked(PARTS[1]))
    with pytest.raises(NotOnHub, match="1 of its 3 parts are not listed, such as m-q4_k_m-00003"):
        choose(rows(*PARTS[:2]), REPO)
    with pytest.raises(NotOnHub, match="parts are not listed"):
        choose(rows("m-00001-of-99999.gguf"), REPO)


def test_a_projector_comes_with_the_model_beside_it() -> None:
    listing = rows("mmproj-VL-F16.gguf", "VL-Q4_K_M.gguf", "mmproj-VL-Q8_0.gguf", "VL-Q8_0.gguf", "sub/mmproj-x.gguf")
    assert [row.path for row in choose(listing, REPO)] == ["VL-Q4_K_M.gguf", "mmproj-VL-Q8_0.gguf"]
    assert [row.path for row in choose(listing, asked("mmproj-VL-F16.gguf"))] == ["mmproj-VL-F16.gguf"]


def test_a_repository_of_safetensors_is_a_snapshot_without_anything_that_could_be_run() -> None:
    listing = rows(
        "model.safetensors", "config.json", "tokenizer.json", "modeling_x.py", "pytorch_model.bin", "x.pkl",
        "README.md", "sub/config.json", "model.ckpt", "weights.zip", "merges.txt",
    )  # fmt: skip
    chosen = choose(listing, REPO)
    assert [row.path for row in chosen] == ["config.json", "merges.txt", "model.safetensors", "tokenizer.json"]
    made = manifest_of(chosen, REPO, "master")
    assert (made.name, made.source) == ("tiny-gguf", "modelscope:Qwen/Tiny-GGUF")
    with pytest.raises(NotOnHub, match=r"no \.gguf file, and no snapshot"):
        choose(rows("model.safetensors", "README.md"), REPO)


def test_pickled_weights_come_only_where_there_are_no_safetensors() -> None:
    listing = rows(
        "config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json", "training_args.bin"
    )
    chosen = [row.path for row in choose(listing, REPO)]
    assert chosen == ["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"]
    with pytest.raises(NotOnHub, match=r"no \.gguf file, and no snapshot"):
        choose(rows("pytorch_model.bin", "README.md"), REPO)


def test_a_hash_that_is_none_is_none() -> None:
    row = Listed("a.gguf", sha256="ABCDEF0123456789" * 4)
    assert manifest_of((row,), REPO, "master").files[0].sha256 == "abcdef0123456789" * 4
    assert manifest_of((Listed("a.gguf", sha256="0" * 63),), REPO, "master").files[0].sha256 is None


def test_only_files_remain_of_a_listing() -> None:
    listing = [Listed("sub", type="tree"), Listed("sub/a.gguf")]
    assert check(listing, "x") == listing[1:]


def test_an_empty_listing_is_no_success() -> None:
    with pytest.raises(NotOnHub, match="no such revision"):
        check([], "x")


@pytest.mark.parametrize(
    "path", ["x.gguf\x00", "../../.ssh/authorized_keys", "/etc/cron.d/x", "a\\..\\b", "C:\\x", "x.gguf\n", "", "a/../b"]
)
def test_one_bad_row_spoils_the_listing(path: str) -> None:
    with pytest.raises(UnsafeListing, match="no safe path"):
        check(rows("good.gguf", path), "x")


def test_a_name_twice_spoils_the_listing() -> None:
    with pytest.raises(UnsafeListing, match="twice"):
        check(rows("a.gguf", "a.gguf"), "x")


def test_ten_thousand_rows_are_too_many() -> None:
    check(rows(*(f"{i}.gguf" for i in range(MAX_ROWS))), "x")
    with pytest.raises(UnsafeListing, match="10000 files"):
        check(rows(*(f"{i}.gguf" for i in range(10_000))), "x")


def test_of_several_projectors_without_a_q8_0_the_f16_comes() -> None:
    listing = rows("m-Q4_K_M.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf")
    assert [row.path for row in choose(listing, REPO)] == ["m-Q4_K_M.gguf", "mmproj-F16.gguf"]
