"""No path that Windows would find outside of a root is taken to lie below it; nor one that two programs could read differently."""

from __future__ import annotations

import ntpath
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from worker68.jobs.windows_paths import read_file_path, read_folder_path

ROOTS = ("C:/out", "D:\\Ausgang\\Müller\\", "//server/share/out", "E:/")


def is_below(path: str, root: str) -> bool:
    try:
        return read_file_path(path).lies_below(read_folder_path(root))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("C:/out/b.mp4", "C:/out"),
        ("C:/out/b.mp4", "C:/out/"),
        ("C:/out/b.mp4", "C:\\out\\"),
        ("C:\\out\\b.mp4", "C:/out"),
        ("c:/OUT\\sub/B.MP4", "C:/out"),
        ("C:/out/sub/../b.mp4", "C:/out"),
        ("C:/out/./sub/./b.mp4", "C:/out"),
        ("C:/other/../out/b.mp4", "C:/out"),
        ("C:/../../out/b.mp4", "C:/out"),
        ("C:/b.mp4", "C:/"),
        ("C:/b.mp4", "C:\\"),
        ("C:/MÜLLER/ЖУРНАЛ/ΑΒΓ.txt", "c:/müller/журнал"),
        ("C:/straße/a.txt", "C:/STRAßE"),
        ("C:/out/收货 报告：一月.pdf", "C:/out"),
        ("C:/out/.hidden", "C:/out"),
        ("C:/out/ leading space.txt", "C:/out"),
        ("C:/out/100%.pdf", "C:/out"),
        ("C:/out/a#b&c@d;e.txt", "C:/out"),
        ("C:/out/ABCDEF~1/B~2.TXT", "C:/out"),
        ("C:/PROGRA~1/a.txt", "C:/progra~1"),
        ("C:/out/console.txt", "C:/out"),
        ("C:/out/com10.txt", "C:/out"),
        ("C:/out/nulls/aux-1.txt", "C:/out"),
        ("//server/share/out/b.mp4", "\\\\SERVER\\Share\\out"),
        ("\\\\server/share\\b.mp4", "//server/share"),
        ("//server/share/../../out/b.mp4", "//server/share/out"),
        ("C:/Users/rtuge/Desktop/b.mp4", "C:/Users/rtuge/Desktop"),
    ],
)
def test_a_file_below_its_root(path: str, root: str) -> None:
    assert read_file_path(path).lies_below(read_folder_path(root))


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("C:/outside/b.mp4", "C:/out"),
        ("C:/out", "C:/out"),
        ("C:/ou/b.mp4", "C:/out"),
        ("C:/b.mp4", "C:/out"),
        ("D:/out/b.mp4", "C:/out"),
        ("C:/out/../secret.txt", "C:/out"),
        ("C:/out\\..\\secret.txt", "C:/out"),
        ("C:/out/sub/../../secret.txt", "C:/out"),
        ("C:/out/../outside/b.mp4", "C:/out"),
        ("C:/out/./../secret.txt", "C:/out"),
        ("C:/x/out/b.mp4", "C:/out"),
        ("C:/OUTPUT~1/b.mp4", "C:/output files"),
        ("C:/STRASSE/a.txt", "C:/straße"),
        ("C:/outſ/a.txt", "C:/outs"),
        ("C:/fıle/a.txt", "C:/file"),
        ("C:/\u212aey/a.txt", "C:/key"),
        ("C:/mu\u0308ller/a.txt", "C:/müller"),
        ("C:/\u10d0/a.txt", "C:/\u1c90"),
        ("//server/share/out/b.mp4", "C:/out"),
        ("//server/C$/out/b.mp4", "C:/out"),
        ("//localhost/C$/out/b.mp4", "C:/out"),
        ("//server/other/b.mp4", "//server/share"),
        ("//server/share/../other/b.mp4", "//server/share/out"),
        ("//server2/share/b.mp4", "//server/share"),
        ("//server/sharey/b.mp4", "//server/share"),
        ("C:/server/share/b.mp4", "//server/share"),
    ],
)
def test_a_file_somewhere_else(path: str, root: str) -> None:
    assert not read_file_path(path).lies_below(read_folder_path(root))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "absolute"),
        ("b.mp4", "absolute"),
        ("out/b.mp4", "absolute"),
        ("./b.mp4", "absolute"),
        ("../b.mp4", "absolute"),
        ("~/b.mp4", "absolute"),
        ("C:b.mp4", "absolute"),
        ("C:", "absolute"),
        ("C:..\\b.mp4", "absolute"),
        ("/out/b.mp4", "absolute"),
        ("\\out\\b.mp4", "absolute"),
        (" C:/out/b.mp4", "absolute"),
        ("\ufeffC:/out/b.mp4", "absolute"),
        ("Ｃ:/out/b.mp4", "absolute"),
        ("1:/out/b.mp4", "absolute"),
        ("CC:/out/b.mp4", "absolute"),
        ("file:///C:/out/b.mp4", "absolute"),
        ("http://host/out/b.mp4", "absolute"),
        ("//server", "absolute"),
        ("\\\\?\\C:\\out\\b.mp4", "device"),
        ("//?/C:/out/b.mp4", "device"),
        ("\\/?\\C:/out/b.mp4", "device"),
        ("\\\\.\\C:\\out\\b.mp4", "device"),
        ("//./PhysicalDrive0", "device"),
        ("//./pipe/x", "device"),
        ("//?/UNC/server/share/b.mp4", "device"),
        ("//?/GLOBALROOT/Device/HarddiskVolume1/b.mp4", "device"),
        ("\\??\\C:\\out\\b.mp4", "device"),
        ("/??/C:/out/b.mp4", "device"),
        ("///server/share/b.mp4", "empty"),
        ("////server/share/b.mp4", "empty"),
        ("//server//b.mp4", "empty"),
        ("C://out/b.mp4", "empty"),
        ("C:/out//b.mp4", "empty"),
        ("C:/out\\/b.mp4", "empty"),
        ("C:/", "folder"),
        ("C:/out/", "folder"),
        ("C:/out/.", "folder"),
        ("C:/out/x/..", "folder"),
        ("//server/share", "folder"),
        ("//server/share/", "folder"),
        ("C:/out/b.mp4.", "dot or a space"),
        ("C:/out/b.mp4 ", "dot or a space"),
        ("C:/out./b.mp4", "dot or a space"),
        ("C:/out /b.mp4", "dot or a space"),
        ("C:/out/.. /secret.txt", "dot or a space"),
        ("C:/out/... /secret.txt", "dot or a space"),
        ("C:/out/.../secret.txt", "dot or a space"),
        ("C:/out/. ./secret.txt", "dot or a space"),
        ("C:/out/..\u00a0/secret.txt", "taken for"),
        ("//server./share/b.mp4", "dot or a space"),
        ("//../share/b.mp4", "dot or a space"),
        ("C:/out/a.txt:x", "colon"),
        ("C:/out/a.txt::$DATA", "colon"),
        ("C:/out:x/../a.txt", "colon"),
        ("C:/out/D:/secret.txt", "colon"),
        ("C:/out/D:secret.txt", "colon"),
        ("//server:80/share/a.txt", "colon"),
        ("C:/out/CON", "devices"),
        ("C:/out/nul", "devices"),
        ("C:/out/NUL.txt", "devices"),
        ("C:/out/nul .txt", "devices"),
        ("C:/out/aux.tar.gz", "devices"),
        ("C:/out/COM1", "devices"),
        ("C:/out/lpt9.txt", "devices"),
        ("C:/out/com\u00b9", "devices"),
        ("C:/out/CONIN$", "devices"),
        ("C:/con/../out/a.txt", "devices"),
        ("C:/out/a\x00.txt", "control"),
        ("C:/out/a\n.txt", "control"),
        ("C:/out/a\x1f.txt", "control"),
        ("C:/out/a\x7f.txt", "control"),
        ("C:/out/a\x85.txt", "control"),
        ("C:/out/a\ud800.txt", "control"),
        ("C:/out/a?.txt", "< >"),
        ("C:/out/*", "< >"),
        ('C:/out/"a".txt', "< >"),
        ("C:/out/a|b", "< >"),
        ("C:/out/<", "< >"),
        ("C:/out/%2e%2e/secret.txt", "percent"),
        ("C:/out/..%5Csecret.txt", "percent"),
        ("C:/out/%00", "percent"),
        ("C:/out/．．/secret.txt", "taken for"),
        ("C:/out/.．/secret.txt", "dot or a space|taken for"),
        ("C:/out/‥/secret.txt", "taken for"),
        ("C:/out/x／..／..／secret.txt", "taken for"),
        ("C:/out/x＼y", "taken for"),
        ("C:/out/x\u2215y", "taken for"),
        ("C:/out/..\u00a5..\u00a5secret.txt", "taken for"),
    ],
)
def test_a_path_that_leaves_a_doubt_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_file_path(path)


