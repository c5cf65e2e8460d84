"""What the page carries of others is what they published: every file is listed, licensed, and as fetched."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT / "src" / "edgechat" / "web" / "vendor", ROOT / "tests" / "browser" / "vendor"]
FREE = {"MIT", "BSD-3-Clause", "Apache-2.0", "(MPL-2.0 OR Apache-2.0)", "MPL-2.0"}


@pytest.mark.parametrize("folder", FOLDERS, ids=["page", "tests"])
def test_every_file_is_listed_and_as_published(folder: Path) -> None:
    packages = json.loads((folder / "VENDOR.json").read_text(encoding="utf-8"))
    listed = {name: digest for package in packages for name, digest in package["files"].items()}
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "VENDOR.json"
    }
    assert found == listed
    for package in packages:
        assert package["licence"] in FREE
        assert package["integrity"].startswith("sha512-")
        assert any("LICENSE" in name for name in package["files"]), f"{package['name']} has no licence beside it"


def test_the_list_is_what_the_script_fetches() -> None:
    program = (
        "import json, vendor; print(json.dumps([{s: sorted(f) for s, f in p.items()} for p in vendor.WANTED.values()]))"
    )
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, cwd=ROOT / "scripts", check=True, capture_output=True, text=True).stdout
    for folder, wanted in zip(FOLDERS, json.loads(printed), strict=True):
        packages = json.loads((folder / "VENDOR.json").read_text(encoding="utf-8"))
        listed = {f"{package['name']}@{package['version']}": sorted(package["files"]) for package in packages}
        assert listed == wanted
