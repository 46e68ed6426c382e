"""Amazon S3: in the catalog, not available yet."""

from django.utils.translation import gettext_lazy as _

from ..base import Spec

spec = Spec(
    slug="s3",
    id=None,
    name="Amazon S3",
    description=_("Write files with the members of segments to a bucket in Amazon S3."),
    category=_("Cloud storage"),
    connection_type=_("Batch"),
    export_type=_("Profile-based"),
    icon="package",
    documentation_url="https://docs.aws.amazon.com/s3/",
)
