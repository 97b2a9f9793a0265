"""Where the firewall log's records go: one sink a module, the writer that feeds a sink, and its spool."""
