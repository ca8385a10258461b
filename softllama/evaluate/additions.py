"""What a later run adds to an evaluation: policies, problems, and its command. Knows headers as `make_header` makes them.

Knows when two headers are of different evaluations, too. Does not know the file that they are in.
"""

from __future__ import annotations

from typing import Any


def more(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What a header has that an earlier one of the same evaluation has not.

    Returns:
        {"ways": ..., "questions": ..., "command": ...}, with what is new only; {} where nothing is.
    """
    ways = [list(w) for w in now["ways"] if list(w) not in [list(x) for x in before["ways"]]]
    known = {q[0] for q in _info(before).get("questions", ())}
    questions = [q for q in _info(now).get("questions", ()) if q[0] not in known]
    added = {k: v for k, v in (("ways", ways), ("questions", questions)) if v}
    command = " ".join(_info(now).get("commands", ()))
    return {**added, "command": command} if added and command else added


def merged(header: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """A header with what `more` found. Raises one of a few errors for another record."""
    info = dict(_info(header))
    if questions := added.get("questions"):
        info["questions"] = sorted([*info.get("questions", ()), *questions], key=lambda q: q[0])
        info["problems"] = max(int(info.get("problems", 0)), len(info["questions"]))
    if command := added.get("command"):
        info["commands"] = [*info.get("commands", ()), str(command)]
    if not readable(info):
        raise ValueError
    return {**header, "ways": [*header["ways"], *([str(n), str(t)] for n, t in added.get("ways", ()))], "info": info}


def readable(info: dict[str, Any]) -> bool:
    """Have the questions and commands of a header the form that a report is made from?"""
    questions, commands = info.get("questions", []), info.get("commands", [])
    if not isinstance(questions, list) or not isinstance(commands, list):
        return False
    forms = [isinstance(q, list) and len(q) == 3 and type(q[0]) is int and isinstance(q[2], list) for q in questions]
    return all(forms) and all(isinstance(c, str) for c in commands)


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first thing on which results depend and which two headers have differently, in words; "" if there is none."""
    for key in [k for k in {**now, **before} if k not in ("kind", "format", "info")]:
        a, b = before.get(key), now.get(key)
        if key == "ways":  # one that is not there yet is added
            texts = dict(a or ())
            for name, text in b or ():
                if texts.get(name, text) != text:
                    return f"the policy {name} was {texts[name]}, and is {text}"
        elif isinstance(a, dict) and isinstance(b, dict):
            hashed = key == "model" and a.get("sha256") and b.get("sha256")  # which says more than the name
            for k in [k for k in {**b, **a} if not (hashed and k == "name")]:
                if a.get(k) != b.get(k):
                    return f"{k if key == 'settings' else f'the {key}, {k},'} was {a.get(k)!r}, and is {b.get(k)!r}"
        elif a != b:
            return f"{key} was {a!r}, and is {b!r}"
    return ""


def _info(header: dict[str, Any]) -> dict[str, Any]:
    info = header.get("info", {})
    return info if isinstance(info, dict) else {}
