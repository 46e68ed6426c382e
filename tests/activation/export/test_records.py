"""What is in a record, to the byte (behaviour.md, "The record")."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries
from structlog.testing import capture_logs

from activation.export.records import Builder, Layout, Membership, Reader, Snapshot, Unsendable
from activation.models import Delivery, FailedExport, MappedSegment
from destinations.connectors.base import Record
from profiles.ingest import Fragment, ingest
from profiles.models import Profile, Segment
from tests.factories import (
    DataflowFactory,
    DestinationFactory,
    IdentityFactory,
    MembershipFactory,
    NamespaceFactory,
    ProfileFactory,
    SegmentFactory,
)

MADE = datetime(2020, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
EDITED = datetime(2020, 2, 3, tzinfo=UTC)
ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")


moments = st.datetimes(timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def written(moment: datetime) -> str:
    """As the databases write it: SQLite with a space and no zone, PostgreSQL with a T and +00:00."""
    moment = moment.astimezone(UTC)
    return str(moment.replace(tzinfo=None)) if moment.second % 2 else moment.isoformat()


def membership(
    segment_id: str, status: str = "existing", at: datetime = EDITED, name: str = "A segment"
) -> Membership:
    return Membership(segment_id, status, written(at), name, written(MADE), written(EDITED))


def snapshot(
    attributes: Mapping[str, Any] | None = None,
    identities: list[tuple[str, str]] | None = None,
    memberships: list[Membership] | None = None,
    version: int = 0,
) -> Snapshot:
    # In lower case, as the reader has the codes.
    lowered = [(code.lower(), value) for code, value in identities or []]
    return Snapshot(ID, json.dumps(attributes or {}), lowered, memberships or [], version)


def build(of: Snapshot, *paths: str, mandatory: tuple[str, ...] = (), **layout: Any) -> Record | Unsendable:
    attributes = [*((path, False) for path in paths), *((path, True) for path in mandatory)]
    return Builder(Layout(attributes=attributes, **layout)).build(of)


def data(of: Snapshot, *paths: str, **layout: Any) -> bytes:
    built = build(of, *paths, **layout)
    assert isinstance(built, Record), built
    return built.data


def attributes_in(of: Snapshot, *paths: str) -> Any:
    parsed = json.loads(data(of, *paths))
    assert list(parsed)[-2:] == ["segmentMembership", "identityMap"]
    del parsed["segmentMembership"], parsed["identityMap"]
    return parsed


def key(of: Snapshot, rule: str) -> str:
    built = build(of, partition_key=rule)
    assert isinstance(built, Record)
    return built.partition_key


def refused(of: Snapshot, *paths: str, **layout: Any) -> tuple[str, str]:
    built = build(of, *paths, **layout)
    assert isinstance(built, Unsendable), built
    return built.kind, built.code


# -- the shape ------------------------------------------------------------------------------------------------------


def test_the_record_of_the_documentation_to_the_byte() -> None:
    profile = snapshot(
        {"person": {"email": "yourstruly@adobe.con", "name": {"firstName": "not mapped"}}},
        [
            ("ECID", "66478888669296734530114754794777368480"),
            ("Email_LC_SHA256", "66baf76ef9de8b42df8903f00e0e3dc0b7"),
            ("ECID", "14575006536349286404619648085736425115"),
            ("Email_LC_SHA256", "655332b5fa2aea4498bf7a290cff017cb4"),
        ],
        [
            membership("7841ba61-23c1-4bb3-a495-00d3g5fe1e93", "exited", at("2020-05-25 21:24:39")),
            membership("59bd2fkd-3c48-4b18-bf56-4f5c5e6967ae", "existing", at("2020-05-25 23:37:33")),
        ],
    )
    assert data(profile, "person.email", "segmentMembership.status").decode() == (
        '{"person":{"email":"yourstruly@adobe.con"},'
        '"segmentMembership":{"ups":{'
        '"59bd2fkd-3c48-4b18-bf56-4f5c5e6967ae":'
        '{"lastQualificationTime":"2020-05-25T23:37:33Z","status":"existing"},'
        '"7841ba61-23c1-4bb3-a495-00d3g5fe1e93":'
        '{"lastQualificationTime":"2020-05-25T21:24:39Z","status":"exited"}}},'
        '"identityMap":{'
        '"ecid":[{"id":"14575006536349286404619648085736425115"},{"id":"66478888669296734530114754794777368480"}],'
        '"email_lc_sha256":[{"id":"655332b5fa2aea4498bf7a290cff017cb4"},{"id":"66baf76ef9de8b42df8903f00e0e3dc0b7"}]}}'
    )


def test_a_profile_of_which_nothing_is_known_has_a_record_too() -> None:
    assert data(snapshot(), "person.email") == b'{"segmentMembership":{"ups":{}},"identityMap":{}}'


PERSON = {
    "person": {"name": {"firstName": "Min-jun", "lastName": "Kim"}, "email": "kim@example.com"},
    "homeAddress": {"city": "Seoul", "geo": {"z": 1, "a": [{"y": 1, "b": 2}]}},
    "tags": ["b", "a"],
}


def test_attributes_stand_in_the_order_in_which_they_are_mapped() -> None:
    paths = ["tags", "person.email", "homeAddress.city", "person.name.lastName", "person.name.firstName"]
    assert data(snapshot(PERSON), *paths).startswith(
        b'{"tags":["b","a"],"person":{"email":"kim@example.com","name":{"lastName":"Kim","firstName":"Min-jun"}},'
        b'"homeAddress":{"city":"Seoul"},"segmentMembership"'
    )


def test_what_a_mapped_object_holds_goes_whole_and_sorted() -> None:
    assert data(snapshot(PERSON), "homeAddress").startswith(
        b'{"homeAddress":{"city":"Seoul","geo":{"a":[{"b":2,"y":1}],"z":1}},"segmentMembership"'
    )


@pytest.mark.parametrize("paths", [("person", "person.name.lastName"), ("person.name.lastName", "person")])
def test_a_path_below_another_mapped_one_is_part_of_it(paths: tuple[str, str]) -> None:
    assert attributes_in(snapshot(PERSON), *paths) == {"person": PERSON["person"]}


def test_building_changes_nothing_of_the_profile() -> None:
    before = json.dumps(PERSON)
    build(snapshot(PERSON), "person.name", "homeAddress", "homeAddress.geo.z")
    assert json.dumps(PERSON) == before


@pytest.mark.parametrize(
    "path", ["mobilePhone.number", "person.birthDate", "person.name.firstName.first", "tags.0", "nothing"]
)
def test_what_the_profile_does_not_have_is_not_there(path: str) -> None:
    attributes = {**PERSON, "nothing": None}
    assert attributes_in(snapshot(attributes), "person.email", path) == {
        "person": {"email": "kim@example.com"}
    }


@pytest.mark.parametrize("value", ["", 0, False, [], {}, [None, {"a": None}]])
def test_what_is_empty_is_there(value: Any) -> None:
    assert attributes_in(snapshot({"field": value}), "field") == {"field": value}


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
some_keys = st.sampled_from(["a", "b", "c", 'd"', "e\\", "_delivery", "identityMap", "키"])
values = st.recursive(
    scalars,
    lambda some: st.lists(some, max_size=2) | st.dictionaries(some_keys, some, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(some_keys, values),
    st.lists(st.lists(some_keys, min_size=1, max_size=3).map(".".join), unique=True, max_size=5),
    st.booleans(),
)
def test_structs_make_the_same_record_as_dictionaries(
    attributes: dict[str, Any], paths: list[str], told: bool
) -> None:
    layout = Layout([(path, False) for path in paths], delivery_of="a dataflow" if told else "")
    some = snapshot({**attributes, "only here": 1}, [("Email", "a")], [membership("s")])
    slow = Builder(layout)
    slow._picker = None
    with patch("activation.export.records.time.time", return_value=1):
        built, expected = Builder(layout).build(some), slow.build(some)
    assert built == expected
    assert isinstance(built, Record)
    assert_no_key_twice(built.data)


def assert_no_key_twice(data: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        assert len(dict(pairs)) == len(pairs), pairs

    json.loads(data, object_pairs_hook=check)


# -- memberships and identities -------------------------------------------------------------------------------------


def test_all_memberships_and_identities_are_there_in_an_order_of_their_own() -> None:
    memberships = [membership(name, status) for name in "cab" for status in ["realized"]]
    identities = [("Phone", "2"), ("ECID", "b"), ("Email", "z"), ("ECID", "a"), ("Phone", "10")]
    parsed = json.loads(data(snapshot({}, identities, memberships)))
    assert list(parsed["segmentMembership"]["ups"]) == ["a", "b", "c"]
    assert parsed["identityMap"] == {
        "ecid": [{"id": "a"}, {"id": "b"}],
        "email": [{"id": "z"}],
        "phone": [{"id": "10"}, {"id": "2"}],
    }
    assert list(parsed["identityMap"]) == ["ecid", "email", "phone"]


def test_segment_ids_and_identities_are_opaque() -> None:
    odd = ' 00 /"\\,🜁'
    parsed = json.loads(data(snapshot({}, [("CRMID", odd)], [membership(odd)])))
    assert list(parsed["segmentMembership"]["ups"]) == [odd]
    assert parsed["identityMap"] == {"crmid": [{"id": odd}]}


@pytest.mark.parametrize(
    "moment, text",
    [
        (datetime(2020, 5, 25, 21, 24, 39, tzinfo=UTC), "2020-05-25T21:24:39Z"),
        (datetime(2020, 5, 25, 21, 24, 39, 120_999, tzinfo=UTC), "2020-05-25T21:24:39.120Z"),
        (datetime(2020, 5, 25, 21, 24, 39, 999, tzinfo=UTC), "2020-05-25T21:24:39Z"),
        (datetime(2020, 5, 25, 21, 24, 40, 120_999, tzinfo=UTC), "2020-05-25T21:24:40.120Z"),
        (datetime(2020, 5, 25, 21, 24, 40, 5_000, tzinfo=UTC), "2020-05-25T21:24:40.005Z"),
        (datetime(2020, 5, 25, 21, 24, 40, 999, tzinfo=UTC), "2020-05-25T21:24:40Z"),
        (datetime(2020, 5, 25, 21, 24, 40, tzinfo=UTC), "2020-05-25T21:24:40Z"),
        (datetime(2020, 5, 26, 6, 24, 39, tzinfo=timezone(timedelta(hours=9))), "2020-05-25T21:24:39Z"),
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00Z"),
        (datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC), "9998-12-31T23:59:59Z"),
    ],
)
def test_moments_are_utc_with_milliseconds_where_there_are_any(moment: datetime, text: str) -> None:
    parsed = json.loads(data(snapshot({}, [], [membership("a", at=moment)])))
    assert parsed["segmentMembership"]["ups"]["a"]["lastQualificationTime"] == text


@pytest.mark.parametrize(
    "text, milliseconds",
    [
        ("2020-05-25T21:24:39.5+00:00", ".500"),
        ("2020-05-25T21:24:39.05+00:00", ".050"),
        ("2020-05-25T21:24:39.123456+00:00", ".123"),
        ("2020-05-25T21:24:39+00:00", ""),
        ("2020-05-25 21:24:39.500000", ".500"),
        ("2020-05-25 21:24:39", ""),
        ("2020-05-25 21:24:39.000999", ""),
    ],
)
def test_moments_are_read_in_the_words_of_each_database(text: str, milliseconds: str) -> None:
    profile = snapshot({}, [], [Membership("a", "existing", text, "", text, text)])
    [told] = json.loads(data(profile, include_timestamps=True))["segmentMembership"]["ups"].values()
    assert told["lastQualificationTime"] == f"2020-05-25T21:24:39{milliseconds}Z"
    assert told["createdAt"] == 1590441879000 + int(milliseconds[1:] or 0)


@given(moments)
def test_every_moment_that_a_database_keeps_is_told_to_the_millisecond(moment: datetime) -> None:
    profile = snapshot({}, [], [membership("a", at=moment)])
    [told] = json.loads(data(profile))["segmentMembership"]["ups"].values()
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert datetime.fromisoformat(told["lastQualificationTime"]) == cut


def test_names_and_timestamps_go_along_where_they_are_wanted() -> None:
    mapped_at = datetime(2020, 3, 4, 0, 0, 0, 1000, tzinfo=UTC)
    profile = snapshot({}, [], [membership("mapped", name="고객 “VIP”"), membership("other")])
    options = {"mapped_at": {"mapped": (mapped_at, EDITED), "another": (MADE, MADE)}}
    told = '"lastQualificationTime":"2020-02-03T00:00:00Z","status":"existing"'
    times = '"createdAt":1577934245678,"updatedAt":1580688000000'
    mapping = '"mappingCreatedAt":1583280000001,"mappingUpdatedAt":1580688000000'

    def ups(**options: Any) -> str:
        text = data(profile, **options).decode()
        return text.removeprefix('{"segmentMembership":{"ups":').removesuffix('},"identityMap":{}}')

    assert ups() == f'{{"mapped":{{{told}}},"other":{{{told}}}}}'
    assert ups(include_names=True) == (
        f'{{"mapped":{{{told},"name":"고객 “VIP”"}},"other":{{{told},"name":"A segment"}}}}'
    )
    assert ups(include_timestamps=True, **options) == (
        f'{{"mapped":{{{told},{times},{mapping}}},"other":{{{told},{times}}}}}'
    )
    assert ups(include_names=True, include_timestamps=True, **options).startswith(
        f'{{"mapped":{{{told},"name":"고객 “VIP”",{times},{mapping}}}'
    )


# -- odd values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "김민준", "👩‍👩‍👧", "\U0010ffff", "e\u0301 ≠ é", "\u202eright to left", "line\u2028separator", "\ufeff", "\x7f",
        "</script>&amp;", "null", '"\\/',
    ],
)  # fmt: skip
def test_text_goes_as_the_utf_8_that_it_is(text: str) -> None:
    raw = data(snapshot({"field": text}), "field")
    assert json.loads(raw)["field"] == text
    assert text.replace("\\", "\\\\").replace('"', '\\"').encode() in raw


def test_control_characters_are_escaped() -> None:
    raw = data(snapshot({"field": "".join(map(chr, range(32)))}), "field")
    assert raw.startswith(rb'{"field":"\u0000\u0001')
    assert not set(raw) & set(range(32))


@pytest.mark.parametrize(
    "number, text",
    [
        (2**63 - 1, "9223372036854775807"),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (10**4000, "1" + "0" * 4000),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (5e-324, "5e-324"),
        (1.0, "1.0"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_numbers_keep_every_digit(number: float, text: str) -> None:
    assert data(snapshot({"field": number}), "field").startswith(f'{{"field":{text},"segment'.encode())


def test_a_number_beyond_64_bits_changes_nothing_else_in_its_record() -> None:
    attributes = {"a": {"z": 0.1, "text": "\x00\x1f\x7f\u2028é/"}, "b": [True, None, "null"], "n": 1}
    small = data(snapshot(attributes), "a", "b", "n")
    huge = data(snapshot({**attributes, "n": 2**70}), "a", "b", "n")
    assert huge == small.replace(b'"n":1,', f'"n":{2**70},'.encode())


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [lambda n: n, lambda n: [1, {"a": n}]], ids=["itself", "deep inside"])
def test_a_number_that_json_does_not_have_is_a_dead_letter(number: float, place: Any) -> None:
    assert refused(snapshot({"field": place(number)}), "field") == ("failed", "InvalidNumber")
    assert attributes_in(snapshot({"field": place(number)}), "other") == {}


HALF = "half \ud800 a pair"


@pytest.mark.parametrize(
    "profile",
    [
        snapshot({"field": HALF}),
        snapshot({"field": {HALF: 1}}),
        snapshot({"field": [None, {"a": HALF}]}),
        snapshot({}, [("Email", HALF)]),
        snapshot({}, [], [membership(HALF)]),
        snapshot({}, [], [membership("a", name=HALF)]),
    ],
    ids=["value", "key", "in a list", "identity", "segment id", "segment name"],
)
def test_half_of_a_surrogate_pair_is_a_dead_letter(profile: Snapshot) -> None:
    assert refused(profile, "field", include_names=True) == ("failed", "InvalidUnicode")
    assert attributes_in(snapshot({"field": HALF}), "other") == {}


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize("depth", [1, 100, 253, 254, 300])
def test_deep_nesting_goes_as_it_is(depth: int) -> None:
    deep = nested(depth)
    assert attributes_in(snapshot({"field": deep}), "field") == {"field": deep}


def test_nesting_that_no_json_parser_takes_is_a_dead_letter() -> None:
    text = f'{{"field":{"[" * 100_000}{"]" * 100_000}}}'
    assert refused(Snapshot(ID, text), "field") == ("failed", "TooDeep")


def test_a_defect_of_ours_costs_one_record_and_shows_nothing_of_the_profile() -> None:
    with capture_logs() as logs:
        no_json: Any = {("secret value",): 1}
        built = build(snapshot({}, [("Email", no_json)]))
    assert isinstance(built, Unsendable)
    assert (built.kind, built.code) == ("failed", "InternalError")
    assert [(entry["event"], entry["profile_id"]) for entry in logs] == [("record_not_built", str(ID))]
    assert "secret" not in f"{built} {logs}"


# -- mandatory ------------------------------------------------------------------------------------------------------


def test_who_lacks_a_mandatory_attribute_is_excluded_and_told_which() -> None:
    built = build(snapshot({"a": 1, "b": {"c": None}}), "z", mandatory=("a", "b.c", "d", "a.b"))
    assert built == Unsendable(
        FailedExport.Kind.EXCLUDED,
        "MandatoryAttributeMissing",
        "Mandatory but not there: b.c, d, a.b",
    )


@pytest.mark.parametrize("value", ["", 0, False, [], {}, "x"])
def test_a_mandatory_attribute_that_is_empty_is_there(value: Any) -> None:
    assert isinstance(build(snapshot({"a": {"b": value}}), mandatory=("a.b",)), Record)


def test_memberships_and_identities_can_be_mandatory() -> None:
    mandatory = ("segmentMembership.status", "identityMap")
    assert refused(snapshot({}, [("ECID", "1")]), mandatory=mandatory)[0] == "excluded"
    assert refused(snapshot({}, [], [membership("a")]), mandatory=mandatory)[0] == "excluded"
    assert isinstance(build(snapshot({}, [("ECID", "1")], [membership("a")]), mandatory=mandatory), Record)


# -- partition key --------------------------------------------------------------------------------------------------

KNOWN = snapshot(
    {"loyalty": {"id": "L-1", "level": 3, "share": 0.5, "vip": True, "tags": ["a"], "none": "", "long": "가" * 257}},
    [("CRMID", "C-2"), ("CRMID", "C-1"), ("ECID", "9" * 38), ("Phone", "가" * 256)],
)  # fmt: skip


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("profile", str(ID)),
        ("identity:CRMID", "C-1"),
        ("identity:crmid", "C-1"),
        ("identity:Phone", "가" * 256),
        ("identity:Email", str(ID)),
        ("attribute:loyalty.id", "L-1"),
        ("attribute:loyalty.level", "3"),
        ("attribute:loyalty.share", "0.5"),
        ("attribute:loyalty.vip", "true"),
        ("attribute:loyalty.tags", str(ID)),
        ("attribute:loyalty.none", str(ID)),
        ("attribute:loyalty.nothing", str(ID)),
        ("attribute:loyalty", str(ID)),
        ("attribute:loyalty.long", hashlib.sha256(("가" * 257).encode()).hexdigest()),
    ],
)
def test_the_partition_key_follows_the_rule_of_the_destination(rule: str, expected: str) -> None:
    assert key(KNOWN, rule) == expected


# -- the delivery ---------------------------------------------------------------------------------------------------


def test_the_delivery_is_told_of_where_it_is_wanted() -> None:
    before = time.time()
    built = Builder(Layout([], delivery_of="a dataflow")).build(snapshot(version=4), reason="identity")
    assert isinstance(built, Record)
    parsed = json.loads(built.data)
    assert list(parsed) == ["segmentMembership", "identityMap", "_delivery"]
    assert math.floor(before * 1000) <= parsed["_delivery"].pop("exportedAt") <= time.time() * 1000
    assert parsed["_delivery"] == {
        "dataflowId": "a dataflow",
        "profileId": str(ID),
        "version": 5,
        "reason": "identity",
    }
    assert "_delivery" not in json.loads(data(snapshot(version=4)))


# -- the same every time --------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
stored_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts.map(lambda text: text.replace("\x00", "")),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=20,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def shuffled(value: Any) -> Any:
    """The same, its objects' members in another order."""
    if isinstance(value, dict):
        items = [(name, shuffled(inner)) for name, inner in value.items()]
        random.shuffle(items)
        return dict(items)
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(
    st.dictionaries(texts, values, max_size=4), st.lists(st.tuples(st.sampled_from(["ECID", "Email"]), texts))
)
def test_a_record_is_valid_json_says_what_the_profile_says_and_does_not_depend_on_any_order(
    field: dict[str, Any], identities: list[tuple[str, str]]
) -> None:
    memberships = [membership(name) for name in ("b", "a", "c")]
    raw = data(snapshot({"field": field}, identities, memberships), "field")
    parsed = json.loads(raw.decode())
    assert parsed["field"] == field
    assert sum(map(len, parsed["identityMap"].values())) == len(identities)
    other = snapshot(shuffled({"x": 1, "field": field}), identities[::-1], memberships[::-1])
    assert data(other, "field") == raw


