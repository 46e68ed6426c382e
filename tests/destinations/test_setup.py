"""Setup: where to write and how, chosen from the real list; one destination however often it is sent. And its edit."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from destinations.fields import Encrypted
from destinations.models import Account, Destination
from destinations.views.connect import ACTIVATE, MANAGE, SEARCHED_FROM
from governance.models import MarketingAction
from profiles.models import SchemaField
from tests.activation.wizard import HTMX, said, signed_in
from tests.destinations.test_connect import account_at, at_once
from tests.factories import AccountFactory, DestinationFactory, SchemaFieldFactory, UserFactory
from tests.local_kinesis import STREAM, RunningKinesis

pytestmark = pytest.mark.django_db


@pytest.fixture
def marketer() -> User:
    return UserFactory.create(permissions=[MANAGE, *ACTIVATE])


@pytest.fixture
def client(marketer: User) -> Client:
    return signed_in(marketer)


@pytest.fixture
def account(local_kinesis: RunningKinesis) -> Account:
    return account_at(local_kinesis)


@pytest.fixture
def destination(account: Account) -> Destination:
    return DestinationFactory.create(account=account, name="Old name", settings={"stream": STREAM})


def url(account: Account, name: str = "setup") -> str:
    return reverse(f"destinations:{name}", args=["kinesis", account.pk])


def edit_url(destination: Destination) -> str:
    return reverse("destinations:edit", args=[destination.pk])


def segments_url(destination: Destination) -> str:
    return reverse("activation:segments", args=[destination.pk])


def typed(**changed: Any) -> dict[str, Any]:
    """The form as a person fills it in."""
    return {
        "id": str(uuid.uuid4()),
        "name": "봄 캠페인",
        "description": "Customers of the spring campaign",
        "stream": STREAM,
        "include_segment_names": "on",
        "partition_key": "profile",
        "action": "next",
    } | changed


def edited(destination: Destination, **changed: Any) -> dict[str, Any]:
    return typed(version=destination.version, action="save") | changed


def core(name: str = "Email Targeting") -> MarketingAction:
    return MarketingAction.objects.get(name=name)


# -- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method"),
    [("setup", "get"), ("setup", "post"), ("targets", "get"), ("marketing_action", "post")],
)
def test_setting_up_needs_the_right_to_manage_destinations(
    account: Account, local_kinesis: RunningKinesis, name: str, method: str
) -> None:
    onlooker = signed_in(UserFactory.create(permissions=["destinations.view_destination", *ACTIVATE]))
    address = reverse("destinations:marketing_action") if name == "marketing_action" else url(account, name)
    data = typed(new_action_name="Of nobody")
    assert getattr(onlooker, method)(address, data).status_code == 403
    assert getattr(Client(), method)(address, data).status_code == 302
    assert local_kinesis.asked == []
    assert not Destination.objects.exists()
    assert not MarketingAction.objects.filter(name="Of nobody").exists()


@pytest.mark.parametrize("name", ["setup", "targets"])
def test_an_account_that_is_not_there_or_of_another_type_is_a_404(client: Client, name: str) -> None:
    for account in (AccountFactory.build(), AccountFactory.create(connector="s3")):
        assert client.get(url(account, name)).status_code == 404


# -- creating -------------------------------------------------------------------------------------------------------


def test_the_page_does_not_wait_for_the_list(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    page = client.get(url(account))
    text = page.content.decode()
    assert f'hx-get="{url(account, "targets")}"' in text
    assert 'name="stream"' in text  # and without JavaScript one types it
    assert "no-store" in page["Cache-Control"]
    assert local_kinesis.asked == []


def test_next_creates_the_destination_and_goes_on_to_the_segments(
    client: Client, marketer: User, account: Account
) -> None:
    own = MarketingAction.objects.create(name="Loyalty mailing")
    sent = typed(
        include_segment_timestamps="on",
        include_delivery="on",
        partition_key="identity:Email",
        marketing_actions=[str(core().pk), str(own.pk)],
    )
    response = client.post(url(account), sent)
    made = Destination.objects.get()
    assert response["Location"] == segments_url(made)
    assert said(response) == "Destination “봄 캠페인” was created."
    assert (str(made.pk), made.account, made.created_by) == (sent["id"], account, marketer)
    assert (made.name, made.description) == ("봄 캠페인", "Customers of the spring campaign")
    assert made.settings == {"stream": STREAM}
    assert made.include_segment_names
    assert made.include_segment_timestamps
    assert made.include_delivery
    assert made.partition_key == "identity:Email"
    assert set(made.marketing_actions.all()) == {core(), own}


def test_save_and_exit_creates_it_and_leads_to_its_page(client: Client, account: Account) -> None:
    response = client.post(url(account), typed(action="save", include_segment_names=""))
    made = Destination.objects.get()
    assert response["Location"] == made.get_absolute_url()
    assert not made.include_segment_timestamps
    assert not made.include_delivery


def test_who_may_not_activate_creates_and_is_led_to_its_page(account: Account) -> None:
    manager = signed_in(UserFactory.create(permissions=[MANAGE]))
    text = manager.get(url(account)).content.decode()
    assert "Create destination" in text
    assert "Save &amp; exit" not in text
    response = manager.post(url(account), typed())
    assert response["Location"] == Destination.objects.get().get_absolute_url()


def test_nothing_is_written_to_the_stream(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    client.post(url(account), typed())
    assert {operation for operation, _params in local_kinesis.asked} == {"DescribeStreamSummary"}


def test_an_attribute_can_be_the_partition_key(client: Client, account: Account) -> None:
    SchemaFieldFactory.create(path="loyalty.number")
    client.post(url(account), typed(partition_key="attribute:loyalty.number"))
    assert Destination.objects.get().partition_key == "attribute:loyalty.number"


# -- what is refused ------------------------------------------------------------------------------------------------


def refused(client: Client, account: Account, sent: dict[str, Any]) -> Any:
    """The page again, with what was typed; nothing is created."""
    page = client.post(url(account), sent)
    assert page.status_code == 422
    assert not Destination.objects.exclude(name="There already").exists()
    form = page.context["form"]
    for name in ("name", "description", "partition_key"):
        assert str(form[name].value()) == sent[name]
    assert form["include_segment_names"].value() is True
    return page


def test_next_says_what_is_missing(client: Client, account: Account) -> None:
    page = client.post(url(account), {"action": "next"})
    text = page.content.decode()
    assert page.status_code == 422
    for field in ("id_name", "id_stream"):
        assert f'<a href="#{field}">' in text
    assert not Destination.objects.exists()


def test_a_stream_that_does_not_exist_is_said_at_the_field(client: Client, account: Account) -> None:
    page = refused(client, account, typed(stream="not-there"))
    assert page.context["target"].errors["stream"] == [
        "ResourceNotFoundException: Stream not-there under account 000000000000 not found. "
        "Check the stream's name, and that it is in the chosen region and account."
    ]
    assert 'value="not-there"' in page.content.decode()


def test_a_region_that_the_endpoint_does_not_serve_is_said_at_the_field(
    client: Client, local_kinesis: RunningKinesis
) -> None:
    account = account_at(
        local_kinesis, settings={"region": "ap-northeast-2", "endpoint_url": local_kinesis.url}
    )
    page = refused(client, account, typed())
    assert "The endpoint serves another region." in page.context["target"].errors["stream"][0]


def test_a_stream_that_is_being_deleted_is_said_at_the_field(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.create_stream("going").status = "DELETING"
    page = refused(client, account, typed(stream="going"))
    assert "being deleted" in page.context["target"].errors["stream"][0]


@pytest.mark.parametrize("stream", ["two words", "naïve", "a/b", "<script>", "x" * 129])
def test_a_name_that_no_stream_can_have_is_refused_without_asking(
    client: Client, account: Account, local_kinesis: RunningKinesis, stream: str
) -> None:
    page = refused(client, account, typed(stream=stream))
    assert page.context["target"].errors["stream"] == [
        "A stream's name has up to 128 letters (a–z, A–Z), digits, underscores, hyphens and periods."
    ]
    assert local_kinesis.asked == []


def test_an_endpoint_that_is_down_is_said_at_the_field(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.stop()
    page = refused(client, account, typed())
    assert "EndpointConnectionError" in page.context["target"].errors["stream"][0]


def test_a_lost_key_is_said_with_the_way_to_enter_the_credentials_again(client: Client) -> None:
    account = AccountFactory.create(credentials=Encrypted("of a key that is gone"))
    page = refused(client, account, typed())
    assert reverse("destinations:account_edit", args=[account.pk]) in page.content.decode()


def test_a_name_that_is_taken_is_said_at_the_field(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    DestinationFactory.create(name="There already")
    page = refused(client, account, typed(name="THERE already"))
    assert page.context["form"].errors["name"] == ["There is a destination with this name already."]
    assert local_kinesis.asked == []


@pytest.mark.parametrize(
    "changed",
    [
        {"partition_key": "attribute:not.in.the.schema"},
        {"marketing_actions": [str(uuid.uuid4())]},
        {"marketing_actions": ["not an id"]},
        {"id": "not an id"},
    ],
)
def test_what_the_page_does_not_offer_is_refused(
    client: Client, account: Account, changed: dict[str, Any]
) -> None:
    assert client.post(url(account), typed(**changed)).status_code == 422
    assert not Destination.objects.exists()


def test_an_account_deleted_meanwhile_is_a_404(client: Client, account: Account) -> None:
    account.delete()
    address = reverse("destinations:setup", args=["kinesis", uuid.uuid4()])
    assert client.post(address, typed()).status_code == 404


def test_no_secret_is_in_an_answer(client: Client, account: Account, local_kinesis: RunningKinesis) -> None:
    local_kinesis.fail_next("AccessDeniedException", "no", operation="ListStreams")
    answers = [
        client.get(url(account)),
        client.get(url(account, "targets")),
        client.get(url(account, "targets")),
        client.post(url(account), typed(stream="not-there")),
        client.post(url(account), typed(action="list")),
    ]
    secret = local_kinesis.keys.secret_access_key
    assert all(secret not in answer.content.decode() + str(answer.headers) for answer in answers)


# -- sent twice, two tabs, the back button --------------------------------------------------------------------------


def test_the_same_page_sent_twice_makes_one_destination(client: Client, account: Account) -> None:
    sent = typed()
    for _click in range(2):
        assert client.post(url(account), sent)["Location"] == segments_url(Destination.objects.get())
    assert Destination.objects.get().version == 1


def test_back_and_changed_and_sent_again_changes_the_one_it_made(client: Client, account: Account) -> None:
    sent = typed()
    client.post(url(account), sent)
    client.post(url(account), sent | {"name": "Another name"})
    assert Destination.objects.get().name == "Another name"


def test_sent_again_after_an_edit_overwrites_nothing(client: Client, account: Account) -> None:
    sent = typed()
    client.post(url(account), sent)
    made = Destination.objects.get()
    client.post(edit_url(made), edited(made, name="Edited since"))
    page = client.post(url(account), sent)
    assert page.status_code == 422
    assert "Somebody else changed this destination meanwhile." in page.content.decode()
    assert f'href="{made.get_absolute_url()}"' in page.content.decode()
    assert Destination.objects.get().name == "Edited since"


def test_of_two_tabs_with_the_same_name_one_makes_it(client: Client, account: Account) -> None:
    assert client.post(url(account), typed()).status_code == 302
    assert client.post(url(account), typed()).status_code == 422
    assert Destination.objects.count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_clicks_at_the_same_moment_make_one_destination(
    marketer: User, local_kinesis: RunningKinesis
) -> None:
    account, sent = account_at(local_kinesis), typed(marketing_actions=[str(core().pk)])
    assert at_once([lambda: signed_in(marketer).post(url(account), sent).status_code] * 2) == [302, 302]
    assert Destination.objects.get().marketing_actions.count() == 1


# -- the list to choose from ----------------------------------------------------------------------------------------


def test_streams_are_listed_with_what_the_account_may_know(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.create_stream("on-demand", mode="ON_DEMAND", shards=4)
    local_kinesis.create_stream("going").status = "DELETING"
    page = client.get(url(account, "targets"), headers=HTMX)
    rows = {row.name: (row.about, row.open) for row in page.context["listing"]["rows"]}
    assert rows == {
        STREAM: ("Active · provisioned · 2 shards · keeps 24 h", True),
        "on-demand": ("Active · on demand · 4 shards · keeps 24 h", True),
        "going": ("Being deleted · provisioned · 1 shard · keeps 24 h", False),
    }
    assert page.content.decode().count("disabled") == 1
    assert "<html" not in page.content.decode()


def test_where_describing_is_not_allowed_the_names_are_listed(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.fail_next("AccessDeniedException", operation="DescribeStreamSummary", times=99)
    page = client.get(url(account, "targets"))
    assert [(row.name, row.about) for row in page.context["listing"]["rows"]] == [
        (STREAM, "Active · provisioned")
    ]
    assert client.post(url(account), typed()).status_code == 302


def test_a_long_list_can_be_searched_and_starts_with_what_is_chosen(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    assert "Search by name" not in client.get(url(account, "targets")).content.decode()
    for n in range(120):  # more than a page of ListStreams
        local_kinesis.create_stream(f"team-{n:03}")
    page = client.get(url(account, "targets"), {"stream": "team-119"})
    rows = [row.name for row in page.context["listing"]["rows"]]
    assert len(rows) == 121 > SEARCHED_FROM
    assert rows[0] == "team-119"
    assert 'value="team-119" checked' in page.content.decode()
    assert "Search by name" in page.content.decode()


def test_a_name_that_was_typed_and_is_not_in_the_list_stays_chosen(client: Client, account: Account) -> None:
    page = client.get(url(account, "targets"), {"stream": "not-there"})
    assert [(row.name, row.about) for row in page.context["listing"]["rows"]] == [
        ("not-there", "not in the list"),
        (STREAM, "Active · provisioned · 2 shards · keeps 24 h"),
    ]


def test_one_can_type_it_instead(client: Client, account: Account, local_kinesis: RunningKinesis) -> None:
    text = client.get(url(account, "targets"), {"stream": STREAM, "typed": "1"}).content.decode()
    assert f'<input type="text" name="stream" value="{STREAM}"' in text
    assert "autofocus" in text
    assert local_kinesis.asked == []


def test_why_nothing_is_listed_is_said_and_one_types(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.fail_next("AccessDeniedException", "Not you", operation="ListStreams")
    text = client.get(url(account, "targets")).content.decode()
    assert "AccessDeniedException: Not you" in text
    assert '<input type="text" name="stream"' in text
    assert "Load again" in text


def test_an_account_without_streams_says_what_to_do(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.kinesis.streams.clear()
    text = client.get(url(account, "targets")).content.decode()
    assert "There is nothing to choose from yet." in text
    assert '<input type="text" name="stream"' in text


def test_a_lost_key_is_said_in_place_of_the_list(client: Client) -> None:
    account = AccountFactory.create(credentials=Encrypted("of a key that is gone"))
    text = client.get(url(account, "targets")).content.decode()
    assert reverse("destinations:account_edit", args=[account.pk]) in text
    assert '<input type="text" name="stream"' in text


def test_without_javascript_a_button_lists_them_and_another_goes_back(
    client: Client, account: Account, local_kinesis: RunningKinesis
) -> None:
    page = client.post(url(account), typed(action="list", name="Not checked yet", partition_key=""))
    text = page.content.decode()
    assert page.status_code == 200
    assert f'type="radio" name="stream" value="{STREAM}" checked' in text
    assert 'value="Not checked yet"' in text
    assert page.context["form"]["include_segment_names"].value() is True
    assert url(account, "targets") + '"' not in text.split("<legend")[0]  # it is not asked for again

    page = client.post(url(account), typed(action="type"))
    assert f'<input type="text" name="stream" value="{STREAM}"' in page.content.decode()
    assert not Destination.objects.exists()


# -- marketing actions ----------------------------------------------------------------------------------------------


def test_an_own_marketing_action_is_added_on_the_spot_and_ticked(client: Client) -> None:
    data = {"new_action_name": "단골 고객 메일", "marketing_actions": [str(core().pk)], "name": "half"}
    response = client.post(reverse("destinations:marketing_action"), data, headers=HTMX)
    made = MarketingAction.objects.get(core=False)
    assert response.status_code == 200
    assert set(response.context["form"]["marketing_actions"].value()) == {str(core().pk), str(made.pk)}
    assert response.context["form"]["new_action_name"].value() == ""
    assert "단골 고객 메일" in response.content.decode()
    assert "was added and ticked" in response["HX-Trigger"]
    assert response.content.decode().lstrip().startswith('<div id="marketing-actions"')


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "This field is required."),
        ("email TARGETING", "There is a marketing action with this name already."),
        ("x" * 101, "at most 100 characters"),
    ],
)
def test_a_marketing_action_that_can_not_be_added_says_why(client: Client, name: str, reason: str) -> None:
    data = {"new_action_name": name, "marketing_actions": [str(core().pk)]}
    response = client.post(reverse("destinations:marketing_action"), data, headers=HTMX)
    text = response.content.decode()
    assert response.status_code == 422
    assert reason in text
    assert f'value="{name}"' in text or not name
    assert response.context["form"]["marketing_actions"].value() == [str(core().pk)]
    assert not MarketingAction.objects.filter(core=False).exists()


def test_without_javascript_the_step_adds_it_and_checks_nothing_else(
    client: Client, account: Account
) -> None:
    page = client.post(url(account), {"action": "create_action", "new_action_name": "Ours", "stream": STREAM})
    made = MarketingAction.objects.get(core=False)
    assert page.status_code == 200
    assert page.context["form"]["marketing_actions"].value() == [str(made.pk)]
    assert f'value="{STREAM}"' in page.content.decode()

    page = client.post(url(account), {"action": "create_action", "new_action_name": "ours"})
    assert page.status_code == 422
    assert page.context["form"].errors == {
        "new_action_name": ["There is a marketing action with this name already."]
    }


def test_one_that_was_entered_and_not_added_is_made_with_the_destination(
    client: Client, account: Account
) -> None:
    client.post(url(account), typed(new_action_name="Ours", marketing_actions=[str(core().pk)]))
    made = Destination.objects.get()
    assert set(made.marketing_actions.values_list("name", flat=True)) == {"Email Targeting", "Ours"}


def test_one_that_can_not_be_made_holds_the_destination_back(client: Client, account: Account) -> None:
    page = client.post(url(account), typed(new_action_name="analytics"))
    assert page.status_code == 422
    assert page.context["form"].errors == {
        "new_action_name": ["There is a marketing action with this name already."]
    }
    assert not Destination.objects.exists()


def test_none_is_made_for_a_destination_that_can_not_be(client: Client, account: Account) -> None:
    client.post(url(account), typed(name="", new_action_name="Ours"))
    assert not MarketingAction.objects.filter(core=False).exists()


# -- editing --------------------------------------------------------------------------------------------------------


def test_the_edit_page_has_what_is_stored(client: Client, destination: Destination) -> None:
    destination.marketing_actions.add(core())
    page = client.get(edit_url(destination))
    text = page.content.decode()
    assert page.status_code == 200
    assert 'value="Old name"' in text
    assert page.context["form"]["marketing_actions"].value() == [core().pk]
    assert f'value="{STREAM}"' in text
    assert f"stream/{STREAM}" in page.context["policy"]


def test_an_edit_is_saved(client: Client, destination: Destination) -> None:
    response = client.post(
        edit_url(destination), edited(destination, marketing_actions=[str(core().pk)], description="")
    )
    assert response["Location"] == destination.get_absolute_url()
    assert said(response) == "Destination “봄 캠페인” was saved."
    destination.refresh_from_db()
    assert (destination.name, destination.description, destination.version) == ("봄 캠페인", "", 2)
    assert list(destination.marketing_actions.all()) == [core()]


def test_who_came_back_from_the_segments_goes_on_to_them(client: Client, destination: Destination) -> None:
    response = client.post(edit_url(destination), edited(destination, action="next"))
    assert response["Location"] == segments_url(destination)


def test_of_two_people_the_later_is_told_and_nothing_is_overwritten(
    client: Client, destination: Destination
) -> None:
    first, second = edited(destination, name="The first one's"), edited(destination, name="The second one's")
    client.post(edit_url(destination), first)
    for _again in range(2):
        page = client.post(edit_url(destination), second)
        text = page.content.decode()
        assert page.status_code == 422
        assert "Somebody else changed this destination meanwhile." in text
        assert f'<a href="{edit_url(destination)}">' in text
        assert "The second one&#x27;s" in text  # what was typed is still there
    destination.refresh_from_db()
    assert destination.name == "The first one's"


def test_the_same_edit_sent_twice_is_one_edit(client: Client, destination: Destination) -> None:
    sent = edited(destination)
    for _click in range(2):
        assert client.post(edit_url(destination), sent).status_code == 302
    destination.refresh_from_db()
    assert destination.version == 2


def test_another_stream_has_to_be_there(client: Client, destination: Destination) -> None:
    page = client.post(edit_url(destination), edited(destination, stream="not-there"))
    assert page.status_code == 422
    assert "ResourceNotFoundException" in page.context["target"].errors["stream"][0]
    destination.refresh_from_db()
    assert destination.settings == {"stream": STREAM}


def test_a_name_can_be_changed_while_the_endpoint_is_down(
    client: Client, destination: Destination, local_kinesis: RunningKinesis
) -> None:
    local_kinesis.stop()
    assert client.post(edit_url(destination), edited(destination)).status_code == 302


def test_a_partition_key_that_is_gone_stays_a_choice(client: Client, destination: Destination) -> None:
    Destination.objects.update(partition_key="attribute:gone.field")
    text = client.get(edit_url(destination)).content.decode()
    assert "gone.field (no longer there)" in text


# -- queries --------------------------------------------------------------------------------------------------------


def test_a_large_schema_and_many_actions_take_as_many_queries_as_few(
    client: Client, destination: Destination, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    SchemaField.objects.bulk_create([SchemaField(path=f"_ours.f{n}", title=f"F{n}") for n in range(500)])
    MarketingAction.objects.bulk_create([MarketingAction(name=f"Action {n}") for n in range(50)])
    ticked = [str(pk) for pk in MarketingAction.objects.values_list("pk", flat=True)]
    with django_assert_max_num_queries(8):
        client.get(url(destination.account))
    with django_assert_max_num_queries(9):
        client.get(edit_url(destination))
    with django_assert_max_num_queries(5):
        client.get(url(destination.account, "targets"))
    with django_assert_max_num_queries(22):  # two of them for the audit trail
        client.post(url(destination.account), typed(marketing_actions=ticked))
    assert Destination.objects.get(name="봄 캠페인").marketing_actions.count() == 60
