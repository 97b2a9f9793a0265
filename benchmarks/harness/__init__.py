"""What benchmarks/relay.py is made of: processes and their cost, relays, and the load that goes through them."""