# -- from the database ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_stored_profile_has_the_same_bytes_on_every_database() -> None:
    namespaces = [NamespaceFactory.create(code=code) for code in ("ECID", "Email")]
    SegmentFactory.create(id="VIP", name="Very important")
    qualified = datetime(2026, 11, 20, 12, 30, tzinfo=timezone(timedelta(hours=9)))
    [outcome] = ingest(
        [
            Fragment(
                identities=[(namespace.code, f"{n}") for n in (2, 1) for namespace in namespaces],
                attributes={
                    "person": {"name": {"zeta": "김", "alpha": "👩‍👩‍👧\u2028"}},
                    "_ours": {"big": 2**70, "small": 0.1, "list": [1, None, {"b": True, "a": []}], "text": "\x01\x1f"},
                },
                memberships={"VIP": ("realized", qualified), "0-new": ("exited", qualified)},
            )
        ]
    )  # fmt: skip
    assert outcome.profile_id
    read = Reader().read([outcome.profile_id])[outcome.profile_id]
    assert data(read, "_ours", "person.name", include_names=True).decode() == (
        '{"_ours":{"big":1180591620717411303424,"list":[1,null,{"a":[],"b":true}],"small":0.1,"text":"\\u0001\\u001f"},'
        '"person":{"name":{"alpha":"👩‍👩‍👧\u2028","zeta":"김"}},'
        '"segmentMembership":{"ups":{'
        '"0-new":{"lastQualificationTime":"2026-11-20T03:30:00Z","status":"exited","name":"0-new"},'
        '"VIP":{"lastQualificationTime":"2026-11-20T03:30:00Z","status":"realized","name":"Very important"}}},'
        '"identityMap":{"ecid":[{"id":"1"},{"id":"2"}],"email":[{"id":"1"},{"id":"2"}]}}'
    )


