"""What image services of the usual kind spoke: ``POST /api/v1/generate``, and asking for the task."""
