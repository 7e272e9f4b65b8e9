"""The tests. Importing the package fixes the environment that Ray reads once, before anything imports Ray.

Without a mode, the Ray that the tests start in this process would write a token into the home of whoever runs them.
"""

import os

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
