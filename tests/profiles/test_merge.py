"""The merge, by properties."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from profiles.merge import Dated, Moments, difference, forget, merge, same, unite

keys = st.sampled_from(["a", "b", "c"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
patches = st.dictionaries(keys, values, max_size=3)


def without_nulls(value: Any) -> Any:
    """What a profile can hold: nulls only inside arrays."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


trees = patches.map(without_nulls)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, literally."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def pruned(value: Any) -> Any:
    """Without objects that are empty: whether removing leaves one behind is not the question here."""
    if isinstance(value, dict):
        inner = {key: pruned(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item != {}}
    return value


def at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


@given(trees, patches)
def test_merging_is_json_merge_patch(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = copy.deepcopy(tree)
    merge(merged, patch)
    assert same(pruned(merged), pruned(merge_patch(tree, patch)))


@given(trees, patches)
def test_merging_twice_is_merging_once(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    once = copy.deepcopy(tree)
    merge(once, patch)
    twice = copy.deepcopy(once)
    assert merge(twice, patch, skip_unchanged=True) == set()
    assert same(once, twice)


@given(trees, patches)
def test_whatever_differs_afterwards_was_told(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = copy.deepcopy(tree)
    written = merge(merged, patch)
    for path in ("a", "a.b", "a.b.c", "b", "c", "c.a"):
        if not same(at(tree, path), at(merged, path)):
            assert any(
                path == told or path.startswith(f"{told}.") or told.startswith(f"{path}.") for told in written
            ), (path, written)


@given(trees, patches)
def test_only_what_is_named_is_told(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    assert {path.split(".")[0] for path in merge(copy.deepcopy(tree), patch)} <= patch.keys()


@given(trees, patches)
def test_the_patch_is_neither_changed_nor_shared(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy(patch)
    merge(tree, patch)
    merge(tree, {"a": {"a": {"a": 1}}, "b": {"b": 1}})
    assert same(patch, before)


@given(trees, trees)
def test_a_difference_leads_from_one_tree_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    merged = copy.deepcopy(old)
    merge(merged, difference(old, new))
    assert same(merged, new)
    assert difference(new, new) == {}


def test_true_is_not_one() -> None:
    assert not same({"a": True}, {"a": 1})
    assert same({"a": 1.0}, {"a": 1})


def test_a_removed_object_is_told_by_its_own_path() -> None:
    tree = {"person": {"name": {"firstName": "Ada"}}}
    assert merge(tree, {"person": {"name": None, "email": None}}) == {"person.name"}
    assert tree == {"person": {}}


def test_an_object_in_the_place_of_a_value_tells_both() -> None:
    assert merge({"a": 1}, {"a": {"b": 2}}) == {"a", "a.b"}
    assert merge({"a": {"b": 2}}, {"a": 1}) == {"a"}


def test_a_map_is_told_as_one_leaf() -> None:
    tree: dict[str, Any] = {"m": {"x": 1}}
    assert merge(tree, {"m": {"y": 2}}, map_paths={"m"}) == {"m"}
    assert tree == {"m": {"x": 1, "y": 2}}


# --- What was written last


def effective(tree: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """A patch without what no moment is noted for: nulls that remove nothing, and objects without members."""
    there = tree if isinstance(tree, dict) else {}
    kept = {}
    for key, value in patch.items():
        if isinstance(value, dict):
            if inner := effective(there.get(key), value):
                kept[key] = inner
        elif value is not None or key in there:
            kept[key] = value
    return kept


def write(dated: Dated, patch: dict[str, Any], at: int) -> None:
    merge(dated.attributes, patch, moments=dated.moments, at=at)
    forget(dated.moments)


@given(st.lists(st.tuples(st.booleans(), patches), max_size=12))
def test_two_profiles_united_hold_what_one_would(writings: list[tuple[bool, dict[str, Any]]]) -> None:
    sides = (Dated({}, {}, 0), Dated({}, {}, 0))
    one: dict[str, Any] = {}
    for at, (side, patch) in enumerate(writings, start=1):
        told = effective(sides[side].attributes, patch)
        write(sides[side], told, at)
        merge(one, told)
    united, moments = unite(*sides)
    assert same(pruned(united), pruned(one))
    again, moments_again = unite(Dated(united, moments, 0), Dated({}, {}, 0))
    assert same(again, united)
    assert moments_again == moments


@given(trees, trees)
def test_what_has_no_moment_is_as_old_as_its_profile(old: dict[str, Any], new: dict[str, Any]) -> None:
    expected = copy.deepcopy(old)
    merge(expected, new)
    for kept, other in ((Dated(old, {}, 1), Dated(new, {}, 2)), (Dated(new, {}, 2), Dated(old, {}, 1))):
        united, _moments = unite(kept, other)
        assert same(pruned(united), pruned(expected))


def test_of_two_values_in_one_moment_the_later_place_and_then_the_profile_that_stays_wins() -> None:
    kept = Dated({"a": "kept", "b": "kept"}, {"a": 5, "b": 5}, 0, {"a": 1})
    other = Dated({"a": "other", "b": "other"}, {"a": 5, "b": 5}, 0, {"a": 2})
    assert unite(kept, other)[0] == {"a": "other", "b": "kept"}


def test_maps_of_both_are_joined() -> None:
    kept, other = Dated({"m": {"x": 1, "a.b": 1}}, {"m": 1}, 0), Dated({"m": {"x": 2}}, {"m": 2}, 0)
    assert unite(kept, other, {"m"}) == ({"m": {"x": 2, "a.b": 1}}, {"m": 2})


def test_what_goes_with_an_object_leaves_one_trace() -> None:
    tree = {"a": {"b": 1, "c": {"d": 1}}, "ab": 1}
    moments: Moments = {"a.b": 1, "a.c.d": 2, "ab": 3}
    merge(tree, {"a": None}, moments=moments, at=4)
    forget(moments)
    assert moments == {"a": 4, "ab": 3}
