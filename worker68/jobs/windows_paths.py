"""Paths on the bridge's machine, which is Windows, compared as Windows compares them; without asking that machine.

In: a path as a producer or a setting wrote it. Out: a ``WindowsPath``, or ``ValueError`` with what is wrong with it. A path that
different programs on Windows could take for different files is refused, not guessed at. Never: I/O, this machine's file system.

What cannot be known from here:

- Links and junctions. One that lies below a root may lead out of it: who may create links there may read what they lead to.
- 8.3 short names. ``PROGRA~1`` is a name like any other, so one below a root stays below it, because ``..`` is resolved by the
  letters, as Windows does it. But ``C:/OUTPUT~1/a.txt`` is not seen to lie below ``C:/output files``: it is refused.
- Folders that are set to case-sensitive in Windows, so that ``Out`` beside ``out`` is another folder.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

NOT_ABSOLUTE: Final = "expected an absolute Windows path like C:/folder/file.mp4 or //server/share/file.mp4"

_DRIVE: Final = re.compile(r"[A-Za-z]:\\")
#: What opens a device or skips Windows's own reading of a path (``\\?\``, ``\\.\``, ``\??\``).
_DEVICE: Final = re.compile(r"\\[\\?][?.]\\")
#: No file's name holds these; the colon would name an alternate data stream.
_ILLEGAL: Final = re.compile(r'[<>:"|?*]')
#: A percent escape: where the path is made a URL it is read as another character, ``%2e%2e`` as ``..``.
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
#: Names of devices in every folder, whatever their extension. Windows counts the superscript digits too.
_RESERVED: Final = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(COM|LPT)[0-9¹²³])", re.IGNORECASE)
#: Beside those that NFKC knows, what a program without Unicode is handed for a slash or a backslash ("best fit").
_LIKE_SEPARATORS: Final = frozenset("/\\\u00a5\u20a9\u2044\u2215\u2216\u29f5\u29f8\u29f9")
#: Windows keeps its own table of upper case and never maps what lies beyond the scripts that had cases long ago (Latin, Greek,
#: Cyrillic). Beyond it two letters are two letters: rather a file too few than one too many.
_LAST_WITH_CASE: Final = "\u04ff"


@dataclass(frozen=True, slots=True)
class WindowsPath:
    """An absolute path with ``.`` and ``..`` resolved. Equal for two spellings only if Windows takes them for the same."""

    anchor: str  # C: or \\server\share
    names: tuple[str, ...]

    def lies_below(self, root: WindowsPath) -> bool:
        """Say whether it is something below ``root``, not ``root`` itself."""
        depth = len(root.names)
        return self.anchor == root.anchor and len(self.names) > depth and self.names[:depth] == root.names


def read_file_path(text: str) -> WindowsPath:
    """Return the path of a file; raise ``ValueError`` for one that is not absolute, not safe, or names a folder."""
    anchor, names = _split(text)
    if not names or names[-1] in ("", ".", ".."):
        raise ValueError("expected a file, not a folder")
    resolved: list[str] = []
    for name in names:
        if name == "..":
            # Above the drive or the share there is nothing: Windows stays there.
            del resolved[-1:]
        elif name != ".":
            _check_name(name)
            resolved.append(_fold(name))
    return WindowsPath(anchor, tuple(resolved))


def read_folder_path(text: str) -> WindowsPath:
    """Return the path of a folder, with or without a slash at its end; raise ``ValueError`` for one that leaves a doubt."""
    anchor, names = _split(text)
    if names and names[-1] == "":
        names.pop()
    for name in names:
        _check_name(name)
    return WindowsPath(anchor, tuple(map(_fold, names)))


def _split(text: str) -> tuple[str, list[str]]:
    """Split an absolute path into its anchor and the names behind it, as they stand."""
    path = text.replace("/", "\\")
    if _DEVICE.match(path):
        raise ValueError("device paths like //?/ and //./ are not allowed")
    if path.startswith("\\\\"):
        server, *more = path[2:].split("\\")
        if not more:
            raise ValueError(NOT_ABSOLUTE)
        share, *names = more
        _check_name(server)
        _check_name(share)
        return f"\\\\{_fold(server)}\\{_fold(share)}", names
    if not _DRIVE.match(path):
        raise ValueError(NOT_ABSOLUTE)
    return path[:2].upper(), path[3:].split("\\") if path[3:] else []


def _check_name(name: str) -> None:
    """Raise ``ValueError`` for a name that no file has, that names a device, or that two programs could read differently."""
    if not name:
        raise ValueError("an empty name between two slashes is not allowed")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("control characters are not allowed")
    if ":" in name:
        raise ValueError("a colon behind the drive (an alternate data stream) is not allowed")
    if _ILLEGAL.search(name):
        raise ValueError('none of < > " | ? * is allowed')
    if name.endswith((".", " ")):
        raise ValueError("a name that ends in a dot or a space is not allowed: Windows drops them")
    if _RESERVED.fullmatch(name.partition(".")[0].rstrip(" ")):
        raise ValueError("names of devices like CON, NUL and COM1 are not allowed")
    if _ESCAPE.search(name):
        raise ValueError("percent escapes like %2e are not allowed")
    plain = unicodedata.normalize("NFKC", name)
    if not plain.strip(". ") or not _LIKE_SEPARATORS.isdisjoint(plain):
        raise ValueError("characters that can be taken for a slash, a backslash or dots are not allowed")


def _fold(name: str) -> str:
    """Write a name as all its spellings in upper and lower case are written. Each letter by itself: ß is not SS."""
    return "".join(map(_upper, name))


def _upper(letter: str) -> str:
    """Map only where the way back leads to the same letter: ſ is not S, ı is not I, and Windows keeps them apart too."""
    upper = letter.upper()
    return upper if letter <= _LAST_WITH_CASE and len(upper) == 1 and upper.lower() == letter else letter
