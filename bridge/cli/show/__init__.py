"""What the demo shows: a board of jobs and alerts, fed by the events that a consumer would get."""
