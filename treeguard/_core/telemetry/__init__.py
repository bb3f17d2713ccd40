"""What is told of trees: to the log, and to OpenTelemetry where it is there."""
