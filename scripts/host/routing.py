"""Finds the function that a path and a method lead to, as the Functions host does."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import StartError
from .indexing import Function

_PARAMETER = re.compile(r"\{(?P<all>\*?)(?P<name>\w+)(?P<constraint>:int)?(?P<optional>\??)\}")
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")


@dataclass(frozen=True)
class Segment:
    """One piece of a route between slashes: a literal in lower case, or a parameter."""

    literal: str | None = None
    parameter: str = ""
    integer: bool = False
    optional: bool = False
    catch_all: bool = False


@dataclass(frozen=True)
class Route:
    function: Function
    segments: Sequence[Segment]

    def match(self, path: str, pieces: Sequence[str]) -> dict[str, str] | None:
        """The route's parameters if the path is one of its own; what an optional one did not get is left out."""
        values: dict[str, str] = {}
        for index, piece in enumerate(pieces):
            if index >= len(self.segments) or not piece:
                return None
            segment = self.segments[index]
            if segment.catch_all:
                values[segment.parameter] = path.split("/", index + 1)[index + 1]
                return values
            if segment.literal is not None:
                if segment.literal != piece.lower():
                    return None
            elif segment.integer and not _is_int32(piece):
                return None
            else:
                values[segment.parameter] = piece
        rest = self.segments[len(pieces) :]
        return values if all(segment.optional or segment.catch_all for segment in rest) else None


class Router:
    """Routes in the order of their functions' names, case ignored: the first that matches wins."""

    def __init__(self, functions: Iterable[Function], prefix: str) -> None:
        self._depth = len(_split(prefix))
        self._routes = [
            Route(function, _parse(function.name, f"{prefix}/{function.route}"))
            for function in sorted(functions, key=lambda function: function.name.lower())
            if function.is_http
        ]
        # An app has dozens of routes and most begin with a literal: look only at those that can match.
        firsts = {self._first(route) for route in self._routes} - {None}
        self._by_first = {
            first: [route for route in self._routes if self._first(route) in (first, None)] for first in firsts
        }
        self._others = [route for route in self._routes if self._first(route) is None]
        self.find = lru_cache(maxsize=1024)(self._find)

    def _find(self, method: str, path: str) -> tuple[Function, dict[str, str]] | None:
        pieces = path[1:].split("/")
        if pieces[-1] == "":
            pieces.pop()
        first = pieces[self._depth].lower() if len(pieces) > self._depth else None
        for route in self._by_first.get(first, self._others) if first is not None else self._routes:
            if route.function.methods is None or method in route.function.methods:
                values = route.match(path, pieces)
                if values is not None:
                    return route.function, values
        return None

    def _first(self, route: Route) -> str | None:
        return route.segments[self._depth].literal if len(route.segments) > self._depth else None


def _split(route: str) -> list[str]:
    return [piece for piece in route.split("/") if piece]


def _parse(function: str, route: str) -> list[Segment]:
    segments: list[Segment] = []
    for piece in _split(route):
        match = _PARAMETER.fullmatch(piece)
        if match:
            segment = Segment(
                parameter=match["name"],
                integer=bool(match["constraint"]),
                optional=bool(match["optional"]),
                catch_all=bool(match["all"]),
            )
        elif "{" in piece or "}" in piece:
            raise StartError(f"{function}: the local host does not know the route segment {piece!r}")
        else:
            segment = Segment(literal=piece.lower())
        if segments and segments[-1].catch_all:
            raise StartError(f"{function}: a catch-all parameter can only be the last of a route")
        segments.append(segment)
    return segments


def _is_int32(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text)) and -(2**31) <= int(text) < 2**31
