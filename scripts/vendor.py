"""Fetch the libraries that the page carries: unmodified files of pinned npm packages, with licence and digests.

    python scripts/vendor.py        writes src/edgechat/web/vendor, tests/browser/vendor and their VENDOR.json

Needs npm. Nobody else does: the files are in the repository, and tests/test_vendor.py holds them to VENDOR.json.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "src" / "edgechat" / "web" / "vendor"
TESTS = ROOT / "tests" / "browser" / "vendor"
GRAMMARS = (
    "bash c cpp csharp css diff dockerfile go ini java javascript json kotlin lua makefile markdown php powershell "
    "python ruby rust sql swift typescript xml yaml"
)

# folder -> package -> file here: file there. The licence is taken from the package too.
WANTED: dict[Path, dict[str, dict[str, str]]] = {
    PAGE: {
        "marked@18.2.1": {"marked.js": "lib/marked.esm.js", "marked.LICENSE": "LICENSE"},
        "dompurify@3.4.18": {"purify.js": "dist/purify.min.js", "purify.LICENSE": "LICENSE"},
        "@highlightjs/cdn-assets@11.12.0": {
            "hljs/core.js": "es/core.min.js",
            "hljs/LICENSE": "LICENSE",
            **{f"hljs/{language}.js": f"es/languages/{language}.min.js" for language in GRAMMARS.split()},
        },
        "temml@0.13.5": {"temml.js": "dist/temml.mjs", "temml.LICENSE": "LICENSE"},
        "uplot@1.6.32": {
            "uplot.js": "dist/uPlot.iife.min.js",
            "uplot.css": "dist/uPlot.min.css",
            "uplot.LICENSE": "LICENSE",
        },
    },
    TESTS: {
        "axe-core@4.14.1": {
            "axe.js": "axe.min.js",
            "axe.LICENSE": "LICENSE",
            "axe.LICENSE-3RD-PARTY": "LICENSE-3RD-PARTY.txt",
        },
    },
}


def main() -> None:
    """Fetch and write everything."""
    for folder, packages in WANTED.items():
        listed = [fetch(folder, spec, files) for spec, files in packages.items()]
        (folder / "VENDOR.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def fetch(folder: Path, spec: str, files: dict[str, str]) -> dict[str, Any]:
    """Write `files` of one package below `folder`; what VENDOR.json says about them."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--json", "--pack-destination", scratch, spec]
        (packed,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        with tarfile.open(Path(scratch) / packed["filename"]) as archive:
            digests = {name: copy(archive, f"package/{source}", folder / name) for name, source in files.items()}
            manifest = json.loads(read(archive, "package/package.json"))
    return {
        "name": packed["name"],
        "version": packed["version"],
        "licence": manifest["license"],
        "integrity": packed["integrity"],
        "files": digests,
    }


def copy(archive: tarfile.TarFile, member: str, target: Path) -> str:
    """Write one member as it is; its SHA-256 in hex."""
    content = read(archive, member)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read(archive: tarfile.TarFile, member: str) -> bytes:
    """The bytes of one member."""
    stream = archive.extractfile(member)
    assert stream is not None, member
    return stream.read()


if __name__ == "__main__":
    main()
