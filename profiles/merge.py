"""Trees of attributes: a patch merged into one, and two of one customer united by what was written last.

A path is the keys to a leaf with dots between: ``person.name.firstName``. An array is one leaf, and so is a map.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeAlias

Moments: TypeAlias = dict[str, int]  # path → when it was last written, in milliseconds since 1970


_PLAIN = frozenset((str, int, float, bool, type(None)))  # of two of the same type, == says it


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same value. Unlike with ``==``, true is not 1.

    1.0 and 1 are the same number; so are 1e308 and the integer of 309 digits that PostgreSQL stores for it.
    """
    if type(a) is type(b) and type(a) in _PLAIN:
        return bool(a == b)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if {type(a), type(b)} == {int, float}:
        try:
            return float(a) == float(b)
        except OverflowError:
            return False
    return bool(a == b)


def merge(
    target: dict[str, Any],
    patch: Mapping[str, Any],
    *,
    skip_unchanged: bool = False,
    map_paths: Collection[str] = (),
    moments: Moments | None = None,
    at: int = 0,
) -> set[str]:
    """Deep merge ``patch`` into ``target``, in place: objects merge, null removes, everything else replaces.

    Args:
        target: the attributes of a profile.
        patch: what is written; not changed, and shares nothing with ``target`` afterwards.
        skip_unchanged: leave out of the result what was so already.
        map_paths: paths of maps: they merge like objects, and are told as one leaf.
        moments: where to note that paths were written, or removed, at the millisecond ``at``. Objects are not noted:
            they merge with what stands there, and what is in them is noted by itself.

    Returns:
        The written paths, as :class:`profiles.signals.ProfileChange` tells them.
    """
    written: set[str] = set()
    objects: set[str] = set()
    _merge(target, patch, "", written, objects, skip_unchanged, map_paths)
    if moments is not None:
        moments.update(dict.fromkeys(written - objects, at))
    return written


def _merge(
    target: dict[str, Any],
    patch: Mapping[str, Any],
    prefix: str,
    written: set[str],
    objects: set[str],
    skip_unchanged: bool,
    map_paths: Collection[str],
) -> None:
    for key, value in patch.items():
        old = target.get(key)
        if isinstance(value, dict):
            path = prefix + key
            branch = old if isinstance(old, dict) else {}
            inner: set[str] = set()
            _merge(branch, value, f"{path}.", inner, objects, skip_unchanged, map_paths)
            if branch is not old and (old is not None or inner or not value):
                # Something else stood here, or nothing. An object that came without members is a leaf of its own; one
                # that only removes leaves no trace where there was nothing.
                target[key] = branch
                if old is not None or not inner:
                    written.add(path)
                    objects.add(path)
            if inner and path in map_paths:
                written.add(path)
                objects.discard(path)
            else:
                written |= inner
        elif value is None:
            if target.pop(key, None) is not None:
                written.add(prefix + key)
        elif not skip_unchanged or old is None or not same(old, value):
            target[key] = _copy(value) if isinstance(value, list) else value
            written.add(prefix + key)


def _copy(value: Any) -> Any:
    # Nulls inside an array stand for themselves: an array is replaced as it is.
    if isinstance(value, list):
        return [_copy(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return value


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest patch that :func:`merge` turns ``old`` into ``new`` with; for a form that shows the whole tree.

    Nulls in ``new`` mean what they mean everywhere: not there.
    """
    patch: dict[str, Any] = {key: None for key in old if new.get(key) is None}
    for key, value in new.items():
        before = old.get(key)
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            inner = difference(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or not same(before, value):
            patch[key] = value
    return patch


# --- When each path was written ------------------------------------------------------------------------------------


def ancestors(path: str) -> Iterator[str]:
    """The paths above one, from the nearest: ``a.b``, ``a`` for ``a.b.c``."""
    at = path.rfind(".")
    while at > 0:
        yield path[:at]
        at = path.rfind(".", 0, at)


def forget(moments: Moments) -> None:
    """Drop what was noted below a path that was written later: it went with what stood there."""
    above: set[str] = set()
    for path in moments:
        parent = path.rpartition(".")[0]
        while parent and parent not in above:
            above.add(parent)
            parent = parent.rpartition(".")[0]
    if above.isdisjoint(moments):
        return
    for path, moment in list(moments.items()):
        if any(moments.get(ancestor, moment) > moment for ancestor in ancestors(path)):
            del moments[path]


@dataclass(frozen=True, slots=True)
class Dated:
    """Attributes, and when each was written.

    Args:
        attributes: the tree.
        moments: of its leaves, and of paths that were removed.
        since: for leaves that have no moment, in milliseconds.
        places: tells writings of the same millisecond apart: the later one has the greater number.
    """

    attributes: dict[str, Any]
    moments: Moments
    since: int
    places: Mapping[str, int] = field(default_factory=dict)


def unite(kept: Dated, other: Dated, map_paths: Collection[str] = ()) -> tuple[dict[str, Any], Moments]:
    """What one profile would hold if everything that was written to two had been written to it.

    The last writings of both are merged anew, in the order in which they came; a removal is one, too. Of two that came
    at once that of ``kept`` wins.

    Returns:
        A new tree, and its moments.
    """
    writings: list[tuple[tuple[int, int, int, int], dict[str, Any]]] = []
    for side, dated in enumerate((other, kept)):
        gone = set(dated.moments)
        last: list[tuple[str, tuple[str, ...], Any]] = []
        for path, keys, value in _leaves(dated.attributes, map_paths):
            last.append((path, keys, value))
            gone.discard(path)
        last += [(path, tuple(path.split(".")), None) for path in gone]
        for path, keys, patch in last:
            for key in reversed(keys):
                patch = {key: patch}
            moment, place = dated.moments.get(path, dated.since), dated.places.get(path, -1)
            # What is above goes first: it may be what stood there before.
            writings.append(((moment, place, len(keys), side), patch))
    attributes: dict[str, Any] = {}
    for _when, patch in sorted(writings, key=itemgetter(0)):
        merge(attributes, patch, map_paths=map_paths)

    moments = dict(other.moments)
    for path, moment in kept.moments.items():
        moments[path] = max(moment, moments.get(path, moment))
    forget(moments)
    return attributes, moments


def _leaves(
    tree: Mapping[str, Any], map_paths: Collection[str], above: tuple[str, ...] = (), prefix: str = ""
) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Path, keys and value of every leaf."""
    for key, value in tree.items():
        path, keys = prefix + key, (*above, key)
        if isinstance(value, dict) and value and path not in map_paths:
            yield from _leaves(value, map_paths, keys, f"{path}.")
        else:
            yield path, keys, value
