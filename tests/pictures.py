"""Pictures drawn on the spot, of every kind that is taken; and a child that decodes mutated ones.

python -m tests.pictures COUNT SEED      prints how many of each outcome there were
"""

import json
import random
import resource
import sys
import time
from collections import Counter
from io import BytesIO

import psutil
from PIL import Image, ImageDraw

from edgechat.errors import InvalidMedia
from edgechat.media.picture import Cap, Pixels, decode

ROOM = 1 << 30  # bytes more than the child has when it begins
LONGEST_S = 20.0  # of processor time, for one picture


def drawn(size: tuple[int, int] = (60, 40), mode: str = "RGB") -> Image.Image:
    """Blue on the left, red on the right."""
    image = Image.new("RGB", size, (220, 20, 20))
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2 - 1, size[1] - 1), fill=(20, 20, 220))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    """The picture as a file of that kind."""
    out = BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def upright(number: int) -> Image.Exif:
    """EXIF that says how the picture is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def kinds() -> dict[str, bytes]:
    """One of everything, small: the same picture."""
    later = [drawn().rotate(180)]
    return {
        "png": encoded(drawn(), "PNG"),
        "png palette": encoded(drawn().quantize(), "PNG"),
        "png alpha": encoded(drawn(mode="RGBA"), "PNG"),
        "png grey alpha": encoded(drawn(mode="LA"), "PNG"),
        "png bits": encoded(drawn().convert("L").point(lambda grey: 255 * (grey > 60)).convert("1"), "PNG"),
        "png animated": encoded(drawn(), "PNG", save_all=True, append_images=later),
        "jpeg": encoded(drawn(), "JPEG", quality=95),
        "jpeg progressive": encoded(drawn(), "JPEG", progressive=True),
        "jpeg cmyk": encoded(drawn(mode="CMYK"), "JPEG"),
        "jpeg grey": encoded(drawn(mode="L"), "JPEG"),
        "jpeg turned": encoded(drawn(), "JPEG", exif=upright(3)),
        "webp": encoded(drawn(), "WEBP"),
        "webp lossless": encoded(drawn(mode="RGBA"), "WEBP", lossless=True),
        "webp animated": encoded(drawn(), "WEBP", save_all=True, append_images=later),
        "gif": encoded(drawn(), "GIF"),
        "gif animated": encoded(drawn(), "GIF", save_all=True, append_images=later),
        "bmp": encoded(drawn(), "BMP"),
        "bmp palette": encoded(drawn().quantize(), "BMP"),
    }


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The file with something wrong in it: a flipped bit, a number, a hole, a cut, a piece twice, noise."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        at = dice.randrange(len(out) or 1)
        match dice.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << dice.randrange(8)
            case 1:
                out[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\x80\0"))
            case 2:
                del out[at : at + dice.randrange(1, 40)]
            case 3:
                del out[max(at, 16) :]
            case 4:
                out[at:at] = out[at : at + dice.randrange(1, 200)]
            case 5:
                out[at : at + 8] = dice.randbytes(8)
    return bytes(out)


def main() -> None:
    count, dice = int(sys.argv[1]), random.Random(int(sys.argv[2]))
    room = psutil.Process().memory_info().vms + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    files, outcomes = list(kinds().values()), Counter[str]()
    for _ in range(count):
        data = mutated(dice.choice(files), dice)
        begun = time.process_time()
        try:
            found = decode(data, Cap(pixels=32 * 32))
            assert isinstance(found, Pixels)
            assert len(found.rgb) == 3 * found.width * found.height <= 3 * 32 * 32
            outcomes["decoded"] += 1
        except InvalidMedia as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
        assert time.process_time() - begun < LONGEST_S
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
