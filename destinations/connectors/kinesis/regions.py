"""The AWS regions that have Kinesis, of every partition (AWS, China, GovCloud, …), with their names:
botocore's own list.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import botocore.session
from botocore.loaders import Loader

loader: Loader = botocore.session.get_session().get_component("data_loader")


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
    """For a select: one group a partition."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for region in regions().values():
        groups.setdefault(region.partition_name, []).append((region.code, f"{region.name} — {region.code}"))
    return list(groups.items())


def partition_of(code: str) -> str:
    """The partition as ARNs name it; ``aws`` for a region that botocore does not know yet."""
    region = regions().get(code)
    return region.partition if region else "aws"
