"""A policy at work in the browser: its session, its scene, its page and the server."""
