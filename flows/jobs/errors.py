"""What the world of jobs raises on purpose: who may try again, and who has to mend something first.

HanclipError
├── JobError                 a job or its backend; not mended by asking again         exit code 1
│   ├── TransientJobError    the same call may succeed later
│   │   └── UnreachableError   no answer within the deadline, refused, or broken off
│   ├── RefusedError         the token or the account is not accepted
│   └── RejectedError        the cluster does not take the request as it is
└── UsageError               wrong use, as everywhere                                 exit code 2
"""

from __future__ import annotations

from pipeline.errors import HanclipError


class JobError(HanclipError):
    """A job, or the backend that holds it."""


class TransientJobError(JobError):
    """The same call may succeed later."""


class UnreachableError(TransientJobError):
    """Nobody answered: refused, broken off, or silent past the deadline."""


class RefusedError(JobError):
    """The token or the account is not accepted."""


class RejectedError(JobError):
    """The cluster does not take the request as it is."""