@pytest.mark.django_db
def test_profiles_are_read_in_one_query_each_with_what_is_its_own(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    profiles = ProfileFactory.create_batch(5)
    for number, profile in enumerate(profiles):
        IdentityFactory.create(profile=profile, value=f"{number}")
        MembershipFactory.create(profile=profile, segment=SegmentFactory.create(id=f"s{number}"))
    bare, gone = ProfileFactory.create(attributes={}), uuid.uuid4()
    reader = Reader()
    with django_assert_num_queries(1):
        read = reader.read([*(profile.pk for profile in profiles), bare.pk, gone])
    assert read.keys() == {profile.pk for profile in [*profiles, bare]}
    assert read[bare.pk] == Snapshot(bare.pk, "{}", [], [])
    for number, profile in enumerate(profiles):
        assert read[profile.pk].identities == [("email", f"{number}")]
        assert [m.segment_id for m in read[profile.pk].memberships] == [f"s{number}"]
        assert read[profile.pk].version == 0


@pytest.mark.django_db
def test_versions_are_those_of_the_dataflow_that_asks() -> None:
    profile, other = ProfileFactory.create_batch(2)
    mine, theirs = DataflowFactory.create_batch(2)
    for dataflow, version in [(mine, 7), (theirs, 9)]:
        Delivery.objects.create(
            dataflow=dataflow,
            profile=profile,
            version=version,
            delivered_at=MADE,
            reason="backfill",
            shard="",
            sequence_number="",
        )
    read = Reader(dataflow_id=mine.pk).read([profile.pk, other.pk])
    assert (read[profile.pk].version, read[other.pk].version) == (7, 0)
    assert Reader().read([profile.pk])[profile.pk].version == 0


@pytest.mark.django_db
def test_groups_of_attributes_that_no_record_has_are_left_out_once_they_were_seen(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    attributes = {"person": {"gender": "female"}, "note": "x" * 100, 'a "quoted" key': 1}
    profile = ProfileFactory.create(attributes=attributes)
    layout = Layout([("person.gender", False)], partition_key="attribute:loyalty.tier")
    reader = Reader(groups=layout.groups)
    with django_assert_num_queries(2):
        first, second = (reader.read([profile.pk])[profile.pk].attributes for _ in range(2))
    assert first == attributes
    # SQLite would take longer to leave them out.
    assert second == ({"person": {"gender": "female"}} if connection.vendor == "postgresql" else attributes)
    Profile.objects.update(attributes={"loyalty": {"tier": "gold"}, "note": "y"})
    read = reader.read([profile.pk])[profile.pk]
    assert Builder(layout).build(read) == Record("gold", b'{"segmentMembership":{"ups":{}},"identityMap":{}}')


@pytest.mark.django_db
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30, 0.1, -0.0, 9007199254740993])
def test_numbers_are_sent_as_they_are_stored(number: float) -> None:
    profile = ProfileFactory.create(attributes={"numbers": [number, {"a": number}]})
    read = Reader().read([profile.pk])[profile.pk]
    assert json.loads(data(read, "numbers"))["numbers"] == [number, {"a": number}]


