"""The text header of a SEG-Y file: 40 lines of 80 characters, in EBCDIC or ASCII."""

from __future__ import annotations

LINES, WIDTH = 40, 80
_LABEL = 4  # a line starts with C, its number and a blank
_LAST = 38  # lines 39 and 40 belong to the standard's revision and end marks


def encoding_of(header: bytes) -> str:
    """Codec of a text header [3200]: the blanks of EBCDIC and of ASCII are other bytes."""
    return "ascii" if header.count(b" ") > header.count(b"\x40") else "cp037"


def decode(header: bytes) -> list[str]:
    """The 40 lines of a text header [3200], whatever its bytes; control characters become blanks."""
    text = header.decode(encoding_of(header), errors="replace")
    text = "".join(c if c.isprintable() else " " for c in text)
    return [text[WIDTH * k:WIDTH * (k + 1)].rstrip() for k in range(LINES)]


def add_lines(header: bytes, lines: list[str]) -> tuple[bytes, int]:
    """Write `lines` into blank lines of a text header [3200], in its own encoding, and touch no other byte.

    Lines 39 and 40 are left alone; blank lines after the last one in use come first. What does not fit in 76
    ASCII characters is cut. Returns the header and the number of lines that found room.
    """
    codec = encoding_of(header)
    current = decode(header)
    free = [k for k in range(_LAST) if not current[k][_LABEL - 1:].strip()]
    used = [k for k in range(_LAST) if k not in free]
    below = [k for k in free if not used or k > used[-1]]
    places = below if len(below) >= len(lines) else free
    out = bytearray(header)
    for k, line in zip(places, lines, strict=False):
        label = current[k][:_LABEL].ljust(_LABEL)
        label = label if label[:1] == "C" else f"C{k + 1:2d} "
        printable = line.encode("ascii", errors="replace").decode("ascii")
        text = (label + printable)[:WIDTH].ljust(WIDTH)
        out[WIDTH * k:WIDTH * (k + 1)] = text.encode(codec)
    return bytes(out), min(len(places), len(lines))
