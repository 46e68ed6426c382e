"""Messages leave once, later when they don't arrive, signed, and to nowhere inside the house."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone

from activation.alerts import messages, webhook
from activation.alerts.messages import send_waiting
from activation.alerts.watch import look
from activation.alerts.webhook import NotAllowed, NotSent
from activation.export import lanes
from activation.models import AlertMessage, Dataflow, Subscription
from tests.activation.alerts.conftest import watch

pytestmark = pytest.mark.django_db
SECRET = "a secret of sixteen and more"


class Receiver(ThreadingHTTPServer):
    """Takes webhooks, and answers with ``status``."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/alerts?team=1"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({**dict(self.headers), "path": self.path}, body))
        self.send_response(self.server.status)
        self.send_header("Location", "http://169.254.169.254/")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.WEBHOOK_HOSTS = [server.host]
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hooked(dataflow: Dataflow, watcher: User, receiver: Receiver) -> Subscription:
    return watch(dataflow, watcher, by_email=False, webhook_url=receiver.url, webhook_secret=SECRET)


def trouble(dataflow: Dataflow) -> None:
    lanes.hold(dataflow.pk, "ResourceNotFoundException", "Stream not found.")
    look()


def due() -> None:
    AlertMessage.objects.update(available_at=timezone.now() - timedelta(seconds=1))


# -- e-mail --------------------------------------------------------------------------------------------------------


def test_a_mail_says_what_happened_in_the_language_of_its_reader(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    dataflow.destination.name = "Seoul\nBcc: everybody@example.com"
    dataflow.destination.save()
    trouble(dataflow)
    assert send_waiting() == 1 and send_waiting() == 0
    [sent] = mail.outbox
    assert sent.to == [subscription.user.email]
    assert sent.subject == "“Seoul Bcc: everybody@example.com” takes no records"
    assert "ResourceNotFoundException: Stream not found." in sent.body
    assert not AlertMessage.objects.exists()


def test_whoever_may_not_see_the_destination_any_more_is_not_told(
    dataflow: Dataflow, subscription: Subscription
) -> None:
    trouble(dataflow)
    subscription.user.user_permissions.clear()
    assert send_waiting() == 0
    assert mail.outbox == [] and not AlertMessage.objects.exists()


# -- webhook -------------------------------------------------------------------------------------------------------


def test_a_webhook_is_signed_and_tells_codes_and_counts(
    dataflow: Dataflow, hooked: Subscription, receiver: Receiver
) -> None:
    trouble(dataflow)
    assert send_waiting() == 1
    [(headers, body)] = receiver.got
    signed = hmac.new(
        SECRET.encode(), f"{headers['X-Timestamp']}.".encode() + body, hashlib.sha256
    ).hexdigest()
    assert headers["X-Signature"] == f"v1={signed}"
    assert headers["path"] == "/alerts?team=1"
    told = json.loads(body)
    assert (told["kind"], told["state"], told["destination"]["name"]) == ("on_hold", "raised", "Seoul")
    assert told["facts"] == {"code": "ResourceNotFoundException", "message": "Stream not found."}
    assert SECRET.encode() not in body


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_does_not_arrive_is_sent_again_later_and_the_page_says_so(
    dataflow: Dataflow, hooked: Subscription, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    trouble(dataflow)
    assert send_waiting() == 0 and send_waiting() == 0
    assert len(receiver.got) == 1  # a redirect is not followed, and it is not due yet
    waiting = AlertMessage.objects.get()
    assert waiting.attempts == 1
    assert timedelta(seconds=7) < waiting.available_at - timezone.now() < timedelta(seconds=16)
    hooked.refresh_from_db()
    assert hooked.problem == f"Webhook: HTTP {status}"
    receiver.status = 200
    due()
    assert send_waiting() == 1
    hooked.refresh_from_db()
    assert (hooked.problem, hooked.problem_at) == ("", None)
    assert json.loads(receiver.got[0][1])["id"] == json.loads(receiver.got[1][1])["id"]


def test_in_the_end_it_gives_up(dataflow: Dataflow, hooked: Subscription, receiver: Receiver) -> None:
    receiver.status = 500
    trouble(dataflow)
    for _attempt in range(messages.ATTEMPTS):
        assert AlertMessage.objects.exists()
        due()
        send_waiting()
    assert not AlertMessage.objects.exists()


def test_of_two_workers_one_sends(dataflow: Dataflow, hooked: Subscription, receiver: Receiver) -> None:
    trouble(dataflow)
    message = AlertMessage.objects.get()
    assert messages._claim(message)
    assert not messages._claim(message)  # the other had read it before, too


def test_a_secret_that_no_key_opens_does_not_stop_the_others(
    dataflow: Dataflow, hooked: Subscription, subscription: Subscription, receiver: Receiver
) -> None:
    Subscription.objects.filter(pk=hooked.pk).update(
        webhook_secret="nonsense", webhook_url=receiver.url, by_email=True
    )
    trouble(dataflow)
    assert send_waiting() == 1
    assert len(mail.outbox) == 1 and receiver.got == []


# -- where requests may not go -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://user:password@hooks.example.com/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://hooks.example.com/#x",
        "https://hooks.example.com\\@10.0.0.1/",
        "https://hooks.example.com:x/",
        "https:///alerts",
        "https://hooks.example.com/a b",
        "javascript:alert(1)",
        "",
    ],
)
def test_an_address_that_can_not_be_is_refused_as_it_is_typed(url: str) -> None:
    with pytest.raises(NotAllowed):
        webhook.check_url(url)


def test_an_address_that_may_be_is_taken() -> None:
    assert webhook.check_url("https://hooks.example.com:8443/alerts?x=1").hostname == "hooks.example.com"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
@pytest.mark.parametrize("also_public", [False, True])
def test_a_name_that_leads_inside_is_refused_when_it_is_sent(
    monkeypatch: pytest.MonkeyPatch, address: str, also_public: bool
) -> None:
    found = (["93.184.216.34"] if also_public else []) + [address]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *args, **kwargs: [(0, 0, 0, "", (each, 443)) for each in found]
    )

    def connect(*args: object) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(NotAllowed):
        webhook.post("https://rebinding.example.com/", SECRET, {})


def test_a_metadata_address_is_never_asked_even_when_it_is_listed(settings: Any) -> None:
    settings.WEBHOOK_HOSTS = ["169.254.169.254"]
    with pytest.raises(NotAllowed):
        webhook.post("http://169.254.169.254/latest/", SECRET, {})


def test_the_connection_goes_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A name that answers another address the second time does not get the request there."""
    answers = iter([[(0, 0, 0, "", ("93.184.216.34", 443))], [(0, 0, 0, "", ("127.0.0.1", 443))]])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: next(answers))
    asked: list[Any] = []

    def connect(address: Any, timeout: float) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(NotSent, match="ConnectionRefusedError"):
        webhook.post("https://rebinding.example.com/", SECRET, {})
    assert asked == [("93.184.216.34", 443)]
