"""Pictures, videos and HTML reports."""
