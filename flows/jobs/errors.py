"""Errors of jobs and their backends: which may be retried, and which need a change first.

HanclipError
├── JobError                 a job or its backend; a retry does not help              exit code 1
│   ├── TransientJobError    the same call may succeed later
│   │   └── UnreachableError   connection refused or broken off, or timed out
│   ├── RefusedError         the credentials are not accepted
│   └── RejectedError        the cluster rejects the request
└── UsageError               wrong use, as everywhere                                 exit code 2
"""

from __future__ import annotations

from pipeline.errors import HanclipError


class JobError(HanclipError):
    """A job or its backend failed."""


class TransientJobError(JobError):
    """The same call may succeed later."""


class UnreachableError(TransientJobError):
    """No response: connection refused or broken off, or timed out."""


class RefusedError(JobError):
    """The credentials are not accepted."""


class RejectedError(JobError):
    """The cluster rejects the request."""
