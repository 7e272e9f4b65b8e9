"""The tests. Importing the package fixes the environment that Ray reads once, before anything imports Ray.

`actors` would otherwise choose token authentication and put a token of its own into this process's environment, from
which it would leak into every process that a test starts.
"""

import os

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
