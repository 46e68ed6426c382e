"""The page of a destination: what it shows in each state, who may do what there, the stream viewer, the deletion."""

from __future__ import annotations

import html
import json
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from activation.models import Dataflow, DataflowRun, PendingExport
from destinations.connectors.base import ReadRecord
from destinations.connectors.kinesis import reader
from destinations.connectors.kinesis.destination_type import KinesisConnector
from destinations.fields import Encrypted
from destinations.models import Account, Destination
from destinations.viewer import NEWEST, SHOWN_BYTES
from governance.models import MarketingAction
from tests.destinations.connected import connected_destination, put
from tests.factories import (
    AccountFactory,
    DataflowFactory,
    DestinationFactory,
    ProfileFactory,
    SegmentFactory,
    UserFactory,
)
from tests.local_kinesis import STREAM, RunningKinesis

pytestmark = pytest.mark.django_db

VIEW = "destinations.view_destination"
MANAGE = "destinations.manage_destinations"
ACTIVATE = "activation.activate_destinations"
MONITOR = "activation.view_monitoring"
PROFILES = "profiles.view_profile"
SEGMENTS = "profiles.view_segment"
ALL = [VIEW, MANAGE, ACTIVATE, MONITOR, PROFILES, SEGMENTS]
HTMX = {"HX-Request": "true"}


def signed_in(*permissions: str) -> Client:
    client = Client()
    client.force_login(UserFactory.create(permissions=list(permissions)))
    return client


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


