"""The past, in one SQLite file: operations, sketches by the minute and the quarter of an hour, alerts, counters."""
