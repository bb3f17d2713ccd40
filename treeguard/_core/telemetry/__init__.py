"""Reports about trees: to the log, and to OpenTelemetry if it is installed and used."""
