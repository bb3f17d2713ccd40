"""What treeguard costs, beside what else could be used: ``make bench``."""

import sys

# As it is installed, without extras: the checkout's tools bring OpenTelemetry's interface along, which is then told of
# each tree, whether anybody listens or not.
sys.modules["opentelemetry"] = None  # type: ignore[assignment]
