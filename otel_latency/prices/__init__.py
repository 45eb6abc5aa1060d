"""What a call of a model costs, from its tokens and the maintained table of genai-prices.

genai-prices with pydantic and 2,300 models would take 30 MiB for ever in an agent whose budget is full. So a child
process asks it, for a quarter of a second, whenever a model is seen for the first time; the answer, some hundred bytes
a model, is a few sums that the agent does by itself. A file of all prices made beforehand would need no child, but also
its own copy of how genai-prices finds a model by what people call it, and would be as old as our release; this way
an upgraded genai-prices is an upgraded table.
"""

from otel_latency.prices.prices import Prices

__all__ = ["Prices"]
