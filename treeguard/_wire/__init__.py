"""JSON-RPC between a supervisor and its children, for both sides."""
