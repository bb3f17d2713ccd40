"""JSON-RPC between a supervisor and its children, on both of their sides."""