@pytest.mark.parametrize(
    "root",
    [
        "",
        "out",
        "/srv/out",
        "\\out",
        "C:",
        "C:out",
        "//server",
        "//?/C:/out",
        "C:/out/..",
        "C:/./out",
        "C:/out//",
        "C:/out./",
        "C:/a:b",
        "C:/nul",
        "C:/*",
        "%USERPROFILE%/out",
        "~/out",
        "C:/o%20t",
        "C://",
        "///",
        "//server//",
    ],
)
def test_a_root_that_leaves_a_doubt_is_refused(root: str) -> None:
    with pytest.raises(ValueError, match=r"expected|allowed"):
        read_folder_path(root)


# What is tried at random: names that mean something to Windows among plain ones, put together in every way.

_PLAIN = st.sampled_from(["out", "OUT", "sub", "outside", "Ausgang", "MÜLLER", "server", "share", "a.txt", "OUT~1"])
_MEANING_SOMETHING = st.sampled_from(
    [
        "..",
        "..",
        ".",
        "...",
        ".. ",
        ". ",
        "out.",
        "out ",
        " ",
        "",
        "C:",
        "D:x",
        "?",
        "??",
        "*",
        "%2e%2e",
        "\uff0e\uff0e",
        "\u2025",
        ":",
        "a:x",
        "a::$DATA",
        "NUL",
        "com1",
        "con.txt",
        "a\x00",
        "\n",
        "a\u2215..\u2215..\u2215b",
        "..\xa5..",
        "\xdf",
        "SS",
        "out\u017f",
        "\u0131",
        "\uff052e",
    ]
)
_STARTS = st.sampled_from(
    [*ROOTS, *ROOTS, "", "/", "\\", "//", "\\\\?\\", "//./", "\\??\\", "C:", "C:/", "//server/share"]
)
_SEPARATORS = st.sampled_from(["/", "/", "\\", "\\", "//", "\\\\", "/\\", ""])