# Through the database: PostgreSQL's own text for times, SQLite's for identifiers and JSON.
@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(texts.map(lambda text: text.replace("\x00", "")), stored_values, max_size=4),
    moments,
    texts.filter(lambda text: text and "\x00" not in text),
)
@pytest.mark.django_db
def test_what_is_stored_is_what_is_sent(attributes: dict[str, Any], moment: datetime, text: str) -> None:
    Profile.objects.all().delete()
    Segment.objects.all().delete()
    profile = ProfileFactory.create(attributes=attributes)
    MembershipFactory.create(
        profile=profile,
        segment=SegmentFactory.create(id="s", name=text, created_at=moment),
        last_qualification_time=moment,
    )
    IdentityFactory.create(profile=profile, value=text)
    read = Reader().read([profile.pk])[profile.pk]
    assert read.attributes == attributes
    assert read.identities == [("email", text)]
    [stored] = read.memberships
    assert (stored.segment_id, stored.name) == ("s", text)
    [told] = json.loads(data(read, include_timestamps=True))["segmentMembership"]["ups"].values()
    assert told["createdAt"] == math.floor(moment.timestamp() * 1000)
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert datetime.fromisoformat(told["lastQualificationTime"]) == cut


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", [True, False])
def test_the_layout_names_the_dataflow_where_records_tell_of_their_delivery(wanted: bool) -> None:
    dataflow = DataflowFactory.create(destination=DestinationFactory.create(include_delivery=wanted))
    assert Layout.of(dataflow).delivery_of == (str(dataflow.pk) if wanted else "")


