"""The page's own files, as text to look at."""

import re
from pathlib import Path

from edgechat.api.page.assets import WEB

INDEX = (WEB / "index.html").read_text(encoding="utf-8")
DASHBOARD = (WEB / "dashboard.html").read_text(encoding="utf-8")
SCRIPTS = sorted((WEB / "js").glob("*.js"))
LANGUAGES = sorted((WEB / "i18n").glob("*.json"))


def code(script: Path) -> str:
    """A module without its comments."""
    return code_of(script.read_text(encoding="utf-8"))


def code_of(source: str) -> str:
    text = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    return re.sub(r"(?m)(^|\s)//.*$", r"\1", text)


def strings(script: Path) -> list[str]:
    """The string literals of a module, template literals with their holes cut out."""
    found = re.findall(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', code(script))
    return [plain or re.sub(r"\$\{.*?\}", "", template) for plain, template in found]


def imports(script: Path) -> set[str]:
    """What a module needs before it runs."""
    return set(re.findall(r'(?:from|import)\s+"([^"]+)"', code(script)))


def modules(*names: str) -> set[str]:
    """Those modules and all that they import, as paths below web/."""
    found: set[str] = set()
    waiting = [(WEB / name).resolve() for name in names]
    while waiting:
        script = waiting.pop()
        path = script.relative_to(WEB.resolve()).as_posix()
        if path not in found:
            found.add(path)
            waiting += [(script.parent / name).resolve() for name in imports(script)]
    return found
