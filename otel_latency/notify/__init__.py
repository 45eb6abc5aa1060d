"""Notify: from an alert to somebody's pager. See `pipeline` for the way that an alert takes."""
