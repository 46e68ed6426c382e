from access.guard import requires as requires  # where it was before it had an app of its own
