"""The text header keeps its encoding and every byte but those of the lines it gains."""

import pytest

from aafast.survey.text import add_lines, decode, encoding_of


def header(lines, codec="cp037"):
    text = [f"C{k:2d} ".ljust(80) for k in range(1, 41)]
    for number, line in lines.items():
        text[number - 1] = f"C{number:2d} {line}".ljust(80)
    return "".join(text).encode(codec)


def changed(before, after):
    return sorted({k // 80 + 1 for k in range(3200) if before[k] != after[k]})


@pytest.mark.parametrize("codec", ["cp037", "ascii"])
def test_lines_go_below_the_last_one_in_use_in_the_same_encoding(codec):
    before = header({1: "CLIENT", 5: "AREA", 40: "END TEXTUAL HEADER"}, codec)
    assert encoding_of(before) == codec
    after, written = add_lines(before, ["FIRST", "SECOND"])
    assert written == 2 and changed(before, after) == [6, 7]
    assert decode(after)[5:7] == ["C 6 FIRST", "C 7 SECOND"] and after.decode(codec)[400:403] == "C 6"


def test_lines_39_and_40_are_never_touched_and_gaps_are_used_where_the_end_is_full():
    used = {k: "USED" for k in range(1, 39) if k not in (4, 9)}
    before = header(used)
    after, written = add_lines(before, ["A", "B", "C"])
    assert written == 2 and changed(before, after) == [4, 9]
    full = header({k: "USED" for k in range(1, 39)})
    assert add_lines(full, ["A"]) == (full, 0)


def test_what_does_not_fit_or_is_not_ascii_is_cut_or_replaced():
    after, _ = add_lines(header({1: "X"}), ["y" * 200, "café {0}"])
    assert decode(after)[1] == "C 2 " + "y" * 76 and decode(after)[2] == "C 3 caf? {0}" and len(after) == 3200


def test_labels_are_kept_and_made_where_there_are_none():
    after, _ = add_lines(("C01 X".ljust(80) + "C02".ljust(80) + " " * 3040).encode("ascii"), ["A", "B"])
    assert decode(after)[:3] == ["C01 X", "C02 A", "C 3 B"]
    assert decode(add_lines(bytes(3200), ["A"])[0])[0] == "C 1 A"


def test_any_bytes_can_be_shown():
    lines = decode(bytes(range(256)) * 12 + bytes(128))
    assert len(lines) == 40 and all(line.isprintable() for line in lines)
