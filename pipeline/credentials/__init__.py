"""Credentials in addresses and headers: refused in the clear, and removed from what is stored.

Code outside imports from here; headers with their values are in `headers`.
"""

from pipeline.credentials.addresses import WITHOUT_CREDENTIALS, refuse_credentials, without_credentials
from pipeline.credentials.names import HEADER_WITHOUT_CREDENTIALS
from pipeline.credentials.trees import refuse_credentials_in

__all__ = [
    "HEADER_WITHOUT_CREDENTIALS",
    "WITHOUT_CREDENTIALS",
    "refuse_credentials",
    "refuse_credentials_in",
    "without_credentials",
]