@pytest.fixture(autouse=True)
def whole_stream_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretch by stretch a quiet stream takes two seconds; tests/destinations/kinesis/test_reader.py reads so."""
    monkeypatch.setattr(reader, "FIRST_STRETCH", reader.FURTHEST)


def url(name: str, destination: Destination) -> str:
    return reverse(f"destinations:{name}", args=[destination.pk])


def text_of(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    return html.unescape(response.content.decode())


def waiting(dataflow: Dataflow, count: int) -> None:
    PendingExport.objects.bulk_create(
        PendingExport(dataflow=dataflow, profile=profile, reason="backfill")
        for profile in ProfileFactory.create_batch(count)
    )


# -- the page ------------------------------------------------------------------------------------------------------


def test_it_shows_all_that_was_set_up(client: Client) -> None:
    destination = DestinationFactory.create(
        name="Spring <campaign>",
        description="First line\nsecond line",
        account=AccountFactory.create(name="Marketing's account"),
        partition_key="identity:CRMID",
        include_segment_names=True,
        created_by=UserFactory.create(first_name="Ji-woo", last_name="Kim"),
    )
    destination.marketing_actions.set(MarketingAction.objects.filter(name="Email Targeting"))
    page = client.get(destination.get_absolute_url())
    assert "<campaign>" not in page.content.decode()
    text = text_of(page)
    for shown in (
        "Spring <campaign>", "First line<br>second line", "Marketing's account", "AKIA…MPLE", "Amazon Kinesis",
        "profile-exports", "ap-northeast-2", "Identity CRMID, else the profile id", "Email Targeting", "Ji-woo Kim",
        str(destination.pk),
    ):  # fmt: skip
        assert shown in text
    assert text.count("Not included") == 2  # the timestamps and the delivery details


STATES = [
    (None, "Draft", "Activate segments"),
    ({"state": "draft", "finished_at": None}, "Draft", "Continue the activation"),
    ({"state": "enabled"}, "Processing", "Edit activation"),
    ({"state": "disabled"}, "Disabled", "Edit activation"),
]


@pytest.mark.parametrize(("dataflow", "status", "button"), STATES)
def test_each_state_has_its_word_and_its_next_step(
    client: Client, dataflow: dict[str, Any] | None, status: str, button: str
) -> None:
    destination = DestinationFactory.create()
    if dataflow is not None:
        DataflowFactory.create(destination=destination, **dataflow)
    text = text_of(client.get(destination.get_absolute_url()))
    assert f">{status}</span>" in text
    assert f">{button}</a>" in text
    live = status in ("Processing", "Disabled")
    assert ("activation/" + str(destination.pk) + "/disable/" in text) == (status == "Processing")
    assert ("activation/" + str(destination.pk) + "/enable/" in text) == (status == "Disabled")
    assert ("Dataflow id" in text) == (dataflow is not None)
    assert ("0 segments, 0 attributes" in text) == live


def test_a_dataflow_that_ran_is_enabled(client: Client) -> None:
    dataflow = DataflowFactory.create()
    DataflowRun.objects.create(dataflow=dataflow, started_at=timezone.now(), last_at=timezone.now())
    assert ">Enabled</span>" in text_of(client.get(dataflow.destination.get_absolute_url()))


@pytest.mark.parametrize("tab", ["data", "stream"])
def test_why_the_destination_refuses_is_said_on_every_tab(client: Client, tab: str) -> None:
    dataflow = DataflowFactory.create(
        error_code="KMSAccessDeniedException",
        error_message="The ciphertext refers to a key that you may not use.",
        error_at=timezone.now(),
        held_until=timezone.now() + timedelta(minutes=2),
    )
    text = text_of(client.get(dataflow.destination.get_absolute_url(), {"tab": tab}))
    assert ">Error</span>" in text
    assert "KMSAccessDeniedException" in text
    assert "refers to a key that you may not use" in text


def test_lost_credentials_are_said_with_a_way_to_enter_them_again(client: Client) -> None:
    destination = DestinationFactory.create(account=AccountFactory.create(credentials=Encrypted("lost")))
    again = reverse("destinations:account_edit", args=[destination.account_id])
    assert "Enter the credentials again" in (text := text_of(client.get(destination.get_absolute_url())))
    assert f'href="{again}">Enter' in text
    reader = text_of(signed_in(VIEW).get(destination.get_absolute_url()))
    assert again not in reader
    assert "has to enter them again" in reader


def test_a_tab_names_its_part_which_is_a_page_without_javascript(client: Client) -> None:
    destination = DestinationFactory.create()
    parts = {
        "": reverse("activation:runs", args=[destination.pk]),
        "runs": reverse("activation:runs", args=[destination.pk]),
        "data": reverse("activation:activation_data", args=[destination.pk]),
        "stream": url("stream", destination),
        "nonsense": reverse("activation:runs", args=[destination.pk]),
    }
    for tab, part in parts.items():
        text = text_of(client.get(destination.get_absolute_url(), {"tab": tab}))
        assert f'hx-get="{part}"' in text
        assert f'href="{part}"' in text


def test_a_page_takes_the_same_queries_whatever_is_activated(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    dataflow = DataflowFactory.create(segments=SegmentFactory.create_batch(30), attributes=["personID"])
    dataflow.destination.marketing_actions.set(MarketingAction.objects.all())
    waiting(dataflow, 30)
    with django_assert_max_num_queries(11):
        text = text_of(client.get(dataflow.destination.get_absolute_url()))
    assert "30 segments, 1 attribute" in text


# -- who may do what -----------------------------------------------------------------------------------------------

NEEDED = {
    "destination": [VIEW],
    "stream": [VIEW, PROFILES],
    "edit": [MANAGE],
    "delete": [MANAGE],
}


@pytest.mark.parametrize("name", NEEDED)
def test_each_page_needs_its_rights_and_no_others(name: str) -> None:
    destination = DestinationFactory.create(account=AccountFactory.create(credentials=Encrypted("lost")))
    where = url(name, destination)
    assert Client().get(where)["Location"].startswith(reverse("sign_in"))
    for lacking in NEEDED[name]:
        # Who may manage or activate destinations may see them.
        without = {lacking} | ({MANAGE, ACTIVATE} if lacking == VIEW else set())
        assert signed_in(*(right for right in ALL if right not in without)).get(where).status_code == 403
    assert signed_in(*NEEDED[name]).get(where).status_code == 200


def test_who_may_only_look_finds_nothing_to_press() -> None:
    destination = DataflowFactory.create().destination
    text = text_of(signed_in(VIEW).get(destination.get_absolute_url()))
    for hidden in (
        url("edit", destination),
        url("delete", destination),
        reverse("activation:segments", args=[destination.pk]),
        reverse("activation:disable", args=[destination.pk]),
        reverse("destinations:account_edit", args=[destination.account_id]),
        "?tab=runs",
        "?tab=stream",
    ):
        assert hidden not in text
    assert reverse("activation:activation_data", args=[destination.pk]) in text


@pytest.mark.parametrize(
    ("right", "address"),
    [
        (MANAGE, "destinations:edit"),
        (MANAGE, "destinations:delete"),
        (ACTIVATE, "activation:disable"),
    ],
)
def test_a_right_brings_its_button(right: str, address: str) -> None:
    destination = DataflowFactory.create().destination
    where = reverse(address, args=[destination.pk])
    assert where in text_of(signed_in(VIEW, right).get(destination.get_absolute_url()))


@pytest.mark.parametrize("lacking", [MANAGE, ACTIVATE, PROFILES, SEGMENTS])
def test_activating_is_offered_to_who_has_every_right_for_it(lacking: str) -> None:
    destination = DestinationFactory.create()
    rights = [right for right in ALL if right != lacking]
    assert "Activate segments" not in text_of(signed_in(*rights).get(destination.get_absolute_url()))


@pytest.mark.parametrize(("tab", "right"), [("runs", MONITOR), ("stream", PROFILES)])
def test_a_tab_that_one_may_not_see_is_refused_by_name(tab: str, right: str) -> None:
    destination = DestinationFactory.create()
    rest = [each for each in ALL if each != right]
    response = signed_in(*rest).get(destination.get_absolute_url(), {"tab": tab})
    assert response.status_code == 403
    words = {MONITOR: "View Monitoring", PROFILES: "View Profiles"}
    assert words[right] in text_of(response, 403)


def test_what_is_not_there_is_a_404(client: Client) -> None:
    for name in NEEDED:
        assert client.get(reverse(f"destinations:{name}", args=[uuid.uuid4()])).status_code == 404


# -- the stream viewer ---------------------------------------------------------------------------------------------


def part_of(client: Client, destination: Destination, **query: str) -> str:
    return text_of(client.get(url("stream", destination), query, headers=HTMX))


def test_the_newest_records_are_shown_newest_first(client: Client, local_kinesis: RunningKinesis) -> None:
    destination = connected_destination(local_kinesis)
    put(local_kinesis, json.dumps({"person": {"name": "김지우"}}).encode(), key="profile-1")
    newer = put(local_kinesis, '{"city":"서울"}'.encode(), key="profile-2")
    text = part_of(client, destination)
    assert "<html" not in text
    for shown in ('"name": "김지우"', '{\n  "city": "서울"\n}', "profile-1", newer, "shardId-00000000000"):
        assert shown in text
    assert text.index("profile-2") < text.index("profile-1")
    # The newest is open when one comes, the others can be opened.
    assert text.count("<details") == 2
    assert text.count(" open>") == 1


def test_without_htmx_it_is_the_page_with_the_records_in_it(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    destination = connected_destination(local_kinesis)
    sequence = put(local_kinesis, b"{}")
    text = text_of(client.get(url("stream", destination)))
    assert "<!doctype html>" in text
    assert sequence in text
    assert "Details" in text


def test_an_empty_stream_says_what_will_be_there_and_goes_on_looking(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    text = part_of(client, connected_destination(local_kinesis))
    assert "No records yet" in text
    assert 'hx-trigger="every 2s"' in text


ODD = {
    "no JSON": (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
    "half a character": (b'{"a":"\\ud800"}', '{\n  "a": "\\ud800"\n}'),
    "nested too deep": (b"[" * 5000, "[" * 5000),
    "a number too long": (b"9" * 5000, "9" * 5000),
    "bytes": (bytes(range(250, 256)), "fa fb fc fd fe ff"),
    "a string": ('"글"'.encode(), '"글"'),
}


@pytest.mark.parametrize("name", ODD)
def test_what_others_wrote_into_the_stream_is_shown_as_text(
    client: Client, local_kinesis: RunningKinesis, name: str
) -> None:
    data, shown = ODD[name]
    destination = connected_destination(local_kinesis)
    put(local_kinesis, data, key="<b>key</b>")
    response = client.get(url("stream", destination), headers=HTMX)
    raw = response.content.decode()
    assert "<script>" not in raw
    assert "<b>" not in raw
    assert f"<code>{html.escape(shown)}</code>" in raw


@pytest.mark.parametrize("character", ["x", "글", "😀"])
def test_a_large_record_is_cut_between_characters(
    client: Client, local_kinesis: RunningKinesis, character: str
) -> None:
    destination = connected_destination(local_kinesis)
    put(local_kinesis, b"." + character.encode() * SHOWN_BYTES)
    text = part_of(client, destination)
    shown = text.partition("<code>.")[2].partition("</code>")[0]
    assert set(shown) == {character}
    assert SHOWN_BYTES - 4 <= len(shown.encode()) < SHOWN_BYTES
    assert "Only the first" in text


def again(text: str) -> str:
    """The address that the part asks next."""
    return text.partition('hx-get="')[2].partition('"')[0]


def test_nothing_new_changes_nothing_in_the_page(client: Client, local_kinesis: RunningKinesis) -> None:
    destination = connected_destination(local_kinesis)
    put(local_kinesis, b"1")
    next_look = again(part_of(client, destination))
    assert client.get(next_look, headers=HTMX).status_code == 204

    newer = put(local_kinesis, b"2")
    text = text_of(client.get(next_look, headers=HTMX))
    assert newer in text
    assert again(text) != next_look
    # Whoever reads an older record goes on reading: what comes does not open by itself.
    assert " open>" not in text


@pytest.mark.parametrize(
    ("watched", "trigger"),
    [(0, "every 2s"), (50, "every 2s"), (70, "every 10s"), (500, "every 10s"), (700, "")],
)
def test_looking_slows_down_and_ends_by_itself(
    client: Client, local_kinesis: RunningKinesis, watched: int, trigger: str
) -> None:
    since = int(timezone.now().timestamp()) - watched
    destination = connected_destination(local_kinesis)
    text = part_of(client, destination, since=str(since), every="2", seen="something else")
    if trigger:
        assert f'hx-trigger="{trigger}"' in text
    else:
        assert "hx-trigger" not in text
        assert "Paused" in text


def test_the_page_changes_pace_even_when_nothing_is_new(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    destination = connected_destination(local_kinesis)
    put(local_kinesis, b"1")
    address = again(part_of(client, destination))
    earlier = str(int(timezone.now().timestamp()) - 100)
    query = dict(pair.split("=") for pair in address.partition("?")[2].split("&")) | {"since": earlier}
    slower = client.get(f"{url('stream', destination)}?{urlencode(query)}", headers=HTMX)
    assert 'hx-trigger="every 10s"' in text_of(slower)


@pytest.mark.parametrize("since", ["", "x", "-5", "9" * 30, "١٢"])
def test_a_time_that_is_none_is_now(client: Client, local_kinesis: RunningKinesis, since: str) -> None:
    assert 'every 2s"' in part_of(client, connected_destination(local_kinesis), since=since)


def test_no_more_than_the_newest_are_shown(client: Client, local_kinesis: RunningKinesis) -> None:
    destination = connected_destination(local_kinesis)
    records = [{"Data": str(n).encode(), "PartitionKey": str(n)} for n in range(NEWEST + 3)]
    local_kinesis.client().put_records(StreamName=STREAM, Records=records)  # type: ignore[arg-type]
    assert part_of(client, destination).count("<details") == NEWEST


def test_an_error_is_said_in_the_words_of_aws_with_what_to_do(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    text = part_of(client, connected_destination(local_kinesis, stream="no-such-stream"))
    assert "ResourceNotFoundException" in text
    assert "no-such-stream" in text
    assert "Check the stream's name" in text
    assert "kinesis:GetRecords" in text  # the policy to copy
    assert "hx-trigger" not in text  # not again and again


def test_refused_credentials_are_said_and_not_shown(client: Client, local_kinesis: RunningKinesis) -> None:
    destination = connected_destination(local_kinesis)
    secret = "this-is-another-secret"
    Account.objects.update(
        credentials=Encrypted.of(
            {"access_key_id": local_kinesis.keys.access_key_id, "secret_access_key": secret}
        )
    )
    text = part_of(client, destination)
    assert "InvalidSignatureException" in text
    assert secret not in text


def test_lost_credentials_are_to_be_entered_again(client: Client, local_kinesis: RunningKinesis) -> None:
    destination = connected_destination(local_kinesis)
    Account.objects.update(credentials=Encrypted("lost"))
    text = part_of(client, destination)
    assert reverse("destinations:account_edit", args=[destination.account_id]) in text
    assert local_kinesis.asked == []


def test_looking_takes_few_queries(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    def read(self: Any, connection: Any, settings: Any, limit: int) -> list[ReadRecord]:
        return [ReadRecord("shard", str(n), "key", timezone.now(), b"{}") for n in range(limit)]

    monkeypatch.setattr(KinesisConnector, "read_newest", read)
    destination = DestinationFactory.create()
    with django_assert_max_num_queries(5):
        assert part_of(client, destination).count("<details") == NEWEST


# -- the deletion --------------------------------------------------------------------------------------------------


def test_what_stops_and_what_is_lost_is_said_before(client: Client) -> None:
    dataflow = DataflowFactory.create(segments=SegmentFactory.create_batch(2))
    waiting(dataflow, 3)
    destination = dataflow.destination
    for page in (url("delete", destination), destination.get_absolute_url()):
        text = text_of(client.get(page))
        assert f"Delete “{destination.name}”?" in text
        assert "The export of 2 segments to profile-exports stops for good." in text
        assert "3 records that wait will not be sent." in text
        assert f"The account “{destination.account.name}” stays" in text
    assert Destination.objects.filter(pk=destination.pk).exists()


def test_deleting_takes_everything_along_but_the_account(client: Client) -> None:
    dataflow = DataflowFactory.create(segments=[SegmentFactory.create()], attributes=["personID"])
    waiting(dataflow, 3)
    DataflowRun.objects.create(dataflow=dataflow, started_at=timezone.now(), last_at=timezone.now())
    response = client.post(url("delete", dataflow.destination))
    assert response["Location"] == reverse("destinations:browse")
    assert "was deleted" in said(response)
    for model in (Destination, Dataflow, PendingExport, DataflowRun):
        assert not model.objects.exists()
    assert Account.objects.get() == dataflow.destination.account


def test_what_is_deleted_already_is_said(client: Client) -> None:
    response = client.post(reverse("destinations:delete", args=[uuid.uuid4()]))
    assert response["Location"] == reverse("destinations:browse")
    assert "already" in said(response)


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))
