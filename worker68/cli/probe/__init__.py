"""``worker68 probe``: what the protocol leaves open, asked of a real bridge."""
