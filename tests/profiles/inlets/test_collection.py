"""The HTTP API that producers post to: its answers are those of AEP's streaming ingestion."""

from __future__ import annotations

import gzip
import json
import threading
import time
import tracemalloc
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from profiles.inlets import collection, intake, services
from profiles.models import (
    Identity,
    Inlet,
    InletHour,
    InletSample,
    Profile,
    ReceivedMessage,
    SegmentMembership,
)
from profiles.signals import ProfileChange, profiles_changed
from profiles.tasks import forget_messages
from tests.profiles.inlets.conftest import Answer, Producer, entity

pytestmark = pytest.mark.django_db

Announced = list[list[ProfileChange]]
SYNC = "?syncValidation=true"


def refused(answer: Answer, status: int, words: str = "") -> None:
    """An error as documented, with these words in its detail."""
    assert answer.status == answer.body["status"] == status
    assert set(answer.body) == {"type", "status", "title", "detail", "report"}
    assert words in answer.detail
    assert answer.headers["Content-Type"] == "application/problem+json"


def counts(inlet: Inlet) -> dict[str, int]:
    names = ("accepted", "repeated", "rejected", "unlinked")
    hours = InletHour.objects.filter(inlet=inlet)  # two, if one begins just now
    return {name: sum(getattr(hour, name) for hour in hours) for name in names}


# --- One message


def test_a_message_goes_in_and_its_receipt_is_as_documented(inlet: Inlet, producer: Producer) -> None:
    before = int(time.time() * 1000)
    answer = producer.message(entity(person={"name": {"firstName": "Ada"}}))
    assert answer.status == 200
    assert set(answer.body) == {"inletId", "xactionId", "receivedTimeMs"}
    assert answer.body["inletId"] == inlet.pk
    assert before <= answer.body["receivedTimeMs"] <= int(time.time() * 1000)
    assert Profile.objects.get().attributes == {"person": {"name": {"firstName": "Ada"}}}
    assert Identity.objects.get().value == "a@example.com"


def test_with_sync_validation_the_answer_says_that_it_passed(producer: Producer) -> None:
    answer = producer.message(entity(), query=SYNC)
    assert answer.body["syncValidation"] == {"status": "pass"}


