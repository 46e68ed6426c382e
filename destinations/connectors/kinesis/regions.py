"""The AWS regions that have Kinesis, of every partition (AWS, China, GovCloud, …), with their names:
botocore's own list.
"""

from __future__ import annotations

from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import botocore.session
from botocore.loaders import Loader
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

loader: Loader = botocore.session.get_session().get_component("data_loader")


# Names in botocore's list that other languages have words for, here so that they are translated.
TRANSLATED = (
    _("Africa (Cape Town)"),
    _("Asia Pacific (Hong Kong)"),
    _("Asia Pacific (Hyderabad)"),
    _("Asia Pacific (Jakarta)"),
    _("Asia Pacific (Malaysia)"),
    _("Asia Pacific (Melbourne)"),
    _("Asia Pacific (Mumbai)"),
    _("Asia Pacific (New Zealand)"),
    _("Asia Pacific (Osaka)"),
    _("Asia Pacific (Seoul)"),
    _("Asia Pacific (Singapore)"),
    _("Asia Pacific (Sydney)"),
    _("Asia Pacific (Taipei)"),
    _("Asia Pacific (Thailand)"),
    _("Asia Pacific (Tokyo)"),
    _("Canada (Central)"),
    _("Canada West (Calgary)"),
    _("China (Beijing)"),
    _("China (Ningxia)"),
    _("Europe (Frankfurt)"),
    _("Europe (Ireland)"),
    _("Europe (London)"),
    _("Europe (Milan)"),
    _("Europe (Paris)"),
    _("Europe (Spain)"),
    _("Europe (Stockholm)"),
    _("Europe (Zurich)"),
    _("Israel (Tel Aviv)"),
    _("Mexico (Central)"),
    _("Middle East (Bahrain)"),
    _("Middle East (UAE)"),
    _("South America (Sao Paulo)"),
    _("US East (N. Virginia)"),
    _("US East (Ohio)"),
    _("US West (N. California)"),
    _("US West (Oregon)"),
)


class Region(NamedTuple):
    code: str  # e.g. ap-northeast-2
    name: str  # e.g. Asia Pacific (Seoul)
    partition: str  # as in an ARN: aws, aws-cn, …
    partition_name: str


@cache
def regions() -> dict[str, Region]:
    """Every region with Kinesis by its code, the partitions in botocore's order and the regions by name
    within.
    """
    found: dict[str, Region] = {}
    endpoints: dict[str, Any] = loader.load_data("endpoints")
    for partition in endpoints["partitions"]:
        has_kinesis = partition["services"].get("kinesis", {}).get("endpoints", {})
        named = [
            Region(code, about["description"], partition["partition"], partition["partitionName"])
            for code, about in partition["regions"].items()
            if code in has_kinesis
        ]
        found.update((region.code, region) for region in sorted(named, key=lambda region: region.name))
    return found


def choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """For a select: one group a partition, the regions by their names in the reader's language."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for region in regions().values():
        groups.setdefault(region.partition_name, []).append(
            (region.code, f"{gettext(region.name)} — {region.code}")
        )
    return [(name, sorted(rows, key=itemgetter(1))) for name, rows in groups.items()]


def partition_of(code: str) -> str:
    """The partition as ARNs name it; ``aws`` for a region that botocore does not know yet."""
    region = regions().get(code)
    return region.partition if region else "aws"
