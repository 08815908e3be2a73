"""Who owns what: leases and ownership."""
