"""The durable log: accepted requests are kept here until everybody whom they are for is done with them."""
