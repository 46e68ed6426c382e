"""What the tests of uploads share: files that are uploaded, and what became of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile

from profiles.models import IdentityNamespace, Segment, SegmentMembership, Upload
from profiles.uploads import services, work
from tests.factories import SegmentFactory, UserFactory

RIGHTS = ["profiles.view_segment", "profiles.manage_segments"]


@pytest.fixture
def marketer(db: None) -> User:
    return UserFactory.create(permissions=RIGHTS)


@pytest.fixture
def segment(db: None) -> Segment:
    """One that takes uploads."""
    return SegmentFactory.create(id="vip", name="VIP")


def received(
    text: str | bytes, segment: Segment | None = None, *, by: User | None = None, name: str = "list.csv"
) -> Upload:
    """A draft of a file."""
    data = text if isinstance(text, bytes) else text.encode()
    by = by or User.objects.first() or UserFactory.create()
    return services.receive(SimpleUploadedFile(name, data), segment=segment, segment_name="List", by=by)


def started(
    text: str | bytes,
    segment: Segment | None = None,
    way: str = Upload.Way.APPEND,
    *,
    columns: list[str] | None = None,
    code: str = "Email",
    **options: Any,
) -> Upload:
    """An upload that waits for a worker; the identity is in the first column, others are ignored unless told."""
    upload = received(text, segment)
    first = text if isinstance(text, str) else text.decode(upload.encoding)
    width = len(first.splitlines()[0].split(upload.delimiter))
    services.start(
        upload,
        columns=columns or [""] * width,
        way=way,
        **{
            "identity_column": 0,
            "namespace": IdentityNamespace.objects.get(code=code),
            "expires_after": 30,
            **options,
        },
    )
    upload.refresh_from_db()
    return upload


def done(
    text: str | bytes, segment: Segment | None = None, way: str = Upload.Way.APPEND, **options: Any
) -> Upload:
    """An upload that was taken in."""
    upload = started(text, segment, way, **options)
    work.proceed(upload.pk)
    upload.refresh_from_db()
    assert upload.state == Upload.State.DONE
    return upload


def addresses(*names: str) -> str:
    return "email\n" + "".join(f"{name}@example.com\n" for name in names)


def statuses(segment_id: str) -> dict[str, str]:
    """Statuses by the names in the addresses."""
    found = SegmentMembership.objects.filter(segment=segment_id).values_list(
        "profile__identities__value", "status"
    )
    return {value.partition("@")[0]: status for value, status in found}


def members(segment_id: str) -> set[str]:
    return {name for name, status in statuses(segment_id).items() if status != "exited"}


def rejections(upload: Upload) -> list[tuple[int, str, str]]:
    return list(upload.rejections.order_by("row").values_list("row", "value", "reason"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """The uploads that workers were told of."""
    keys: list[uuid.UUID] = []
    monkeypatch.setattr(work, "wake", lambda upload: keys.append(upload.pk))
    return keys
