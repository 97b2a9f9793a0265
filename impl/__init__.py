"""The objects behind the interfaces. Knows no configuration file and no command line."""
