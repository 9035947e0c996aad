"""A policy in a live viewer: tasks by sliders, trials one by one, adapting and forgetting."""
