"""What follows when an alert is raised: a line in the system's log, a command, mail, the end of the service (B9.24)."""