def test_the_message_of_the_documentation_goes_in(producer: Producer) -> None:
    meta = {
        "id": "https://ns.adobe.com/TENANT/schemas/ID",
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    answer = producer.message(
        {
            "header": {
                "schemaRef": meta, "imsOrgId": "ORG", "datasetId": "ID",
                "source": {"name": "…"}, "createdAt": 1526283801869,
            },
            "body": {
                "xdmMeta": {"schemaRef": meta},
                "xdmEntity": {
                    "_id": "…", "person": {"name": {"firstName": "…"}}, "personalEmail": {"address": "…"},
                    "identityMap": {"ECID": [{"id": "1", "primary": True}], "Email": [{"id": "a"}]},
                    "segmentMembership": {"ups": {"s": {"status": "realized"}}},
                },
            },
        }
    )  # fmt: skip
    assert answer.status == 200
    assert Identity.objects.count() == 2
    assert SegmentMembership.objects.get().segment_id == "s"


def test_if_the_database_fails_nothing_went_in_and_the_producer_is_told_to_try_again(
    producer: Producer,
) -> None:
    def fail(**_kwargs: Any) -> None:
        raise OperationalError("gone")

    profiles_changed.connect(fail)
    try:
        answer = producer.message(entity(_id="1"))
    finally:
        profiles_changed.disconnect(fail)
    refused(answer, 503)
    assert answer.headers["Retry-After"]
    assert not Profile.objects.exists() and not InletHour.objects.exists()
    assert producer.message(entity(_id="1"), query=SYNC).body["syncValidation"] == {"status": "pass"}


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "too deep"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "body.xdmEntity"),
        (b'{"body": []}', "body.xdmEntity"),
        (b'{"body": {"xdmEntity": "x"}}', "body.xdmEntity"),
        (b'{"body": {"xdmEntity": {}}}', "no identity"),
        (b'{"body": {"xdmEntity": {"identityMap": {}}}}', "no identity"),
        (b'{"body": {"xdmEntity": {"identityMap": []}}}', "not an object of namespaces"),
        (b'{"body": {"xdmEntity": {"identityMap": {"Email": {"id": "x"}}}}}', "no list"),
        (b'{"body": {"xdmEntity": {"identityMap": {"Email": ["x"]}}}}', "no \u201cid\u201d"),
        (b'{"body": {"xdmEntity": {"identityMap": {"Email": [{"id": 5}]}}}}', "no \u201cid\u201d"),
        (b'{"body": {"xdmEntity": {"identityMap": {"Fax": [{"id": "x"}]}}}}', "\u201cFax\u201d"),
        (b'{"body": {"xdmEntity": {"identityMap": {"Email": [{"id": "%s"}]}}}}' % (b"x" * 1025), "longer"),
        (b'{"body": {"xdmEntity": {"_id": 5, "identityMap": {"Email": [{"id": "a"}]}}}}', "_id"),
        (b'{"body": {"xdmEntity": {"_id": "\\ud800", "identityMap": {"Email": [{"id": "a"}]}}}}', "surrogate"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_with_the_reason(
    inlet: Inlet, producer: Producer, body: bytes, words: str
) -> None:
    refused(producer.raw("collect", body), 400, words)
    assert not Profile.objects.exists()
    assert not ReceivedMessage.objects.exists()
    inlet.refresh_from_db()
    assert words in str(inlet.last_problem)
    assert counts(inlet)["rejected"] == 1
    assert words in str(InletSample.objects.get())


VALUES = [
    ('{"x": NaN}', "NaN"),
    ('{"x": -Infinity}', "-Infinity"),
    ('{"x": 1e999}', "too large"),
    ('{"x": ' + "9" * 5000 + "}", "digits"),
    ('{"x": 1, "y": {"z": 1, "z": 2}}', "\u201cz\u201d stands twice"),
    ('{"x": "\\ud800"}', "surrogate"),
    ('{"\\udc00": 1}', "surrogate"),
    ('{"x": "\\u0000"}', "NUL"),
    ('{"a.b": 1}', "\u201ca.b\u201d"),
    ('{"x":' * 500 + "1" + "}" * 500, "nested deeper"),
]


@pytest.mark.parametrize("attributes, words", VALUES)
def test_values_that_are_none_are_refused_at_their_place_and_good_neighbours_go_in(
    inlet: Inlet, producer: Producer, attributes: str, words: str
) -> None:
    good = json.dumps(entity("good@example.com"))
    bad = (
        f'{{"body": {{"xdmEntity": {{"identityMap": {{"Email": [{{"id": "bad"}}]}}, "_a": {attributes}}}}}}}'
    )
    answer = producer.raw("collect_batch", f'{{"messages": [{good}, {bad}, {good}]}}'.encode())
    assert answer.status == 207
    first, second, third = answer.body["responses"]
    assert set(first) == set(third) == {"xactionId"}
    assert second["status"] == 400 and words in second["message"]
    assert [identity.value for identity in Identity.objects.all()] == ["good@example.com"]
    assert counts(inlet) == {"accepted": 2, "repeated": 0, "rejected": 1, "unlinked": 0}
    refused(producer.raw("collect", bad.encode()), 400, words)


def test_sixty_levels_are_no_problem(producer: Producer) -> None:
    nested: Any = 1
    for _level in range(60):
        nested = {"x": nested}
    assert producer.message(entity(_ours=nested)).status == 200


# --- Batches


def test_a_batch_answers_for_every_message_in_order(inlet: Inlet, producer: Producer) -> None:
    answer = producer.batch(entity("1"), "nonsense", entity("2"), entity(" "), entity("3"), query=SYNC)
    assert answer.status == 207
    assert set(answer.body) == {"inletId", "batchId", "receivedTimeMs", "responses"}
    told = answer.body["responses"]
    assert [entry.get("status", 200) for entry in told] == [200, 400, 200, 400, 200]
    assert "not a JSON object" in told[1]["message"] and "no value" in told[3]["message"]
    assert told[0]["xactionId"] != told[2]["xactionId"]
    assert told[0]["syncValidation"] == {"status": "pass"}
    assert set(Identity.objects.values_list("value", flat=True)) == {"1", "2", "3"}


def test_all_of_a_batch_is_announced_at_once(producer: Producer, announced: Announced) -> None:
    producer.batch(*(entity(str(number)) for number in range(20)))
    assert [len(changes) for changes in announced] == [20]


def test_an_empty_batch_is_answered_with_nothing(producer: Producer) -> None:
    answer = producer.batch()
    assert (answer.status, answer.body["responses"]) == (207, [])


@pytest.mark.parametrize(
    "body, words",
    [
        (b"[]", "messages"),
        (b"{}", "messages"),
        (b'{"messages": {}}', "messages"),
        (b'{"messages": [], "messages": []}', "stands twice"),
        (b'{"messages": [' + b"1," * 1000 + b"1]}", "1000 are the limit"),
        (b'{"messages": [', "not JSON"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(
    inlet: Inlet, producer: Producer, body: bytes, words: str
) -> None:
    refused(producer.raw("collect_batch", body), 400, words)
    assert counts(inlet)["rejected"] == 1


def test_links_that_are_refused_are_told(inlet: Inlet, producer: Producer, settings: Any) -> None:
    settings.IDENTITY_GRAPH_LIMIT = 1
    message = entity()
    message["body"]["xdmEntity"]["identityMap"]["CRMID"] = [{"id": "1"}]
    [told] = producer.batch(message, query=SYNC).body["responses"]
    assert told["syncValidation"]["status"] == "pass"
    assert "not linked" in told["syncValidation"]["message"]
    assert Identity.objects.get().value == "a@example.com"
    assert counts(inlet) == {"accepted": 1, "repeated": 0, "rejected": 0, "unlinked": 1}
    assert InletSample.objects.get().accepted


def test_the_number_of_queries_does_not_depend_on_the_batch(producer: Producer) -> None:
    def queries(size: int, first: int) -> int:
        messages = [entity(str(number), _id=str(number)) for number in range(first, first + size)]
        messages[0]["body"]["xdmEntity"]["_id"] = 5  # one that is rejected
        with CaptureQueriesContext(connection) as captured:
            assert producer.batch(*messages).status == 207
        return len(captured)

    queries(1, 0)
    assert queries(2, 1) == queries(60, 100) <= 30


# --- Messages that come again


def test_a_repeated_message_changes_nothing(inlet: Inlet, producer: Producer, announced: Announced) -> None:
    producer.message(entity(_id="1", _a=1))
    producer.message(entity(_id="2", _a=2))
    again = producer.message(entity(_id="1", _a=1), query=SYNC)
    assert again.status == 200
    assert "came before" in again.body["syncValidation"]["message"]
    assert Profile.objects.get().attributes == {"_id": "2", "_a": 2}
    assert len(announced) == 2
    assert counts(inlet) == {"accepted": 2, "repeated": 1, "rejected": 0, "unlinked": 0}


def test_in_a_batch_the_first_of_a_kind_is_taken(producer: Producer) -> None:
    producer.message(entity("0", _id="0"))
    answer = producer.batch(
        entity("1", _id="1", _a=1), entity("0", _id="0", _a=1), entity("1", _id="1", _a=2)
    )
    assert all("xactionId" in told for told in answer.body["responses"])
    stored = dict(Profile.objects.values_list("identities__value", "attributes"))
    assert stored == {"0": {"_id": "0"}, "1": {"_id": "1", "_a": 1}}


def test_a_rejected_message_may_come_again_put_right(producer: Producer) -> None:
    bad = entity(" ", _id="1")
    assert [told["status"] for told in producer.batch(bad, bad).body["responses"]] == [400, 400]
    assert not ReceivedMessage.objects.exists()
    assert producer.message(entity(_id="1"), query=SYNC).body["syncValidation"] == {"status": "pass"}


def test_each_inlet_has_a_memory_of_its_own(producer: Producer) -> None:
    other = Producer(services.create_inlet(name="Till", protected=False)[0])
    producer.message(entity(_id="1"))
    assert other.message(entity(_id="1"), query=SYNC).body["syncValidation"] == {"status": "pass"}


def test_messages_are_forgotten_after_some_days(producer: Producer, settings: Any) -> None:
    settings.INLET_REMEMBER_DAYS = 3
    producer.message(entity(_id="old"))
    ReceivedMessage.objects.update(at=timezone.now() - timedelta(days=4))
    producer.message(entity(_id="new"))
    InletHour.objects.update(started_at=timezone.now() - timedelta(days=31))
    forget_messages()
    assert ReceivedMessage.objects.count() == 1
    assert not InletHour.objects.exists()
    assert "message" not in producer.message(entity(_id="old"), query=SYNC).body["syncValidation"]


def test_a_great_many_are_forgotten_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FORGOTTEN_AT_ONCE", 10)
    old = timezone.now() - timedelta(days=100)
    ReceivedMessage.objects.bulk_create(
        ReceivedMessage(id=uuid.uuid4(), batch=uuid.uuid4(), at=old) for _number in range(25)
    )
    assert intake.forget_old() == 25


# --- Who may


@pytest.mark.parametrize("inlet_id", ["0" * 64, "x", "0" * 63 + "\n", "%00", "0" * 65])
def test_an_unknown_inlet_is_not_found(db: None, inlet_id: str) -> None:
    refused(Producer(inlet_id).message(entity()), 404)


def test_a_protected_inlet_wants_its_token(db: None) -> None:
    inlet, token = services.create_inlet(name="Till", protected=True)
    other = services.create_inlet(name="Other", protected=True)[1]
    missing = Producer(inlet).message(entity())
    refused(missing, 401)
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    refused(Producer(inlet).message(entity(), authorization=f"Basic {token}"), 401)
    refused(Producer(inlet).message(entity(), authorization="Bearer  "), 401)
    for wrong in (other, token[:-1], f"{token}x", inlet.token_digest, "\xff"):
        refused(Producer(inlet, wrong).message(entity()), 403)
    assert not Profile.objects.exists()
    assert Producer(inlet, token).message(entity()).status == 200
    assert Producer(inlet).message(entity(), authorization=f"bearer {token}").status == 200


def test_an_old_token_is_refused(db: None) -> None:
    inlet, old = services.create_inlet(name="Till", protected=True)
    new = services.new_token(inlet)
    refused(Producer(inlet, old).message(entity()), 403)
    assert Producer(inlet, new).message(entity()).status == 200


def test_a_disabled_inlet_takes_nothing_and_tells_strangers_nothing(db: None) -> None:
    inlet, token = services.create_inlet(name="Till", protected=True)
    services.switch_inlet(inlet, enabled=False)
    refused(Producer(inlet).message(entity()), 401)
    refused(Producer(inlet, token).message(entity()), 403, "disabled")


@pytest.mark.parametrize("method", ["get", "put", "delete", "options"])
def test_messages_are_posted(producer: Producer, method: str) -> None:
    response = getattr(producer.client, method)(f"/collection/{producer.inlet}")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert response.json()["status"] == 405


def test_answers_are_in_english_whatever_the_browser_reads(producer: Producer) -> None:
    answer = producer.message({"body": {"xdmEntity": {}}}, accept_language="ko")
    assert answer.detail == "There is no identity: nothing says whose this is."


# --- How much


def padded(size: int) -> bytes:
    """A message whose body has this many bytes."""
    plain = json.dumps(entity(_a="")).encode()
    return json.dumps(entity(_a="x" * (size - len(plain)))).encode()


def test_a_body_of_one_mebibyte_goes_in_and_one_byte_more_does_not(inlet: Inlet, producer: Producer) -> None:
    # The attributes alone stay below the limit of a fragment.
    assert producer.raw("collect", padded(collection.MAX_BODY)).status == 200
    answer = producer.raw("collect", padded(collection.MAX_BODY + 1))
    refused(answer, 413, str(collection.MAX_BODY))
    inlet.refresh_from_db()
    assert str(collection.MAX_BODY) in str(inlet.last_problem)


def test_a_body_of_ten_mebibytes_is_not_read_into_memory(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.core.handlers.wsgi import LimitedStream

    read: list[int] = []
    plain = LimitedStream.read

    def counting(self: LimitedStream, size: int | None = -1, /) -> bytes:
        data = plain(self, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(LimitedStream, "read", counting)
    refused(producer.raw("collect", b"x" * (10 * 1024 * 1024)), 413)
    assert max(read) <= 1 << 16


def test_gzip_goes_in(producer: Producer) -> None:
    assert producer.zipped("collect", json.dumps(entity()).encode()).status == 200
    two = gzip.compress(b'{"messages": [') + gzip.compress(json.dumps(entity("b")).encode() + b"]}")
    assert producer.raw("collect_batch", two, content_encoding="GZIP").status == 207
    assert Profile.objects.count() == 2


def test_a_gzip_bomb_is_too_large_and_does_not_go_off(producer: Producer) -> None:
    bomb = gzip.compress(b" " * (100 * 1024 * 1024))
    assert len(bomb) < collection.MAX_BODY
    tracemalloc.start()
    try:
        refused(producer.raw("collect", bomb, content_encoding="gzip"), 413)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [b"{}", b"", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"more"],
    ids=["plain", "nothing", "cut off", "with more behind it"],
)
def test_what_is_no_gzip_is_refused(inlet: Inlet, producer: Producer, body: bytes) -> None:
    refused(producer.raw("collect", body, content_encoding="gzip"), 400)
    assert counts(inlet)["rejected"] == 1


def test_another_encoding_is_refused(producer: Producer) -> None:
    refused(producer.raw("collect", b"x", content_encoding="br"), 415)


def test_a_body_without_a_length_is_not_taken_for_an_empty_one(producer: Producer) -> None:
    # Not every server knows where it ends; gunicorn does (test_server.py).
    without: dict[str, Any] = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    response = producer.client.post(f"/collection/{producer.inlet}", "{}", "application/json", **without)
    assert response.status_code == 411


# --- Samples


def test_the_newest_rejected_samples_are_kept_and_cut(inlet: Inlet, producer: Producer) -> None:
    for number in range(12):
        producer.batch(*({"n": number, "at": at, "x": "가" * 9000} for at in range(9)))
    samples = list(InletSample.objects.order_by("pk"))
    assert len(samples) == intake.SAMPLES_KEPT
    assert samples[-1].text.startswith('{"n": 11, "at": 8, "x": "가')
    assert all(len(sample.text) <= intake.SAMPLE_LENGTH + 1 for sample in samples)
    assert counts(inlet)["rejected"] == 12 * 9


@pytest.mark.parametrize(
    "body", [b"\0\xff\xfe", b'{"x": NaN, "x": "\\u0000\\ud800"}', b'{"a":' * 900 + b"1" + b"}" * 900]
)
def test_a_sample_holds_whatever_came(producer: Producer, body: bytes) -> None:
    producer.raw("collect", body)
    producer.raw("collect_batch", b'{"messages": [' + body + b"]}")
    assert InletSample.objects.count() == 2


# --- At the same time


@pytest.fixture
def at_once(transactional_db: None) -> Any:
    """Post with several producers at once."""

    def post(*requests: Any) -> list[Any]:
        answers: list[Any] = [None] * len(requests)
        begin = threading.Barrier(len(requests))

        def run(place: int) -> None:
            try:
                begin.wait(timeout=20)
                answers[place] = requests[place]()
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, args=(place,)) for place in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        return answers

    return post


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_same_message_posted_many_times_at_once_is_taken_once(at_once: Any, announced: Announced) -> None:
    inlet = services.create_inlet(name="Web shop", protected=False)[0]
    answers = at_once(
        *(lambda: Producer(inlet).batch(entity("a", _id="1"), entity("b", _id="2")) for _number in range(4))
    )
    assert [answer.status for answer in answers] == [207] * 4
    assert len(announced) == 1
    assert counts(inlet) == {"accepted": 2, "repeated": 6, "rejected": 0, "unlinked": 0}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_producers_that_hammer_the_same_customers_lose_nothing_and_every_message_is_counted(
    at_once: Any,
) -> None:
    inlet = services.create_inlet(name="Web shop", protected=False)[0]
    producers, rounds, customers = 4, 6, 15

    def hammer(number: int) -> list[int]:
        producer = Producer(inlet)
        statuses = []
        for turn in range(rounds):
            order = range(customers) if (number + turn) % 2 else reversed(range(customers))
            messages: list[Any] = [
                entity(
                    f"{customer}@example.com", _id=f"{number}-{turn}-{customer}", _ours={f"p{number}": turn}
                )
                for customer in order
            ]
            statuses.append(producer.batch("nonsense", *messages).status)
        return statuses

    answers = at_once(*(lambda number=number: hammer(number) for number in range(producers)))
    assert answers == [[207] * rounds] * producers
    assert Profile.objects.count() == customers
    for profile in Profile.objects.all():
        assert profile.attributes["_ours"] == {f"p{number}": rounds - 1 for number in range(producers)}
    total = producers * rounds
    assert counts(inlet) == {
        "accepted": total * customers, "repeated": 0, "rejected": total, "unlinked": 0,
    }  # fmt: skip
