"""The past, in one SQLite file: operations, turns, sketches by minute and by quarter of an hour, alerts, states."""
