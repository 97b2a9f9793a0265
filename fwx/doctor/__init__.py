"""What ``fwx doctor`` looks at: one module for each part of the machine that a service depends on."""
