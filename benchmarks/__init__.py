"""What treeguard costs, beside what else could be used: ``make bench``."""
