"""Who owns what: leases and ownership; and the answers to remote control."""
