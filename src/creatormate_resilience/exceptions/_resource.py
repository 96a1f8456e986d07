"""Errors of our own resources: cache, database, tasks."""

from __future__ import annotations

from creatormate_resilience.exceptions._root import ResilienceError
from creatormate_resilience.exceptions._vocabulary import ErrorCategory, Severity

_BUSY = "We are busy. Please try again shortly."


class CacheError(ResilienceError):
    """The cache failed. Reads and writes never raise it: they degrade."""

    code = "CACHE_ERROR"
    category = ErrorCategory.CACHE
    severity = Severity.WARNING
    wraps_causes = True


class CacheUnavailableError(CacheError):
    """The operation needs the cache server and it is away (`add`, `incr`, `lock`)."""

    code = "CACHE_UNAVAILABLE"
    status_code = 503
    grpc_code = "UNAVAILABLE"
    default_retryable = True
    default_retry_after = 1.0
    default_user_message = _BUSY
    wraps_causes = False


class CacheSerializationError(CacheError):
    """The value cannot be stored faithfully."""

    code = "CACHE_SERIALIZATION_FAILED"
    severity = Severity.ERROR
    wraps_causes = False


class LockNotAcquiredError(CacheError):
    """Somebody else holds the lock."""

    code = "LOCK_NOT_ACQUIRED"
    status_code = 409
    grpc_code = "ABORTED"
    severity = Severity.INFO
    default_retryable = True
    default_retry_after = 1.0
    default_user_message = "This item is being changed. Please try again."
    wraps_causes = False


class DatabaseError(ResilienceError):
    """The database failed."""

    code = "DATABASE_ERROR"
    category = ErrorCategory.DATABASE
    wraps_causes = True


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or is starting, stopping or read-only."""

    code = "DATABASE_UNAVAILABLE"
    status_code = 503
    grpc_code = "UNAVAILABLE"
    severity = Severity.CRITICAL
    default_retryable = True
    default_retry_after = 2.0
    default_user_message = _BUSY
    wraps_causes = False


class PoolExhaustedError(DatabaseError):
    """All connections are in use and none came free in time."""

    code = "POOL_EXHAUSTED"
    status_code = 503
    grpc_code = "RESOURCE_EXHAUSTED"
    default_retryable = True
    default_retry_after = 1.0
    default_user_message = _BUSY
    wraps_causes = False


class DatabaseTimeoutError(DatabaseError):
    """A statement took longer than allowed."""

    code = "DATABASE_TIMEOUT"
    status_code = 504
    grpc_code = "DEADLINE_EXCEEDED"
    default_retryable = True
    default_user_message = "This took too long. Please try again."
    wraps_causes = False


class TransactionConflictError(DatabaseError):
    """A serialization failure or a deadlock: the whole transaction may be run again."""

    code = "TRANSACTION_CONFLICT"
    status_code = 409
    grpc_code = "ABORTED"
    severity = Severity.WARNING
    default_retryable = True
    default_retry_after = 0.0
    default_user_message = "Please try again."
    wraps_causes = False


class CommitOutcomeUnknownError(DatabaseError):
    """COMMIT was sent and its answer was lost: the transaction may have counted. Never retried by itself."""

    code = "COMMIT_OUTCOME_UNKNOWN"
    severity = Severity.CRITICAL
    default_user_message = "We could not confirm that this was saved. Please check before you try again."
    wraps_causes = False


class DataIntegrityError(DatabaseError):
    """A constraint of the database refused the data."""

    code = "DATA_INTEGRITY_VIOLATION"
    status_code = 409
    grpc_code = "FAILED_PRECONDITION"
    severity = Severity.WARNING
    default_user_message = "The request conflicts with existing data."
    wraps_causes = False


class TaskError(ResilienceError):
    """A task failed."""

    code = "TASK_FAILED"
    category = ErrorCategory.TASK
    default_user_message = "The job could not be completed."
    wraps_causes = True


class TaskTimeoutError(TaskError):
    """A task ran past its timeout."""

    code = "TASK_TIMEOUT"
    status_code = 504
    grpc_code = "DEADLINE_EXCEEDED"
    default_retryable = True
    default_user_message = "The job took too long."
    wraps_causes = False


class TaskResultTimeoutError(TaskError):
    """The wait for a result ended before the task did. The task goes on."""

    code = "TASK_RESULT_TIMEOUT"
    status_code = 504
    grpc_code = "DEADLINE_EXCEEDED"
    severity = Severity.INFO
    default_retryable = True
    default_user_message = "The job is not done yet. Please ask again."
    wraps_causes = False


class TaskCancelledError(TaskError):
    """A task was cancelled."""

    code = "TASK_CANCELLED"
    status_code = 409
    grpc_code = "CANCELLED"
    severity = Severity.INFO
    default_user_message = "The job was cancelled."
    wraps_causes = False


class TaskExpiredError(TaskError):
    """A task could not start in the time it was given to, and was not started any more."""

    code = "TASK_EXPIRED"
    status_code = 503
    grpc_code = "DEADLINE_EXCEEDED"
    severity = Severity.WARNING
    default_retryable = True
    default_user_message = "The job could not be started in time. Please try again."
    wraps_causes = False


class TaskNotFoundError(TaskError):
    """No such task is known here: never submitted, forgotten, or another process's."""

    code = "TASK_NOT_FOUND"
    status_code = 404
    grpc_code = "NOT_FOUND"
    severity = Severity.INFO
    default_user_message = "The job was not found."
    wraps_causes = False


class TaskQueueFullError(TaskError):
    """The queue of tasks is at its bound."""

    code = "TASK_QUEUE_FULL"
    status_code = 503
    grpc_code = "RESOURCE_EXHAUSTED"
    severity = Severity.WARNING
    default_retryable = True
    default_retry_after = 1.0
    default_user_message = _BUSY
    wraps_causes = False


class WorkerCrashedError(TaskError):
    """The process that ran the task died."""

    code = "WORKER_CRASHED"
    severity = Severity.CRITICAL
    default_retryable = True
    wraps_causes = False


class UnsupportedOptionError(TaskError):
    """The engine cannot honour an option that was asked for."""

    code = "UNSUPPORTED_OPTION"
    grpc_code = "UNIMPLEMENTED"
    wraps_causes = False
