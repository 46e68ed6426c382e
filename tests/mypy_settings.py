"""The settings as mypy's Django plugin reads them: ours, in the environment of the tests."""

import tests.environment  # noqa: F401  (first: it fills the environment)
from kinesis_admin.settings import *  # noqa: F403
