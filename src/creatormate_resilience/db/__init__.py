"""A database layer that survives its database: SQLite by default, PostgreSQL by URL, SQLAlchemy underneath.

```python
async with Database("postgresql://user:password@host/name") as db:
    async with db.begin() as session:            # committed at the end
        session.add(...)
    await db.run_transaction(transfer)           # and run again where that is safe
```
"""

from __future__ import annotations

from creatormate_resilience.db._access import IsolationLevel
from creatormate_resilience.db._advisor._advise import advise
from creatormate_resilience.db._advisor._config import AdvisorConfig
from creatormate_resilience.db._advisor._finding import Finding, FindingKind, Note
from creatormate_resilience.db._advisor._report import Report
from creatormate_resilience.db._config import DatabaseConfig, DatabaseOptions
from creatormate_resilience.db._database import Database
from creatormate_resilience.db._events import ConnectionHeldLong
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._n_plus_one import NPlusOneError, NPlusOneReport, RepeatedStatement, detect_n_plus_one
from creatormate_resilience.db._query_statistics import QueryStatistics
from creatormate_resilience.db._repeated_queries import RepeatedQuery
from creatormate_resilience.db._replicas import Replica, ReplicaLeftOut, ReplicaReturned
from creatormate_resilience.db._slow_queries import QueryExplained, SlowQuery
from creatormate_resilience.db._statistics import (
    DatabaseHealth,
    DatabaseState,
    PoolStatistics,
    ReplicaHealth,
    ReplicaState,
)
from creatormate_resilience.db._transaction import Transaction

__all__ = (
    "AdvisorConfig",
    "ConnectionHeldLong",
    "Database",
    "DatabaseConfig",
    "DatabaseHealth",
    "DatabaseOptions",
    "DatabaseState",
    "Finding",
    "FindingKind",
    "Holder",
    "IsolationLevel",
    "NPlusOneError",
    "NPlusOneReport",
    "Note",
    "PoolStatistics",
    "QueryExplained",
    "QueryStatistics",
    "RepeatedQuery",
    "RepeatedStatement",
    "Replica",
    "ReplicaHealth",
    "ReplicaLeftOut",
    "ReplicaReturned",
    "ReplicaState",
    "Report",
    "SlowQuery",
    "Transaction",
    "advise",
    "detect_n_plus_one",
)
