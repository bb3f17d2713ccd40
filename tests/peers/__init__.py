"""dumb-init, tini and GNU timeout: what they promise, asked of ``treeguard run`` through shims with their names."""
