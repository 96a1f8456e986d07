"""The error family. One tree; every error knows its code, category, HTTP and gRPC status, severity and retry advice.

```text
ResilienceError
├─ AuthenticationError
│  ├─ InvalidCredentialsError
│  ├─ TokenExpiredError
│  └─ InvalidTokenError
├─ AuthorizationError
│  └─ InsufficientScopeError
├─ RequestError
│  ├─ MalformedRequestError
│  ├─ InputValidationError
│  ├─ PayloadTooLargeError
│  ├─ UnsupportedMediaTypeError
│  └─ MethodNotAllowedError
├─ BusinessRuleError
├─ NotFoundError
│  └─ GoneError
├─ ConflictError
│  ├─ AlreadyExistsError
│  └─ StaleVersionError
├─ RateLimitExceededError
│  ├─ QuotaExceededError
│  └─ ConcurrencyLimitError
├─ ClientDisconnectedError
├─ CacheError
│  ├─ CacheUnavailableError
│  ├─ CacheSerializationError
│  └─ LockNotAcquiredError
├─ DatabaseError
│  ├─ DatabaseUnavailableError
│  ├─ PoolExhaustedError
│  ├─ DatabaseTimeoutError
│  ├─ TransactionConflictError
│  ├─ CommitOutcomeUnknownError
│  └─ DataIntegrityError
├─ TaskError
│  ├─ TaskTimeoutError
│  ├─ TaskResultTimeoutError
│  ├─ TaskCancelledError
│  ├─ TaskExpiredError
│  ├─ TaskNotFoundError
│  ├─ TaskQueueFullError
│  ├─ WorkerCrashedError
│  └─ UnsupportedOptionError
├─ OperationTimeoutError
│  └─ DeadlineExceededError
├─ CircuitOpenError
├─ RetriesExhaustedError
├─ ConfigurationError
│  └─ MissingDependencyError
├─ ServiceUnavailableError
│  ├─ MaintenanceError
│  └─ ShuttingDownError
├─ FeatureDisabledError
├─ InternalError
│  └─ DataCorruptionError
└─ ExternalAPIError
   ├─ ExternalAPIUnavailableError
   ├─ ExternalAPITimeoutError
   ├─ ExternalAPIRateLimitedError
   ├─ ExternalAPIAuthError
   ├─ ExternalAPIRejectedError
   └─ ExternalAPIProtocolError
```

`detail` and `context` are for operators and go to logs. `user_message`, `public` and `errors` are for the outside.
`OperationTimeoutError` is a builtin `TimeoutError` too. `map_exception` brings foreign exceptions into the family.
"""

from __future__ import annotations

from creatormate_resilience.exceptions._catalog import (
    MessageCatalog,
    Messages,
    negotiate_locale,
)
from creatormate_resilience.exceptions._mappers import (
    error_mapper,
)
from creatormate_resilience.exceptions._mapping import (
    map_exception,
)
from creatormate_resilience.exceptions._problem import (
    parse_retry_after,
)
from creatormate_resilience.exceptions._request import (
    AlreadyExistsError,
    AuthenticationError,
    AuthorizationError,
    BusinessRuleError,
    ClientDisconnectedError,
    ConcurrencyLimitError,
    ConflictError,
    GoneError,
    InputValidationError,
    InsufficientScopeError,
    InvalidCredentialsError,
    InvalidTokenError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    QuotaExceededError,
    RateLimitExceededError,
    RequestError,
    StaleVersionError,
    TokenExpiredError,
    UnsupportedMediaTypeError,
)
from creatormate_resilience.exceptions._resource import (
    CacheError,
    CacheSerializationError,
    CacheUnavailableError,
    CommitOutcomeUnknownError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    DataIntegrityError,
    LockNotAcquiredError,
    PoolExhaustedError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskNotFoundError,
    TaskQueueFullError,
    TaskResultTimeoutError,
    TaskTimeoutError,
    TransactionConflictError,
    UnsupportedOptionError,
    WorkerCrashedError,
)
from creatormate_resilience.exceptions._root import (
    ErrorOptions,
    ResilienceError,
)
from creatormate_resilience.exceptions._service import (
    CircuitOpenError,
    ConfigurationError,
    DataCorruptionError,
    DeadlineExceededError,
    FeatureDisabledError,
    InternalError,
    MaintenanceError,
    MissingDependencyError,
    OperationTimeoutError,
    RetriesExhaustedError,
    ServiceUnavailableError,
    ShuttingDownError,
)
from creatormate_resilience.exceptions._upstream import (
    ExternalAPIAuthError,
    ExternalAPIError,
    ExternalAPIProtocolError,
    ExternalAPIRateLimitedError,
    ExternalAPIRejectedError,
    ExternalAPITimeoutError,
    ExternalAPIUnavailableError,
    upstream_error,
)
from creatormate_resilience.exceptions._vocabulary import (
    ErrorCategory,
    Severity,
)

__all__ = (
    "AlreadyExistsError",
    "AuthenticationError",
    "AuthorizationError",
    "BusinessRuleError",
    "CacheError",
    "CacheSerializationError",
    "CacheUnavailableError",
    "CircuitOpenError",
    "ClientDisconnectedError",
    "CommitOutcomeUnknownError",
    "ConcurrencyLimitError",
    "ConfigurationError",
    "ConflictError",
    "DataCorruptionError",
    "DataIntegrityError",
    "DatabaseError",
    "DatabaseTimeoutError",
    "DatabaseUnavailableError",
    "DeadlineExceededError",
    "ErrorCategory",
    "ErrorOptions",
    "ExternalAPIAuthError",
    "ExternalAPIError",
    "ExternalAPIProtocolError",
    "ExternalAPIRateLimitedError",
    "ExternalAPIRejectedError",
    "ExternalAPITimeoutError",
    "ExternalAPIUnavailableError",
    "FeatureDisabledError",
    "GoneError",
    "InputValidationError",
    "InsufficientScopeError",
    "InternalError",
    "InvalidCredentialsError",
    "InvalidTokenError",
    "LockNotAcquiredError",
    "MaintenanceError",
    "MalformedRequestError",
    "MessageCatalog",
    "Messages",
    "MethodNotAllowedError",
    "MissingDependencyError",
    "NotFoundError",
    "OperationTimeoutError",
    "PayloadTooLargeError",
    "PoolExhaustedError",
    "QuotaExceededError",
    "RateLimitExceededError",
    "RequestError",
    "ResilienceError",
    "RetriesExhaustedError",
    "ServiceUnavailableError",
    "Severity",
    "ShuttingDownError",
    "StaleVersionError",
    "TaskCancelledError",
    "TaskError",
    "TaskExpiredError",
    "TaskNotFoundError",
    "TaskQueueFullError",
    "TaskResultTimeoutError",
    "TaskTimeoutError",
    "TokenExpiredError",
    "TransactionConflictError",
    "UnsupportedMediaTypeError",
    "UnsupportedOptionError",
    "WorkerCrashedError",
    "error_mapper",
    "map_exception",
    "negotiate_locale",
    "parse_retry_after",
    "upstream_error",
)
