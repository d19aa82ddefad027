"""The fixes of checks, applied to a notation."""

import re

EDIT = re.compile(r"(?:change|insert|remove) .*? at character \d+")


def changed(net: str, fix: str) -> str:
    """Apply a fix in words to a notation: by its text alone, unlike the search."""
    if found := re.search(r'"(.+)"', fix):
        return found[1]
    for edit in reversed(re.findall(EDIT, fix)):
        words = edit.removesuffix(edit[edit.index(" at character") :])
        at = int(edit.rsplit(" ", 1)[1]) - 1
        if match := re.fullmatch(r"change (\S+) to (.+)", words):
            assert net[at:].startswith(match[1])
            net = net[:at] + match[2] + net[at + len(match[1]) :]
        elif match := re.fullmatch(r"insert (.+)", words):
            net = f"{net[:at]} {match[1]} {net[at:]}".replace("+( ", "+(").replace(" )", ")")
        elif match := re.fullmatch(r"remove (\S+)", words):
            assert net[at:].startswith(match[1])
            net = net[:at] + net[at + len(match[1]) :]
    return net
