"""The part of PromQL that alert and recording rules use: `parse` text into `nodes`, `evaluate` them over series.

Pure: time and series come in as arguments. What lies outside the subset is refused while parsing, by name.
"""
