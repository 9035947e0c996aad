"""What people look at: pictures, videos and the HTML report."""
