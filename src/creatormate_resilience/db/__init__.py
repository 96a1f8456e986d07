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
from creatormate_resilience.db._config import DatabaseConfig, DatabaseOptions
from creatormate_resilience.db._database import Database
from creatormate_resilience.db._events import ConnectionHeldLong
from creatormate_resilience.db._holders import Holder
from creatormate_resilience.db._statistics import DatabaseHealth, DatabaseState, PoolStatistics
from creatormate_resilience.db._transaction import Transaction

__all__ = (
    "ConnectionHeldLong",
    "Database",
    "DatabaseConfig",
    "DatabaseHealth",
    "DatabaseOptions",
    "DatabaseState",
    "Holder",
    "IsolationLevel",
    "PoolStatistics",
    "Transaction",
)
