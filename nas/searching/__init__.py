"""How a network is searched."""