@pytest.mark.django_db
def test_the_layout_is_what_the_dataflow_and_its_destination_say(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    segment = SegmentFactory.create()
    destination = DestinationFactory.create(
        partition_key="identity:CRMID", include_segment_names=True, include_segment_timestamps=True
    )
    dataflow = DataflowFactory.create(
        destination=destination,
        segments=[segment],
        attributes=["tags", "person.name.lastName", "loyalty.points"],
    )
    dataflow.mapped_attributes.filter(position=1).update(mandatory=True)
    dataflow.mapped_attributes.filter(position=0).update(position=9)
    mapped = MappedSegment.objects.get()
    with django_assert_max_num_queries(2):
        layout = Layout.of(dataflow)
    assert layout == Layout(
        attributes=[("person.name.lastName", True), ("loyalty.points", False), ("tags", False)],
        partition_key="identity:CRMID",
        include_names=True,
        include_timestamps=True,
        mapped_at={segment.pk: (mapped.created_at, mapped.updated_at)},
    )


# -- hashed attributes ---------------------------------------------------------------------------------------------


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_hashed_attribute_is_the_same_however_it_was_typed() -> None:
    for typed in ("Kim@Example.com", " kim@example.com\n", "KIM@EXAMPLE.COM"):
        of = snapshot({"personalEmail": {"address": typed}, "age": 41})
        layout = Layout([("personalEmail.address", True), ("age", False)], hashed=["personalEmail.address"])
        built = Builder(layout).build(of)
        assert isinstance(built, Record)
        assert json.loads(built.data)["personalEmail"] == {"address": sha256("kim@example.com")}
        assert json.loads(built.data)["age"] == 41
        assert of.attributes["personalEmail"]["address"] == typed  # others build of the same snapshot


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("e\u0301te\u0301", sha256("été")),
        (41, sha256("41")),
        (True, sha256("true")),
        (["a", None, {"b": 1}], [sha256("a"), None, {"b": sha256("1")}]),
    ],
)
def test_every_kind_of_value_is_hashed(value: Any, expected: Any) -> None:
    built = Builder(Layout([("x", False)], hashed=["x"])).build(snapshot({"x": value}))
    assert isinstance(built, Record) and json.loads(built.data)["x"] == expected


def test_a_hashed_attribute_is_nowhere_in_the_record_as_it_is() -> None:
    """Not inside of a mapped group above it, and not as the partition key."""
    of = snapshot({"_ours": {"card": "4711", "city": "Seoul"}})
    layout = Layout(
        [("_ours", False), ("_ours.card", False), ("_ours.none", False)],
        hashed=["_ours.card", "_ours.none"],
        partition_key="attribute:_ours.card",
    )
    built = Builder(layout).build(of)
    assert isinstance(built, Record)
    assert json.loads(built.data)["_ours"] == {"card": sha256("4711"), "city": "Seoul"}
    assert built.partition_key == sha256("4711")
    assert of.attributes["_ours"]["card"] == "4711"
