"""The page's colours: what is read and what is seen differs enough from its ground (WCAG 2), by day and by night."""

import re

import pytest

from edgechat.api.page.assets import WEB


def colours(scheme: str) -> dict[str, str]:
    text = (WEB / "css" / "tokens.css").read_text(encoding="utf-8")
    light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
    part = light if scheme == "light" else dark.partition(':root[data-theme="dark"]')[0]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part))


def test_the_chosen_dark_is_the_system_s_dark() -> None:
    text = (WEB / "css" / "tokens.css").read_text(encoding="utf-8")
    chosen = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', text, re.DOTALL)
    assert chosen
    assert dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", chosen[1])) == colours("dark")


def contrast(one: str, two: str) -> float:
    """WCAG 2's ratio, from 1 to 21."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    colour = colours(scheme)
    read = [
        (ink, ground)
        for ink in ("text", "muted")
        for ground in ("bg", "side", "surface", "raised", "warn-bg", "danger-bg", "code-bg")
    ]
    read += [("on-accent", "accent"), ("warn", "warn-bg"), ("danger", "danger-bg"), ("warn", "bg")]
    read += [(f"code-{kind}", "code-bg") for kind in ("keyword", "string", "number", "name", "comment")]
    read += [("text", "mark"), ("accent", "bg"), ("accent", "accent-soft"), ("danger", "bg"), ("danger", "raised")]
    seen = [
        ("line-strong", "bg"),
        ("line-strong", "raised"),
        ("accent", "bg"),
        ("accent", "raised"),
        ("accent", "surface"),
    ]
    seen += [("danger", "bg")]
    assert {
        pair: contrast(colour[pair[0]], colour[pair[1]]) for pair in read if contrast(*(colour[n] for n in pair)) < 4.5
    } == {}
    assert {
        pair: contrast(colour[pair[0]], colour[pair[1]]) for pair in seen if contrast(*(colour[n] for n in pair)) < 3
    } == {}