@st.composite
def nasty_paths(draw: st.DrawFn) -> str:
    """A root, or something like one, and names behind it."""
    name = draw(st.sampled_from([_PLAIN, _PLAIN | st.just(".."), _PLAIN | _MEANING_SOMETHING, st.text(max_size=3)]))
    separator = draw(st.sampled_from([st.just("/"), st.sampled_from("/\\"), _SEPARATORS]))
    behind = draw(st.lists(st.tuples(separator, name), max_size=6))
    return draw(_STARTS).rstrip("/\\") + "".join(map("".join, behind)) if behind else draw(_STARTS)


def as_unicode(path: str) -> str:
    return path


def as_a_program_without_unicode_would(path: str) -> str:
    """Turn letters into what code pages have for them."""
    for character in "\u2215\u2044\u2216\u00a5\u20a9":
        path = path.replace(character, "\\")
    return unicodedata.normalize("NFKC", path).replace("：", ":")


def as_before_the_names_are_trimmed(path: str) -> str:
    """Drop what Windows drops from the end of a name, before ``..`` is resolved."""
    names = path.replace("/", "\\").split("\\")
    return "\\".join(name if name in (".", "..") else name.rstrip(". ") for name in names)


def trimmed_to_dots(path: str) -> str:
    """Drop spaces at the end of a name, so that ``.. `` becomes ``..``."""
    return "\\".join(name.rstrip(" ") for name in path.replace("/", "\\").split("\\"))


READINGS: tuple[Callable[[str], str], ...] = (
    as_unicode,
    as_a_program_without_unicode_would,
    unquote,
    as_before_the_names_are_trimmed,
    trimmed_to_dots,
)


def windows_finds_it_below(path: str, root: str) -> bool:
    """The oracle: Python's own knowledge of Windows, and nothing of ours."""
    whole = ntpath.normcase(ntpath.normpath(path))
    folder = ntpath.normcase(ntpath.normpath(root)).rstrip("\\") + "\\"
    return ntpath.splitdrive(whole)[0] == ntpath.splitdrive(folder)[0] and whole.startswith(folder) and whole != folder


@settings(max_examples=1500)
@given(path=nasty_paths(), root=st.sampled_from(ROOTS))
@example(path="C:/out/sub/../../out/a.txt", root="C:/out")
@example(path="E:/../a.txt", root="E:/")
def test_nothing_is_allowed_that_windows_would_find_elsewhere(path: str, root: str) -> None:
    if not is_below(path, root):
        return
    for read in READINGS:
        assert windows_finds_it_below(read(path), root), read.__name__
    assert ":" not in path.replace("\\", "/")[2:]
    assert not any(ord(character) < 32 for character in path)
    event("allowed")


_LETTERS = "abcXYZäÖжЩωΔß_-收货🐟 .,~$1"
_names = st.text(alphabet=_LETTERS, min_size=1, max_size=8).map(lambda name: name.strip(". ")).filter(bool)


@given(names=st.lists(_names, min_size=1, max_size=4), root=st.sampled_from(ROOTS), data=st.data())
def test_every_plain_file_below_a_root_is_allowed(names: list[str], root: str, data: st.DataObject) -> None:
    """Also in other spellings of case and slashes, and with detours that come back."""
    path = root.rstrip("/\\")
    for name in names:
        detour = data.draw(st.sampled_from(["", "", "./", "there/../", "a\\b/..\\../"]))
        path += data.draw(st.sampled_from("/\\")) + detour + data.draw(st.sampled_from([name, swap_case(name)]))
    assert is_below(path, root)


def swap_case(name: str) -> str:
    return "".join(letter.swapcase() if len(letter.swapcase()) == 1 else letter for letter in name)


@given(path=st.text(max_size=40) | nasty_paths())
def test_whatever_is_written_is_answered(path: str) -> None:
    for root in ROOTS:
        is_below(path, root)
