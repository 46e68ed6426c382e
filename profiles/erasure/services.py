"""Erasing a person, in one transaction."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.utils import translation

import audit
from profiles.erasure import selectors
from profiles.locks import INGESTION, advisory_lock
from profiles.models import Inlet, Profile
from profiles.services import delete_profiles, hanging_on
from profiles.signals import profile_erasing


def erase(profile_id: uuid.UUID, *, last_record: bool = False) -> bool:
    """Delete a profile with all that hangs on it, and the messages kept by inlets and the rejected rows of uploads that
    hold one of its identities.

    What was delivered stays where it was delivered to.

    Args:
        last_record: tell the destinations that know the profile, first, that it left every segment.

    Returns:
        False where it is gone already.
    """
    with transaction.atomic():
        # Nobody writes anything of the person meanwhile.
        advisory_lock(INGESTION, shared=False)
        profile = Profile.objects.filter(pk=profile_id).first()
        if profile is None:
            return False
        values = list(profile.identities.values_list("value", flat=True))
        with translation.override("en"):
            counts = hanging_on([profile])
        profile_erasing.send(sender=Profile, profile_id=profile_id, last_record=last_record)
        samples, _ = selectors.samples(values).delete()
        rejections, _ = selectors.rejections(values).delete()
        Inlet.objects.filter(selectors.holding(values, "last_error", "last_error_params")).update(
            last_error="", last_error_params={}, last_error_at=None
        )
        delete_profiles(Profile.objects.filter(pk=profile_id))
        told = counts | {
            "samples of inlets": samples,
            "rejected rows of uploads": rejections,
            "last record": last_record,
        }
        audit.record("profile.erased", Profile(pk=profile_id), after=told)
    return True
